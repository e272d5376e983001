"""What a loop gives its peer to publish: numbers of any kind are taken, and what nobody could receive is refused."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from agents import Peer
from agents.prepare import total_steps
from agents.published import one_number, plain_settings, report_fields, whole
from agents.settings import Learning
from agents.values import SettingsError
from transport.wire import MAX_INT, checked_settings

PARAMS = {"w": np.zeros(3, np.float32)}


def test_numbers_of_numpy_and_jax_reach_who_joins() -> None:
    shared = {"layers": np.int64(3), "rate": np.float32(0.5), "flag": np.bool_(True), "name": np.str_("mine")}
    suggested = {"warmup": jnp.int32(5), "decay": jnp.bfloat16(0.5)}
    report = {"steps": np.int64(9), "loss": np.float32(2), "votes": np.bool_(True), "shard": np.str_("0/2")}
    with Peer(PARAMS, task="t", every="1steps", shared=shared, suggestions=suggested, report=report) as founder:
        plain: dict[str, Any] = {"layers": 3, "rate": 0.5, "flag": True, "name": "mine"}
        with Peer(PARAMS, task="t", every="1steps", shared=plain, join=[founder.address]) as joiner:
            joiner.meet(PARAMS)
            founder.report(best=jnp.float32(0.25), part=np.int8(-1))
            founder.boundary(PARAMS, steps=np.int64(2), loss=np.ones((1, 1), np.float32))

            def published(view: Any) -> bool:
                return any(member.report.step == 2 and member.report.best == 0.25 for member in view.others)

            assert joiner._network.wait_until(published, 60)
            (member,) = joiner.view().others
            assert member.report.loss == 1 and member.report.votes and member.report.steps == 9


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loss": "low"}, "Report.loss: expected a finite number, got 'low'"),
        ({"score": float("nan")}, "Report.score: expected a finite number"),
        ({"part": 2**70}, "Report.part: expected a whole number"),
        ({"step": 1.5}, "Report.step: expected a whole number"),
        ({"shard": "0/2\n"}, "without control characters"),
        ({"accuracy": 0.9}, "Report has no 'accuracy'"),
        ({"loss": np.zeros(2)}, "Report.loss: expected a finite number"),
    ],
)
def test_a_record_that_nobody_could_receive_is_refused_where_it_is_given(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Peer(PARAMS, task="t", report=given)
    with Peer(PARAMS, task="t", every="1steps") as peer:
        with pytest.raises(SettingsError, match=words):
            peer.report(**given)
        peer.boundary(PARAMS)
        assert peer.step == 1


@pytest.mark.parametrize("value", [object(), None, [1], {"a": 1}, 2**70, float("nan"), np.zeros(2), "x\n"])
@pytest.mark.parametrize("argument", ["shared", "suggestions"])
def test_a_setting_that_no_manifest_holds_is_refused_by_its_name(argument: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{argument}.*'mine': expected"):
        Peer(PARAMS, task="t", **{argument: {"mine": value}})


@pytest.mark.parametrize("number", [-5, 2.5, "3", None, float("nan"), float("inf"), 2**63])
def test_steps_that_are_no_number_of_steps_are_refused_and_count_nothing(number: Any) -> None:
    with Peer(PARAMS, task="t", every="1steps") as peer:
        peer.boundary(PARAMS, steps=3)
        with pytest.raises(SettingsError, match="steps must be a whole number from 0"):
            peer.boundary(PARAMS, steps=number)
        assert peer.step == 3


def test_a_loss_that_is_none_is_refused_and_its_steps_dont_count() -> None:
    with Peer(PARAMS, task="t", every="1steps") as peer:
        with pytest.raises(SettingsError, match="loss must be a number, or an array of one"):
            peer.boundary(PARAMS, loss=np.zeros(2))
        assert peer.step == 0


@pytest.mark.parametrize("argument", ["round", "incarnation"])
@pytest.mark.parametrize("number", [-1, 2**63, "x"])
def test_a_number_of_an_incarnation_or_exchange_fits_into_a_message(argument: str, number: Any) -> None:
    with pytest.raises(SettingsError, match=f"{argument} must be a whole number"):
        Peer(PARAMS, task="t", **{argument: number})


def test_what_is_given_becomes_pythons_own() -> None:
    found = report_fields({"loss": np.float32("inf"), "steps": jnp.int32(3), "votes": np.bool_(False)})
    assert found == {"loss": 1e30, "steps": 3, "votes": False} and type(found["steps"]) is int
    assert plain_settings("settings", {"a": np.float64(1.5)}) == {"a": 1.5}
    assert (whole("n", 3.0), whole("n", np.uint8(3)), one_number("x", jnp.ones((1, 1)))) == (3, 3, 1.0)


@pytest.mark.parametrize("length", [{"steps": 2**70}, {"epochs": 1e300}], ids=["steps", "epochs"])
def test_a_run_is_no_longer_than_a_record_can_say(length: dict[str, Any]) -> None:
    steps = total_steps(Learning(task="digits", **length), 1000, 2, 32)
    assert steps == MAX_INT and checked_settings({"steps": steps}) == {"steps": steps}
    assert report_fields({"steps": steps}) == {"steps": steps}


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), 1e300])
def test_a_weight_that_peers_decline_is_refused(weight: float) -> None:
    with pytest.raises(SettingsError, match="a model's weight must be above 0 and at most"):
        report_fields({"weight": weight})
    assert report_fields({"weight": np.float32(2.5)}) == {"weight": 2.5}
