"""What an agent says of the exact finish: how many hold the consensus model, and who doesn't."""

import pytest

from agents.introduction import NAMED, completion
from agents.view import View
from transport.messages import Identity, Member, Report


def member(name: str, part: int = -1) -> Member:
    return Member(Identity(name, 1), report=Report(part=part))


@pytest.mark.parametrize(
    ("exact", "others", "gone", "said"),
    [
        ("ab", "b", "", "2 agents with the consensus model"),
        ("a", "b", "c", "1 agent with the consensus model; it went on without b, c"),
        ("ab", "b", "cdefghi", "2 agents with the consensus model; it went on without c, d, e, f, g, and 2 more"),
    ],
)
def test_who_has_no_part_in_the_finish_is_named(exact, others, gone, said):
    assert NAMED == 5
    view = View(member("a"), tuple(map(member, others)), tuple(map(member, gone)), exact=tuple(exact))
    assert completion(view) == f"the exact finish is complete: {said}"


def test_of_subnetworks_each_has_a_finish_of_its_own():
    view = View(member("a", 0), (member("b", 0), member("c", 1)), exact=("a", "b"))
    assert completion(view, "width:2").endswith("2 agents with the consensus model")
