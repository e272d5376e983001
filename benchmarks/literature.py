"""Results of the literature, reproduced with `sim.simulate`: what a paper reports beside what comes out here.

    python benchmarks/literature.py                                  all of them, a quarter of an hour
    python benchmarks/literature.py --only quadratics --json         one of them, as a list of objects on stdout
    python benchmarks/literature.py --keep docs/literature.json      what docs/literature.md shows

Each is a file of its own beside this one. What data is missing for is left out, and a row says which package has it.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from literature_row import Row

NAMES = ("quadratics", "mean", "spambase", "tokens", "losses", "merge")


def keep(path: Path, name: str, rows: list[Row]) -> None:
    """Write a reproduction's rows into a file of all, in the place of its earlier ones."""
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in kept if row["reproduction"] != name] + [row.plain() for row in rows]
    kept.sort(key=lambda row: NAMES.index(row["reproduction"]))
    written = path.with_suffix(".writing")
    written.write_text(json.dumps(kept, indent=1) + "\n")
    written.replace(path)


def main() -> None:
    """Print a line for each row, or all of them as JSON; progress on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES)
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout")
    parser.add_argument("--keep", type=Path, help="a file of such objects, for each reproduction once it is done")
    given = parser.parse_args()
    found: list[Row] = []
    for name in given.only:
        made = import_module(f"literature_{name}").rows(lambda line: print(line, file=sys.stderr, flush=True))
        found += made
        if given.keep is not None:
            keep(given.keep, name, made)
    if given.json:
        print(json.dumps([row.plain() for row in found], indent=1))
        return
    for row in found:
        print(f"{row.reproduction}: {row.case}\n  reported {row.reported or '-'}; here {row.ours}; match: {row.match}")


if __name__ == "__main__":
    main()
