"""The documentation: its site builds without a warning and needs no network, and what its pages show is run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_holds_every_page_and_needs_no_network(site) -> None:
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("")
        assert (site / name / "index.html").exists() or page.name == "index.md"
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="?(https?://[^">\s]+)', page.read_text())
        assert loaded == []


def test_what_the_site_cites_it_links(site) -> None:
    text = (site / "watching" / "index.html").read_text()
    section = re.search(r'href="\.\./theory/#(section-32)"', text)
    assert section and f'id="{section[1]}"' in (site / "theory" / "index.html").read_text()
