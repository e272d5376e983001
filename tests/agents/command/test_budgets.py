"""What is spent of privacy budgets is shown, and no loss of an agent that publishes none."""

from rich.console import Console

from agents.command.display import summary
from agents.command.status import describe
from agents.command.tables import members_table
from agents.observe.card import Consensus, privacy_of
from transport.messages import AgentId, Identity, Liveness, Member, Report


def member(name: str, **report) -> Member:
    record = Report(step=50, steps=100, **report)
    return Member(Identity(AgentId(name), 1), Liveness(state="training"), record)


PRIVATE, OPEN = member("a", epsilon=1.5, delta=1e-5), member("b", loss=0.25)


def test_status_has_what_is_spent_and_none_where_there_is_no_budget():
    private, other = (describe(each, True, 0.0) for each in (PRIVATE, OPEN))
    assert (private["epsilon_spent"], private["delta"], private["loss"]) == (1.5, 1e-5, None)
    assert (other["epsilon_spent"], other["delta"], other["loss"]) == (None, None, 0.25)


def test_tables_have_a_column_for_budgets_where_there_is_one():
    console = Console(width=160)
    with console.capture() as captured:
        console.print(members_table("swarm", [PRIVATE, OPEN]))
        console.print(members_table("swarm", [OPEN]))
    both, alone = captured.get().split("swarm")[1:]
    assert "epsilon,delta" in both and "1.5,1e-05" in both and "0.2500" in both and "0.0000" not in both
    assert "epsilon" not in alone


def test_tables_have_a_column_for_codecs_where_one_is_not_the_usual():
    few, usual = member("host-c", codec="lattice:4"), member("d", codec="float32")
    console = Console(width=160)
    with console.capture() as captured:
        console.print(members_table("swarm", [few, usual]))
        console.print(members_table("swarm", [usual, OPEN]))
    both, alone = captured.get().split("swarm")[1:]
    narrow = Console(width=80)
    with narrow.capture() as captured:
        narrow.print(members_table("swarm", [few, usual]))
    assert "…" not in captured.get(), "a terminal of 80 columns shows all of it"
    assert "codec" in both and "lattice:4" in both and "float32" in both and "codec" not in alone
    assert describe(few, True, 0.0)["codec"] == "lattice:4"


def test_a_launch_averages_the_losses_that_are_published():
    assert "loss 0.2500, " in summary([PRIVATE, OPEN], {"a", "b"})
    assert "loss" not in summary([PRIVATE], {"a"})


def test_the_card_says_what_was_spent_for_whom():
    card = Consensus("run", "digits", agents=["a", "b"], privacy=privacy_of([OPEN, PRIVATE]))
    assert card.plain()["privacy"] == {"a": {"epsilon_spent": 1.5, "delta": 1e-5}}
    assert card.lines()[-1] == "epsilon,delta for each example of a shard: a 1.5,1e-05"
