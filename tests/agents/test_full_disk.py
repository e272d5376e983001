"""An agent that has finished and whose disk refuses its model tries again while it stays, and says so at the end."""

import errno

import pytest
from line_task import LINE

from agents import load_consensus, store
from agents.agent import Agent
from agents.bookkeeping import NotWritten
from agents.checkpoint import FILE
from agents.claim import NoIncarnation, last_start
from agents.observe.card import CONSENSUS
from agents.settings import Gossiping, Learning, Placing


@pytest.fixture
def alone(tmp_path):
    (tmp_path / "task.py").write_text(LINE)
    learning = Learning(task=str(tmp_path / "task.py"), steps=20, optimizer="sgd", learning_rate=0.05)
    placing = Placing(listen="tcp://127.0.0.1:0", run_dir=tmp_path / "run", name="a")
    return Agent(learning, Gossiping(linger=0), placing)


def refusing(monkeypatch, of, name, times):
    """A disk that is full for so many attempts to write a file of one kind; how often it has refused."""
    write, refused = getattr(of, name), []

    def refuse(*arguments, **facts):
        if len(refused) < times:
            refused.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments, **facts)

    monkeypatch.setattr(of, name, refuse)
    return refused


@pytest.mark.parametrize(("of", "name", "file"), [(store, "write_model", CONSENSUS), (store.checkpoint, "save", FILE)])
def test_what_the_disk_takes_later_is_written_then(alone, monkeypatch, of, name, file):
    refused = refusing(monkeypatch, of, name, 2)
    alone.run(lambda line: None)
    assert len(refused) == 2 and (alone.run_dir / file).exists()
    assert load_consensus(alone.run_dir / CONSENSUS) and last_start(alone.run_dir).finished


@pytest.mark.parametrize(
    ("of", "name", "what", "end"),
    [
        (store, "write_model", "the consensus model", "from the last checkpoint"),
        (
            store.checkpoint,
            "save",
            "the checkpoint",
            r"checkpoint; the model that it ended with is \S*/run/consensus\S*",
        ),
    ],
)
def test_what_it_never_takes_is_an_error_at_the_end_and_the_same_words_go_on(alone, monkeypatch, of, name, what, end):
    """With where the model is: not in the folders of others, as there are none."""
    refusing(monkeypatch, of, name, 10**6)
    why = f"has finished, and {what} could not be written to .*: make room there.*{end}$"
    with pytest.raises(NotWritten, match=why):
        alone.run(lambda line: None)
    assert not last_start(alone.run_dir).finished


@pytest.mark.parametrize("name", ["claim.Claim._write", "claim._locked", "store.write_text"])
def test_a_folder_that_takes_nothing_is_named_with_what_to_do_before_anything_starts(alone, monkeypatch, name):
    """As where the disk was full or read-only before: the system's own words alone name no file."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    alone.link.close()
    alone._claim.release()
    monkeypatch.setattr(f"agents.{name}", refuse)
    with pytest.raises(NoIncarnation, match=r"run\S* can't be written \(No space left on device\): .* make room there"):
        Agent(alone.learning, alone.gossiping, alone.placing).run(lambda line: None)
