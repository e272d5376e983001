"""What is cited is there: sections of DESIGN.md and docs/theory.md, invariants, paths, and names in backticks."""

import ast
import builtins
import io
import json
import keyword
import math
import re
import sys
import tokenize
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tree import FILES, MODULES, PACKAGES, ROOT, home_of, imports_of_others, of_each

import sim
import topology

PAGES = [Path(name) for name in ("README.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
SOURCES = [
    *FILES,
    *sorted(p.relative_to(ROOT) for d in ("tests", "benchmarks", "examples", "docs") for p in (ROOT / d).rglob("*.py")),
]
SOURCES = [path for path in SOURCES if path.name != "test_references.py"]
NOTEBOOKS = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [*SOURCES, *PAGES, *NOTEBOOKS]


@cache
def text_of(path: Path) -> str:
    """A file as people read it: of a notebook what its cells say, not what they have put out."""
    text = (ROOT / path).read_text()
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


@cache
def prose_of(path: Path) -> str:
    """A source's docstrings and comments, without the code between them; any other file as it is."""
    text = text_of(path)
    if path.suffix != ".py":
        return text
    parts = [
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            parts.append(node.value.value)
    return "\n".join(parts)


def sections(page: str) -> set[str]:
    """The numbers of a page's sections: of headings and of paragraphs that open with one in bold."""
    return set(re.findall(r"^(?:#+ |\*\*)(\d+(?:\.\d+)?)[. ]", text_of(Path(page)), re.MULTILINE))


@of_each(TEXTS)
def test_sections_of_the_design_that_are_cited_are_there(path):
    cited = re.findall(r"\bDESIGN(?:\.md)?,? (?:sections? )?(\d+(?:\.\d+)?)", text_of(path))
    assert set(cited) - sections("DESIGN.md") == set()


@of_each(TEXTS)
def test_sections_of_the_theory_that_are_cited_are_there(path):
    cited = re.findall(r"\btheory\.md\)?,? (?:sections? )?(\d+)", text_of(path))
    assert set(cited) - sections("docs/theory.md") == set()


@of_each(TEXTS)
def test_facts_are_cited_by_their_section_of_the_theory(path):
    assert [line for line in text_of(path).splitlines() if re.search(r"\bFACTS\b", line)] == []


def test_the_design_numbers_its_invariants_and_each_names_the_tests_that_hold_it():
    body = text_of(Path("DESIGN.md")).split("## 3. Invariants")[1].split("\n## ")[0]
    items = re.split(r"^(\d)\. ", body, flags=re.MULTILINE)[1:]
    numbers, parts = items[::2], items[1::2]
    assert numbers == [str(k) for k in range(1, len(numbers) + 1)]
    assert [number for number, text in zip(numbers, parts, strict=True) if "tests/" not in text] == []


@of_each(TEXTS)
def test_invariants_that_are_cited_are_there(path):
    body = text_of(Path("DESIGN.md")).split("Invariants")[1].split("\n## ")[0]
    cited = re.findall(r"\b[Ii]nvariants? (\d+)", text_of(path))
    assert set(cited) - set(re.findall(r"^(\d+)\. ", body, re.MULTILINE)) == set()


VALUES = re.findall(r"^\| `(.+?)` \| ([-\d., ]+) \|$", text_of(Path("docs/theory.md")), re.MULTILINE)


@pytest.mark.parametrize(("expression", "value"), VALUES)
def test_the_theory_s_values_are_right_to_the_last_digit(expression, value):
    names = {name: getattr(topology, name) for name in topology.__all__}
    names |= vars(math) | {"forecast": sim.forecast, "np": np, "W": topology.metropolis_hastings}
    found = np.ravel(eval(expression, names)).tolist()
    shown = value.split(", ")
    digits = [len(number.partition(".")[2]) for number in shown]
    assert [f"{round(one, k) + 0.0:.{k}f}" for one, k in zip(found, digits, strict=True)] == shown


def test_the_theory_s_tables_are_read():
    assert len(VALUES) > 25


def test_each_section_of_the_theory_names_its_source_and_who_uses_it():
    parts = re.split(r"^## (\d+)\. ", text_of(Path("docs/theory.md")), flags=re.MULTILINE)[1:]
    assert parts[::2] == [str(k) for k in range(1, len(parts) // 2 + 1)]
    assert [number for number, text in zip(parts[::2], parts[1::2], strict=True) if "\nSource: " not in text] == []
    assert [number for number, text in zip(parts[::2], parts[1::2], strict=True) if "\nUsed by: " not in text] == []


# Paths.

FOLDERS = (*PACKAGES, "tests", "docs", "benchmarks", "notebooks", "examples")


def paths_in(text: str) -> set[str]:
    """What looks like a path in this repository: it begins with one of its folders, or is a page at its top."""
    text = re.sub(r"https?://\S+", "", text)
    found = re.findall(
        rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w./*-]*\w|[A-Z]{{3,}}\.md|pyproject\.toml|Makefile)", text
    )
    return {path.rstrip(".") for path in found}


@cache
def is_there(path: str) -> bool:
    """Whether a path exists, with .py understood; a star stands for anything."""
    return any(any(ROOT.glob(name)) for name in (path, f"{path}.py"))


@of_each(TEXTS)
def test_paths_that_are_mentioned_are_there(path):
    assert sorted(name for name in paths_in(prose_of(path)) if not is_there(name)) == []


@of_each(PAGES)
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / page.parent / link).exists()] == []


# Names in backticks.


@cache
def bound(path: Path) -> frozenset[str]:
    """Every name that a source defines, assigns or takes, of variables, attributes and arguments alike."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.add(name)
    return frozenset(found)


@cache
def used(path: Path) -> frozenset[str]:
    """Every name that a source uses or imports, and the words of its strings: keys, flags, names of files."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found |= {*name.split("."), other or name}
            case ast.Constant(value=str(text)) if " " not in text:
                found |= set(re.findall(r"\w+", text))
    return frozenset(found)


COMMON = frozenset([*dir(builtins), *keyword.kwlist, *sys.stdlib_module_names, *FOLDERS])


@cache
def ours() -> frozenset[str]:
    """Every name in our packages. Not at import: each worker collects, one runs the test."""
    return frozenset().union(*(bound(path) | used(path) for path in FILES))


@cache
def others() -> frozenset[str]:
    """Every package of others that ours import."""
    return frozenset().union(*(imports_of_others(path) for path in FILES))


def leads_somewhere(name: str, path: Path) -> bool:
    """Whether a name in backticks, as `path` writes it, is that of something of ours, or of what we use."""
    first, *rest = name.split(".")
    if first in PACKAGES:
        if (ROOT / name.replace(".", "/")).is_dir():
            return True
        module = name
        while module not in MODULES:
            module = module.rpartition(".")[0]
        left = [part for part in name[len(module) + 1 :].split(".") if part]
        return not left or set(left) <= bound(MODULES[home_of(f"{module}.{left[0]}")])
    near = bound(path) | used(path) if path.suffix == ".py" else frozenset()
    return first in others() or {first, *rest} <= ours() | near | COMMON


def names_in(text: str) -> set[str]:
    """What stands in backticks and looks like one of Python's names: `a.b`, `Name`, `a_name`, `name()`; no file."""
    found = re.findall(r"(?<!`)`([A-Za-z_][\w.]*\w)(\(\))?`(?!`)", text)
    looks = re.compile(r"^[A-Z]\w*[a-z]|\w[._]\w")
    file = re.compile(r"\.(py|md|npz|bin|toml|jsonl?|svg|safetensors|ipynb)$")
    return {name for name, call in found if (call or looks.search(name)) and not file.search(name)}


@of_each(TEXTS)
def test_names_in_backticks_lead_somewhere(path):
    assert sorted(name for name in names_in(prose_of(path)) if not leads_somewhere(name, path)) == []
