"""The flight recorder's file: what is noted is read back, whatever a crash cut off."""

import errno
import io
import resource
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.protocol.incarnation import Incarnation
from agents.recorder import ANSWER, PUBLISH, RECORD, TRAIN, Recorder, RecordingError, read_recordings

NOTES = st.tuples(
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.one_of(st.none(), st.builds(Incarnation, st.text(min_size=1, max_size=8), st.integers(0, 2**62), st.just(""))),
    st.integers(0, 2**62),
    st.floats(0, 2),
)


def written(path, frames, facts=None):
    recorder = Recorder(path)
    recorder.begin(facts or {"agent": "a"})
    for notes in frames:
        for note in notes:
            recorder.note(*note)
        recorder.flush()
    recorder.close()


@given(st.lists(st.lists(NOTES, max_size=5), max_size=4))
@settings(max_examples=50)
def test_what_is_noted_is_read_back(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("tape") / "tape.bin"
    written(path, frames)
    (recording,) = read_recordings(path)
    notes = [note for frame in frames for note in frame]
    assert recording.facts == {"agent": "a"} and len(recording.records) == len(notes)
    for record, (op, chunk, peer, number, rate) in zip(recording.records, notes, strict=True):
        assert (record["op"], record["chunk"], record["number"]) == (op, chunk, number)
        assert record["rate"] == rate
        assert (recording.peers[record["peer"] - 1] if record["peer"] else None) == peer


def test_each_incarnation_follows_the_one_before(tmp_path):
    path = tmp_path / "tape.bin"
    written(path, [[(TRAIN, 5, None, 0)]], {"number": 1})
    written(path, [[(TRAIN, 5, None, 5)], [(PUBLISH, 0)]], {"number": 2})
    assert [(each.facts["number"], len(each.records)) for each in read_recordings(path)] == [(1, 1), (2, 2)]


@given(st.integers(0, 400))
@settings(max_examples=60)
def test_a_tail_that_was_cut_off_is_ignored(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp("tape") / "tape.bin"
    written(path, [[(ANSWER, 0, Incarnation("b", 7), k, 0.5)] for k in range(6)])
    whole = path.read_bytes()
    path.write_bytes(whole[: min(kept, len(whole))])
    found = read_recordings(path)
    records = found[0].records if found else []
    assert [record["number"] for record in records] == list(range(len(records)))
    if kept >= len(whole):
        assert len(records) == 6


def test_an_incarnation_after_a_crash_is_readable_wherever_the_last_frame_was_cut_off(tmp_path):
    path = tmp_path / "tape.bin"
    written(path, [[(ANSWER, 0, Incarnation("b", 7), 0, 0.5)]], {"number": 1})
    one = path.stat().st_size
    path.unlink()
    written(path, [[(ANSWER, 0, Incarnation("b", 7), k, 0.5)] for k in range(2)], {"number": 1})
    whole = path.read_bytes()
    for kept in range(len(whole) + 1):
        path.write_bytes(whole[:kept])
        written(path, [[(TRAIN, 5, None, 9)]], {"number": 2})
        frames = 2 if kept == len(whole) else 1 if kept >= one else 0
        *before, second = read_recordings(path)
        assert [each.records["number"].tolist() for each in before] == ([list(range(frames))] if frames else []), kept
        assert second.facts == {"number": 2} and second.records["number"].tolist() == [9], kept


def test_a_file_that_is_no_recording_is_not_cut(tmp_path):
    path = tmp_path / "tape.bin"
    path.write_bytes(b"something else altogether")
    written(path, [[(TRAIN, 5, None, 9)]])
    assert path.read_bytes().startswith(b"something else altogether")


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "tape.bin"
    path.write_bytes(b"something else altogether")
    with pytest.raises(RecordingError, match="no recording of this version"):
        read_recordings(path)


def test_a_byte_that_was_altered_is_noticed_wherever_it_is(tmp_path):
    """Or what follows counts as cut off, where it is the length of a frame."""
    path = tmp_path / "tape.bin"
    written(path, [[(ANSWER, 0, Incarnation("b", 7), k, 0.5)] for k in range(3)])
    whole, noticed = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            found = [number for each in read_recordings(path) for number in each.records["number"].tolist()]
        except RecordingError:
            noticed += 1
        else:
            assert found == list(range(len(found))) and len(found) < 3, at
    assert noticed > 0.8 * len(whole)
    with pytest.raises(
        RecordingError, match=r"was altered since it was written: bytes \d+ to \d+ don't fit their check"
    ):
        path.write_bytes(whole[:-1] + b"!")
        read_recordings(path)


def test_a_record_is_small():
    assert RECORD.itemsize <= 24


def test_a_full_disk_costs_the_recording_and_nothing_else(tmp_path, caplog):
    class FullDisk(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    recorder = Recorder(tmp_path / "tape.bin")
    recorder._file.close()
    recorder._file = FullDisk()
    recorder.begin({"agent": "a"})
    for k in range(3):
        recorder.note(TRAIN, number=k)
        recorder.flush()
    recorder.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"], "reported once"
    assert "can't be replayed; training goes on" in caplog.text


def recorded_on_a_full_disk(path, room, notes):
    """One note, then so many that don't fit: a limit on the file's size, `room` bytes more, stands in for the disk."""
    recorder = Recorder(path)
    recorder.begin({"agent": "a"})
    recorder.note(TRAIN, 3)
    recorder.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
    try:
        for number in range(notes):
            recorder.note(TRAIN, 1, number=number)
        recorder.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    recorder.close()


def test_a_recording_that_a_full_disk_cut_off_ends_with_a_whole_frame(tmp_path):
    path = tmp_path / "tape.bin"
    recorded_on_a_full_disk(path, room=50, notes=100)
    written(path, [[(PUBLISH, 7)]])
    first, second = read_recordings(path)
    assert first.records["chunk"].tolist() == [3] and second.records["chunk"].tolist() == [7]


def test_a_recording_that_reaches_its_bound_ends_with_a_mark(tmp_path, caplog):
    path = tmp_path / "tape.bin"
    recorder = Recorder(path, most_bytes=1000)
    recorder.begin({"agent": "a"})
    for number in range(100):
        recorder.note(TRAIN, 1, number=number)
        recorder.flush()
    recorder.close()
    [first] = read_recordings(path)
    numbers = first.records["number"].tolist()
    assert 5 < len(numbers) < 100 and numbers == list(range(len(numbers)))
    assert "it reached its bound of 0.001 MB" in first.ended
    assert 1000 - 23 < path.stat().st_size < 1200, "the mark alone goes beyond the bound"
    [warning] = caplog.messages
    assert str(path) in warning and "training goes on" in warning
    written(path, [[(TRAIN, 5, None, 0)]], {"number": 2})
    assert [(each.facts, bool(each.ended)) for each in read_recordings(path)] == [
        ({"agent": "a"}, True),
        ({"number": 2}, False),
    ]


def test_a_recording_of_more_names_than_it_can_hold_ends_there(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.recorder.MOST_PEERS", 3)
    path = tmp_path / "tape.bin"
    written(path, [[(ANSWER, 0, Incarnation("b", number), 0, 0.5)] for number in range(5)])
    [recording] = read_recordings(path)
    assert len(recording.records) == 3 and "at most 3 names" in recording.ended


def test_a_recording_says_that_the_disk_was_full_once_there_is_room(tmp_path):
    path = tmp_path / "tape.bin"
    recorded_on_a_full_disk(path, room=0, notes=1)
    [recording] = read_recordings(path)
    assert recording.records["chunk"].tolist() == [3] and "can't be written" in recording.ended


def test_a_folder_that_cant_be_written_costs_the_recording(tmp_path, caplog):
    recorder = Recorder(tmp_path / "gone" / "tape.bin")
    recorder.begin({"agent": "a"})
    recorder.note(TRAIN, 3)
    recorder.close()
    assert len(caplog.messages) == 1 and "tape.bin" in caplog.text


def test_notes_from_another_thread_while_it_is_written_are_all_there(tmp_path):
    path = tmp_path / "tape.bin"
    recorder = Recorder(path)
    recorder.begin({"agent": "a"})
    threads = [
        threading.Thread(target=lambda k=k: [recorder.note(TRAIN, k, number=n) for n in range(20_000)])
        for k in range(2)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        recorder.flush()
    recorder.close()
    [recording] = read_recordings(path)
    for k in range(2):
        numbers = recording.records["number"][recording.records["chunk"] == k]
        assert numbers.tolist() == list(range(20_000))
