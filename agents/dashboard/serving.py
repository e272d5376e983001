"""Runs the dashboard until it is interrupted: looks at the swarm in a thread, and serves what it saw."""

import asyncio
import logging
import socket
import threading
import time
from typing import Protocol

import uvicorn

from agents.dashboard.app import Feed, make_app
from agents.dashboard.story import Scene, Story

log = logging.getLogger("gossamer")

PERIOD_S = 0.5
"""Between two looks."""

CLOSE_S = 1
"""How long open pages may take to hang up."""


class Source(Protocol):
    """What is looked at: a running swarm, or the folder of a run."""

    def look(self) -> Scene:
        """How it is now."""

    def close(self) -> None:
        """Let go of it."""


class Looking(threading.Thread):
    """Looks each PERIOD_S; what it saw goes to the pages in the thread of the event loop."""

    def __init__(self, source: Source, story: Story, feed: Feed, server: uvicorn.Server) -> None:
        super().__init__(name="looking", daemon=True)
        self._source, self._story, self._feed, self._server = source, story, feed, server
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Until `stop`, or until looking fails, which ends the server."""
        try:
            while not self._over.is_set():
                began_s = time.monotonic()
                scene = self._source.look()
                asyncio.run_coroutine_threadsafe(self._show(scene, began_s), self._loop).result()
                self._over.wait(max(0.0, began_s + PERIOD_S - time.monotonic()))
        except Exception as error:
            if not self._over.is_set():
                self.error = error
                self._server.should_exit = True

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    async def _show(self, scene: Scene, now_s: float) -> None:
        self._story.add(scene, now_s)
        await self._feed.publish(self._story.event)


def serve(source: Source, story: Story, listening: socket.socket, listens: str) -> None:
    """Serve on this socket until SIGINT or SIGTERM. listens: its host as it was given. Raises what a look raises."""
    asyncio.run(_serve(source, story, listening, listens))


async def _serve(source: Source, story: Story, listening: socket.socket, listens: str) -> None:
    feed = Feed()
    config = uvicorn.Config(
        make_app(feed, listens),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )
    server = Server(config, feed)
    looking = Looking(source, story, feed, server)
    looking.start()
    try:
        await server.serve(sockets=[listening])
    finally:
        looking.stop()
    if looking.error is not None:
        raise looking.error


class Server(uvicorn.Server):
    """One that lets go of the pages when it ends: they wait for events that never end."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, once the pages have received the end."""
        await self._feed.end()
        await super().shutdown(sockets)
