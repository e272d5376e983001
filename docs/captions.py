"""Writes the README's list of files from each module's first sentence; a test holds the two together.

python docs/captions.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("agents", "sim", "topology", "transport")


def captions() -> dict[str, str]:
    """Path and first sentence of every module that isn't empty."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): first_sentence(path) for path in files if path.read_text().strip()}


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    return re.split(r"\.(?:\s|$)", ast.get_docstring(ast.parse(path.read_text())) or "")[0].replace("\n", " ")


if __name__ == "__main__":
    readme = ROOT / "README.md"
    block = "".join(f"    {path:<36}{caption}\n" for path, caption in captions().items())
    head, tail = re.split(r"(?:^    \S+\.py .*\n)+", readme.read_text(), maxsplit=1, flags=re.MULTILINE)
    readme.write_text(head + block + tail)
