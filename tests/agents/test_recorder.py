"""The flight recorder's file: what is noted is read back, whatever a crash cut off."""

import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.recorder import ANSWER, PUBLISH, RECORD, TRAIN, Recorder, TapeFileError, read_tape

NOTES = st.tuples(
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.one_of(st.none(), st.tuples(st.text(min_size=1, max_size=8), st.integers(0, 2**62))),
    st.integers(0, 2**62),
    st.floats(0, 1),
    st.floats(0, 2),
)


def written(path, frames, facts=None):
    recorder = Recorder(path, facts or {"agent": "a"})
    for notes in frames:
        for note in notes:
            recorder.note(*note)
        recorder.flush()
    recorder.close()


@given(st.lists(st.lists(NOTES, max_size=5), max_size=4))
@settings(deadline=None, max_examples=50)
def test_what_is_noted_is_read_back(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("tape") / "tape.bin"
    written(path, frames)
    (life,) = read_tape(path)
    notes = [note for frame in frames for note in frame]
    assert life.facts == {"agent": "a"} and len(life.records) == len(notes)
    for record, (op, chunk, peer, number, alpha, share) in zip(life.records, notes, strict=True):
        assert (record["op"], record["chunk"], record["number"]) == (op, chunk, number)
        assert (record["alpha"], record["share"]) == (alpha, share)
        assert (life.peers[record["peer"] - 1] if record["peer"] else None) == peer


def test_each_life_of_an_agent_follows_the_one_before(tmp_path):
    path = tmp_path / "tape.bin"
    written(path, [[(TRAIN, 5, None, 0)]], {"life": 1})
    written(path, [[(TRAIN, 5, None, 5)], [(PUBLISH, 0)]], {"life": 2})
    assert [(life.facts["life"], len(life.records)) for life in read_tape(path)] == [(1, 1), (2, 2)]


@given(st.integers(0, 400))
@settings(deadline=None, max_examples=60)
def test_a_tail_that_was_cut_off_is_ignored(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp("tape") / "tape.bin"
    written(path, [[(ANSWER, 0, ("b", 7), k, 0.5, 1.0)] for k in range(6)])
    whole = path.read_bytes()
    path.write_bytes(whole[: min(kept, len(whole))])
    lives = read_tape(path)
    records = lives[0].records if lives else []
    assert [record["number"] for record in records] == list(range(len(records)))
    if kept >= len(whole):
        assert len(records) == 6


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "tape.bin"
    path.write_bytes(b"something else altogether")
    with pytest.raises(TapeFileError, match="no agent's tape"):
        read_tape(path)


def test_a_record_is_small():
    assert RECORD.itemsize <= 40


def test_a_full_disk_ends_the_tape_at_a_whole_frame_and_nothing_else(tmp_path, caplog):
    """A limit on the file's size stands in for the disk."""
    path = tmp_path / "tape.bin"
    recorder = Recorder(path, {"agent": "a"})
    recorder.note(TRAIN, 3)
    recorder.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limits[1]))
    try:
        for _ in range(3):
            for number in range(100):
                recorder.note(TRAIN, 1, number=number)
            recorder.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    recorder.close()
    assert len(caplog.messages) == 1 and "nothing more is recorded, training goes on" in caplog.text
    written(path, [[(PUBLISH, 7)]], {"agent": "a", "again": 1})
    first, second = read_tape(path)
    assert first.records["chunk"].tolist() == [3] and second.records["chunk"].tolist() == [7]
