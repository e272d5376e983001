"""Brings the tables of a page up to date, each between two comments that name it and the script that writes it."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main(about: str, name: str, tables: Callable[[list[dict[str, Any]]], Mapping[str, str]]) -> None:
    """Print the page of this name with its tables up to date, or with --write write it.

    about: the script's own documentation. tables: makes the text of each table, by its name, of what was measured,
    which a JSON file of the same name beside the page holds.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring the page's tables up to date")
    write, page = parser.parse_args().write, HERE / f"{name}.md"
    text = updated(page.read_text(), name, tables(json.loads((HERE / f"{name}.json").read_text())))
    if write:
        page.write_text(text)
    else:
        print(text, end="")


def updated(page: str, name: str, made: Mapping[str, str]) -> str:
    """The page with these texts in the places of its tables."""
    for table, text in made.items():
        begin, end = f"<!-- {table}: python docs/{name}.py --write -->\n", f"<!-- end of {table} -->\n"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page = place.sub((begin + "\n" + text + "\n" + end).replace("\\", r"\\"), page)
    return page
