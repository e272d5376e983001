"""Serves the dashboard: one static page, and what it shows as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.dashboard.hosts import is_ours

PAGE = Path(__file__).with_name("page")

PAGES = 64
"""That may be open at a time."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Of every response: nothing comes from elsewhere, no script stands in the page, and no other page may frame it."""

Event = Callable[[int], tuple[bytes, int]]
"""After how many points -> what a page lacks, and how many it has then: `Story.event`."""


class Feed:
    """What pages wait for: the next look. A page that is slow, or hangs, misses some and holds up nobody."""

    def __init__(self) -> None:
        self._event: Event | None = None
        self._looked = asyncio.Condition()
        self._looks = 0
        self._over = False
        self._pages = 0

    async def publish(self, event: Event) -> None:
        """There is something new."""
        async with self._looked:
            self._event, self._looks = event, self._looks + 1
            self._looked.notify_all()

    async def end(self) -> None:
        """Nothing new comes any more: let go of those that wait."""
        async with self._looked:
            self._over = True
            self._looked.notify_all()

    @property
    def is_full(self) -> bool:
        """Whether as many pages are open as may be."""
        return self._pages >= PAGES

    async def events(self) -> AsyncIterator[bytes]:
        """One a look, from the first that is missing."""
        self._pages += 1
        try:
            seen, points = 0, 0
            while (event := await self._after(seen)) is not None:
                seen = self._looks
                text, points = event(points)
                yield text
        finally:
            self._pages -= 1

    async def _after(self, seen: int) -> Event | None:
        """The newest, once there were more looks than these; None once nothing comes any more."""
        async with self._looked:
            await self._looked.wait_for(lambda: self._over or self._looks > seen)
            return None if self._over else self._event


def make_app(feed: Feed, listens: str) -> Starlette:
    """The page at /, its parts under /page, and events at /events. listens: the host of --listen."""

    async def index(request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def events(request: Request) -> Response:
        if feed.is_full:
            return PlainTextResponse(f"{PAGES} pages are open: close some\n", 503)
        if request.method == "HEAD":  # Whoever asks whether there is room takes none.
            return Response(media_type="text/event-stream")
        return StreamingResponse(feed.events(), media_type="text/event-stream")

    routes = [Route("/", index), Route("/events", events), Mount("/page", StaticFiles(directory=PAGE))]
    return Starlette(routes=routes, middleware=[Middleware(Guard, listens=listens)])


class Guard:
    """Refuses who asks for another host than this one, and puts our headers on everything."""

    def __init__(self, app: ASGIApp, listens: str) -> None:
        self._app, self._listens = app, listens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if scope["type"] == "http" and not is_ours(Request(scope).headers.get("host", ""), self._listens):
            app = PlainTextResponse("This dashboard answers under the address that it prints, and no other.\n", 421)
        await app(scope, receive, with_headers)
