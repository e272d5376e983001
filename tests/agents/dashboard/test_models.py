"""Models are pulled from those that train, judged together, and never from agents that wait for their consensus."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from agents.dashboard.models import Asked, Pulling
from agents.observe import evaluation, observer
from tests.agents.observe.fake_peers import FakePeer, pieces_of
from transport.messages import Piece

THETA = np.array([1, 2, 3, 4], np.float32)


class Judge:
    """Of a task whose score is the sum of a model."""

    held = (evaluation.Parameter("all", (4,), "float32"),)

    def __call__(self, theta):
        return {"accuracy": float(theta.sum())}

    of_agent = __call__


@pytest.fixture
def judge(monkeypatch):
    """Is made of whatever task, and takes so long that all records are old by then."""
    clock = SimpleNamespace(ahead_s=0.0)
    monkeypatch.setattr(observer, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + clock.ahead_s))

    def made(*_: object) -> Judge:
        clock.ahead_s += 100
        return Judge()

    monkeypatch.setattr(evaluation, "judge_of", made)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def pulled(first: FakePeer, every_s: float = 0.01) -> Pulling:
    """What follows the swarm of this peer."""
    pulling = Pulling([first.address], None, Asked(every_s))
    pulling.start()
    return pulling


def members(state: str, other: FakePeer):
    """The records that a peer sends, of itself and of another; both do the same."""
    return lambda peer: (peer.me(state=state, step=10, task="t"), other.me(state=state, step=10, task="t"))


def first_models(pulling):
    """The first that are there, if pulling doesn't end before."""
    wait = threading.Event()
    while pulling.models is None:
        assert pulling.is_alive()
        wait.wait(0.01)
    return pulling.models


def test_those_that_train_are_pulled_and_judged_with_their_mean(judge):
    one = FakePeer("one", pieces=pieces_of(THETA))
    one.members = lambda peer: (peer.me(state="training", step=10, task="t"),)
    other = FakePeer("other", pieces=pieces_of(3 * THETA), members=members("training", one))
    pulling = pulled(other)
    try:
        models = first_models(pulling)
        assert models.metrics["accuracy"] == pytest.approx(20)
        assert {agent: found["accuracy"] for agent, found in models.metrics_of.items()} == {"one": 10, "other": 30}
        assert models.layers["all"] == pytest.approx([0.5, 0.5]) and models.step == 10
    finally:
        pulling.stop()
        pulling.join()
        one.close()
        other.close()


def test_agents_that_have_finished_are_let_alone(judge):
    one = FakePeer("one", pieces=pieces_of(THETA))
    other = FakePeer("other", pieces=pieces_of(THETA), members=members("settling", one))
    pulling = pulled(other)
    pulling.join(60)
    try:
        assert not pulling.is_alive() and pulling.models is None
        assert one.pulls == other.pulls == 0
    finally:
        one.close()
        other.close()


def in_two_chunks(theta: np.ndarray):
    """How an agent answers a pull where two blocks of layers are trained apart."""

    def answer(pull):
        for chunk in range(pull.first, pull.first + pull.count):
            yield Piece(pull.request, chunk, theta.size, theta[(slice(0, 3), slice(3, 4))[chunk]].tobytes())

    return answer


def test_models_whose_layers_are_trained_apart_are_pulled_as_they_are_served(judge):
    settings = {"submodel": "layers:2", "trained": "0-3;3-4"}
    one = FakePeer("one", pieces=in_two_chunks(THETA), settings=settings)
    one.members = lambda peer: (peer.me(state="training", step=10, task="t"),)
    other = FakePeer("other", pieces=in_two_chunks(THETA), members=members("training", one), settings=settings)
    pulling = pulled(other)
    try:
        models = first_models(pulling)
        assert models.metrics["accuracy"] == 10 and models.agents == ("one", "other")
    finally:
        pulling.stop()
        pulling.join()
        one.close()
        other.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"submodel": "width:2"},
        {"submodel": "nested", "trained": "0-2;2-4"},
        {"private": "head", "trained": "0-3"},
    ],
    ids=["subnetworks", "slices", "private"],
)
def test_parts_of_a_model_are_not_pulled_and_a_line_says_so(judge, settings, caplog):
    caplog.set_level("INFO", "gossamer")
    one = FakePeer("one", pieces=pieces_of(THETA), settings=settings)
    one.members = lambda peer: (peer.me(state="training", step=10, task="t"),)
    pulling = pulled(one)
    pulling.join(60)
    try:
        assert not pulling.is_alive() and pulling.models is None and one.pulls == 0
        assert any("their models aren't shown" in message for message in caplog.messages)
    finally:
        one.close()
