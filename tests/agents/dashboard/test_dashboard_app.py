"""What the dashboard's server answers, and that nobody who reads it holds up another."""

import asyncio
import re

import httpx
import pytest

from agents.dashboard.app import PAGE, PAGES, Feed, make_app


def ask(path: str, method: str = "GET", **more) -> httpx.Response:
    """The app's answer, without a socket."""

    async def asked() -> httpx.Response:
        through = httpx.ASGITransport(make_app(Feed(), "127.0.0.1"))
        async with httpx.AsyncClient(transport=through, base_url="http://127.0.0.1:8765") as client:
            return await client.request(method, path, **more)

    return asyncio.run(asked())


def test_the_page_and_all_that_it_names_come_from_here():
    page = ask("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page.text))
    assert named and all(path.startswith("/page/") for path in named)
    for path in named:
        assert ask(path).status_code == 200, path


def test_scripts_import_what_is_there_and_nothing_from_elsewhere():
    for file in PAGE.iterdir():
        text = file.read_text()
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert ask(f"/page/{name}").headers["content-type"].startswith("text/javascript")
        links = set(re.findall(r"https?://[^\s\"'`]+", text)) - {"http://www.w3.org/2000/svg"}
        assert links == set(), file.name


def test_scripts_never_make_html_of_text():
    """A member chooses its name."""
    words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    assert [(file.name, word) for file in PAGE.glob("*.js") for word in words if word in file.read_text()] == []


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/nothing"])
def test_every_answer_forbids_what_the_page_doesn_t_need(path):
    headers = ask(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/events", "/page/main.js"])
def test_another_host_s_name_gets_nothing(path):
    answer = ask(path, headers={"Host": "evil.example"})
    assert answer.status_code == 421 and "evil" not in answer.text


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd"])
def test_only_the_page_s_own_files_are_served(path):
    assert ask(path).status_code == 404


def test_it_changes_nothing():
    assert ask("/", "POST").status_code == ask("/events", "PUT").status_code == 405


def test_a_page_that_reads_nothing_holds_up_nobody():
    async def run():
        feed = Feed()
        slow, quick = feed.events(), feed.events()
        for look in range(3):
            await feed.publish(lambda after, look=look: (f"{look} after {after}".encode(), after + 1))
            if look == 0:
                assert await anext(slow) == await anext(quick) == b"0 after 0"
            else:
                assert await anext(quick) == f"{look} after {look}".encode()
        assert await anext(slow) == b"2 after 1"  # It missed one look, and no point.
        await feed.end()
        return [text async for text in slow] + [text async for text in quick]

    assert asyncio.run(run()) == []


def test_so_many_pages_are_open_at_most():
    async def run():
        feed = Feed()
        await feed.publish(lambda after: (b"", after))
        pages = [feed.events() for _ in range(PAGES)]
        for page in pages:
            await anext(page)
        assert feed.is_full
        await pages[0].aclose()
        assert not feed.is_full
        for page in pages:
            await page.aclose()

    asyncio.run(run())


def test_whoever_asks_whether_there_is_room_takes_none():
    answer = ask("/events", "HEAD")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
