"""Every error of ours has a number of its own, and every number its explanation."""

import ast
from functools import cache
from pathlib import Path

from tree import FILES, of_each, parsed

from agents.command import cli
from agents.command.explain import explanations

BASE = "GossamerError"
NUMBERS = {cli.USAGE: "the command line", cli.SYSTEM: "the system"}
"""Those that no class has: whose they are."""


@cache
def classes() -> dict[str, ast.ClassDef]:
    """Every class in our packages."""
    return {node.name: node for path in FILES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)}


def is_ours(name: str) -> bool:
    """Whether a class is an error of ours, by the names of its bases."""
    bases = [base.id for base in classes()[name].bases if isinstance(base, ast.Name)] if name in classes() else []
    return BASE in bases or any(map(is_ours, bases))


def number_of(name: str) -> str:
    """The number that a class has or inherits; "" for none."""
    for item in classes()[name].body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "code":
            return ast.literal_eval(item.value)
    return next(filter(None, map(number_of, (base.id for base in classes()[name].bases if is_ours(base.id)))), "")


def errors() -> list[str]:
    """The names of all errors of ours."""
    return sorted(name for name in classes() if is_ours(name))


@of_each(errors, str)
def test_an_error_has_a_number_that_is_explained(name: str) -> None:
    number = number_of(name)
    assert number, f'{name} needs a number: code = "G..." in its body, one that agents/command/errors.md lacks yet'
    assert number in explanations(), f"{name}: explain {number} in agents/command/errors.md: ## {number} {name}: ..."
    title, _ = explanations()[number]
    assert title.split(":")[0] in {name, *(base.id for base in classes()[name].bases)}, (
        f"{name} has {number}, which is that of {title!r}: give it another"
    )


def test_a_number_that_is_explained_is_an_error_s() -> None:
    stale = set(explanations()) - {number_of(name) for name in errors()} - set(NUMBERS)
    assert stale == set(), f"no error has {stale}: remove them from agents/command/errors.md"


def test_numbers_are_in_order_and_explained_in_words() -> None:
    assert list(explanations()) == sorted(explanations())
    page = Path("agents/command/errors.md")
    assert len(explanations()) == (Path(__file__).parents[1] / page).read_text().count("\n## ")
    assert [number for number, (_, text) in explanations().items() if len(text) < 60] == []


@of_each(FILES)
def test_only_errors_with_a_number_are_raised(path: Path) -> None:
    raised = [node.exc for node in ast.walk(parsed(path)) if isinstance(node, ast.Raise) and node.exc is not None]
    names = {ast.unparse(exc.func if isinstance(exc, ast.Call) else exc) for exc in raised}
    assert BASE not in names, f"{path} raises {BASE} itself: make it an error of its own, with a number"
