"""What the command lines of the benchmarks share: options of one meaning, and a line or one JSON object at the end."""

import argparse
import json
from typing import Any


def parser_of(doc: str, repeats: int) -> argparse.ArgumentParser:
    """A parser with --repeats and --json, described by the first line of a module's docstring."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def vector_parser(doc: str, repeats: int) -> argparse.ArgumentParser:
    """A parser for a benchmark whose subject is one vector."""
    parser = parser_of(doc, repeats)
    parser.add_argument("--megabytes", type=float, default=100, help="size of the vector, 10^6 bytes each")
    return parser


def vector_options(doc: str, repeats: int) -> tuple[int, int, bool]:
    """The options of such a benchmark: its float32 parameters, the repeats, and whether JSON."""
    options = vector_parser(doc, repeats).parse_args()
    return parameters_of(options), options.repeats, options.json


def parameters_of(options: argparse.Namespace) -> int:
    """How many float32 the vector has."""
    return int(options.megabytes * 1e6 / 4)


def show(result: dict[str, Any], as_json: bool, line: str) -> None:
    """Print the result as one JSON object, or as a line with {names} of its values."""
    print(json.dumps(result) if as_json else line.format(**result))
