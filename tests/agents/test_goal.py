"""What evaluations lead to: the best score, an agent's vote to stop, and when the swarm does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.finite import is_finite
from agents.goal import Goal, Scores, goal_of, is_majority, voted
from agents.settings import Learning
from agents.values import Condition, SettingsError
from transport.messages import Identity, Liveness, Member, Report

scores = st.floats(-2, 2) | st.just(math.nan) | st.just(math.inf)
goals = st.builds(
    lambda condition, within: Goal(condition.metric, condition.larger, condition, within),
    st.builds(Condition, st.just("accuracy"), st.sampled_from(["<", "<=", ">", ">="]), st.floats(-2, 2)),
    st.none() | st.integers(1, 4),
)


@given(goals, st.lists(scores, max_size=20))
def test_a_vote_follows_from_the_scores_and_is_never_taken_back(goal: Goal, given: list[float]) -> None:
    so_far = [Scores(goal)]
    for score in given:
        so_far.append(so_far[-1].after(score))
    best = (max if goal.larger else min)(filter(math.isfinite, given), default=None)
    assert so_far[-1].best == best
    assert [each.votes for each in so_far] == sorted(each.votes for each in so_far)
    fulfilled = best is not None and goal.condition.holds(best)
    assert so_far[-1].votes == (fulfilled or (goal.within or math.inf) <= max(each.worse for each in so_far))


@given(goals, st.lists(scores, min_size=1, max_size=8))
def test_scores_go_on_from_a_checkpoint_of_the_same_goal_alone(goal: Goal, given: list[float]) -> None:
    made = Scores(goal)
    for score in given:
        made = made.after(score)
    back = Scores.resumed(goal, {"evaluation": made.facts()})
    assert (back.best, back.worse, back.votes) == (made.best, made.worse, made.votes)
    assert back.record() == made.record(), "and is published as before the next evaluation"
    other = Goal("loss", False)
    assert Scores.resumed(other, {"evaluation": made.facts()}) == Scores(other)


@given(goals, goals, st.lists(scores, min_size=1, max_size=8))
def test_the_best_score_outlives_another_goal_of_its_metric_and_the_vote_is_that_of_the_goal_now(
    before: Goal, now: Goal, given: list[float]
) -> None:
    made = Scores(before)
    for score in given:
        made = made.after(score)
    back = Scores.resumed(now, {"evaluation": made.facts()})
    if before.larger != now.larger:
        assert back == Scores(now)
        return
    assert (back.best, back.worse) == (made.best, made.worse)
    if (before.condition, before.within) != (now.condition, now.within):
        fulfilled = made.best is not None and now.condition.holds(made.best)
        assert back.votes == (fulfilled or (now.within or math.inf) <= made.worse)


@given(goals, st.lists(scores, max_size=8))
def test_a_vote_is_published_whatever_the_scores_are_and_they_only_where_there_are_any(
    goal: Goal, given: list[float]
) -> None:
    made = Scores(goal)
    for score in given:
        made = made.after(score)
    report = Report(**made.record())
    assert report.votes == made.votes and report.metric == ("accuracy" if given else "")
    assert math.isfinite(report.score) and math.isfinite(report.best)
    if given:
        assert is_finite(report.score) == math.isfinite(given[-1])
        assert is_finite(report.best) == any(map(math.isfinite, given))


def test_a_swarm_of_which_no_score_is_ever_finite_stops_by_its_votes() -> None:
    made = Scores(Goal("accuracy", True, within=2)).after(math.nan).after(math.inf)
    other = Member(Identity("b", 1), Liveness(state="training"), Report(**made.record()))
    assert is_majority(*voted([other], made.votes))


def test_models_are_compared_by_the_condition_s_metric_else_by_accuracy_else_by_loss() -> None:
    every, names = {"evaluate_every": "5steps"}, ["accuracy", "error", "loss"]
    assert goal_of(Learning(), "digits", names) is None
    assert goal_of(Learning(**every), "digits", names) == Goal("accuracy", larger=True)
    assert goal_of(Learning(**every, patience=2), "digits", names[1:]) == Goal("loss", larger=False, within=2)
    condition = Condition("error", "<", 0.1)
    asked = Learning(**every, stop_when=" error < 0.1", patience=3)
    assert goal_of(asked, "digits", names) == Goal("error", False, condition, 3)
    with pytest.raises(
        SettingsError, match=r"--stop-when acc>0.9: task digits has no metric 'acc': it has acc.*, loss$"
    ):
        goal_of(Learning(**every, stop_when="acc>0.9"), "digits", names)


def member(name: str, votes: bool, state: str = "training") -> Member:
    return Member(Identity(name, 1), Liveness(state=state), Report(votes=votes))


@pytest.mark.parametrize(
    ("mine", "others", "stops"),
    [
        (True, [], True),
        (False, [], False),
        (True, [member("b", False)], False),  # half is no majority
        (True, [member("b", True)], True),
        (True, [member("b", True), member("c", False)], True),
        (False, [member("b", True), member("c", True)], True),  # the others' majority counts for us too
        (False, [member("b", True), *(member(name, False) for name in "cd")], False),  # one liar stops nobody
        (True, [member("b", False, "joining"), member("c", False, "left")], True),  # they hold no vector
    ],
)
def test_the_swarm_stops_by_more_than_half_of_those_that_take_part(
    mine: bool, others: list[Member], stops: bool
) -> None:
    assert is_majority(*voted(others, mine)) is stops
