"""`agent explain`: what an error's number means, why, and what to do."""

import re
from importlib.resources import files
from typing import Annotated

from cyclopts import Parameter

from agents.values import SettingsError


def explain(code: Annotated[str | None, Parameter(name="CODE", show_default=False)] = None) -> int:
    """Explain an error by the number that its line ends with, or list all numbers.

    Parameters:
        code: Such as G201.
    """
    known = explanations()
    if code is None:
        print(*(f"{number}  {title}" for number, (title, _) in known.items()), sep="\n")
        return 0
    number = code.strip("[]").upper()
    number = f"G{number}" if number.isdecimal() else number
    if number not in known:
        raise SettingsError(f"no error has the number {code!r}: `agent explain` lists those there are")
    title, text = known[number]
    print(f"{number}  {title}\n\n{text}")
    return 0


def explanations() -> dict[str, tuple[str, str]]:
    """Number: (title, text), as they stand in errors.md."""
    page = files("agents.command").joinpath("errors.md").read_text("utf-8")
    sections = re.findall(r"^## (G\d{3}) (.+)\n\n((?:(?!## ).*\n)+)", page, re.MULTILINE)
    return {number: (title, text.strip()) for number, title, text in sections}
