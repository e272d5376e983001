"""The documentation: its site builds without a warning and needs no network, and what its pages show is run."""

import re
import subprocess
import sys
import tomllib

import pytest
from page_runner import ONCE, ROOT, blocks, run_page

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if blocks(path.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_shows_runs_as_it_stands(page, tmp_path) -> None:
    run_page(page, tmp_path)


def test_pages_name_extras_that_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text() for path in (ROOT / "README.md", *DOCS.rglob("*.md"))]
    lists = [found for text in texts for found in re.findall(r"pip install [^\n]*\[([\w,]+)\]", text)]
    named = {name for found in lists for name in found.split(",")}
    assert named and named <= set(extras)
    assert f'"{ONCE}"' in (DOCS / "tutorial.md").read_text()


def test_the_site_holds_every_page_links_what_it_cites_and_needs_no_network(tmp_path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("")
        assert (tmp_path / name / "index.html").exists() or page.name == "index.md"
    for html in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="?(https?://[^">\s]+)', html.read_text())
        assert loaded == []
    section = re.search(r'href="\.\./theory/#(section-32)"', (tmp_path / "watching" / "index.html").read_text())
    assert section and f'id="{section[1]}"' in (tmp_path / "theory" / "index.html").read_text()
