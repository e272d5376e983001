"""Makes pages of the site from what stands elsewhere, and links of what they cite (a hook of mkdocs)."""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

SECTION = re.compile(r"^## (\d+)\. .*$", re.MULTILINE)
"""Of docs/theory.md and DESIGN.md."""

ROOT = Path(__file__).parent.parent
WHOLE = re.compile(r"<!-- the whole of (\S+) -->")
"""A page that is another file of the repository."""

PAGES = {"docs/theory.md": "theory.md", "DESIGN.md": "design.md", "DESIGN": "design.md"}
CITED = re.compile(r"(?<![\w/`\[])(docs/theory\.md|DESIGN(?:\.md)?) (\d+)(?:\.\d+)?")
PAGE = re.compile(r"(?<![\w/`\[(])docs/([a-z_]+\.md)(?! \d)")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?!https?://|#)[^)#\s]+)([^)]*)\)")
CODE = re.compile(r"^(?:```.*?^```|(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
"""Blocks of code, which stay as they are."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A page's text before it is rendered."""
    source = page.file.src_uri
    origin = f"docs/{source}"
    if whole := WHOLE.fullmatch(markdown.strip()):
        origin = whole[1]
        markdown = (ROOT / origin).read_text()
    if source in PAGES.values():
        markdown = SECTION.sub(r"\g<0> {#section-\1}", markdown)
    parts, end = [], 0
    for block in CODE.finditer(markdown):
        parts += [linked(markdown[end : block.start()], source, origin, files), block[0]]
        end = block.end()
    return "".join([*parts, linked(markdown[end:], source, origin, files)])


def linked(text: str, source: str, origin: str, files: Any) -> str:
    """Prose with what it cites as links. source: the page, in docs/; origin: the file in which the text stands."""
    here = dirname(source) or "."

    def to(page: str) -> str:
        return relpath(page, here)

    def of_section(found: re.Match[str]) -> str:
        return f"[{found[0]}]({to(PAGES[found[1]])}#section-{found[2]})"

    def of_page(found: re.Match[str]) -> str:
        return f"[{found[0]}]({to(found[1])})" if files.get_file_from_path(found[1]) else found[0]

    def followed(found: re.Match[str]) -> str:
        image, shown, path, rest = found.groups()
        target = normpath(join(dirname(origin), path))
        return f"{image}[{shown}]({to(relpath(target, 'docs'))}{rest})" if target.startswith("docs/") else shown

    return PAGE.sub(of_page, CITED.sub(of_section, LINK.sub(followed, text)))
