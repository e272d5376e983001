"""Writes the tables of docs/literature.md from docs/literature.json, which `benchmarks/literature.py --keep` measures.

python docs/literature.py --write
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TITLES = {
    "quadratics": "Heterogeneity: random quadratics",
    "mean": "Linear speed-up: the mean of many samples",
    "spambase": "Gossip learning with linear models",
    "tokens": "Token accounts",
    "losses": "Lost messages",
    "merge": "A single merge at the end",
}

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """A row for each comparison."""
    lines = ["| case | paper | here | seeds | match | by what |", "|---" * 6 + "|"]
    names = ("case", "reported", "ours", "seeds", "match", "why")
    lines += ["| " + " | ".join(row[name] for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def with_tables(page: str, kept: list[Row]) -> str:
    """The page with its tables brought up to date."""
    for name in TITLES:
        begin, end = f"<!-- {name}: python docs/literature.py --write -->\n", f"<!-- end of {name} -->\n"
        rows = [row for row in kept if row["reproduction"] == name]
        text = begin + "\n" + table(rows) + "\n" + end
        page = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _, text=text: text, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring the page's tables up to date")
    measured = json.loads((HERE / "literature.json").read_text())
    if parser.parse_args().write:
        (HERE / "literature.md").write_text(with_tables((HERE / "literature.md").read_text(), measured))
    else:
        for name, title in TITLES.items():
            print(f"\n**{title}**\n\n" + table([row for row in measured if row["reproduction"] == name]), end="")
