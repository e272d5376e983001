"""Warnings that come again and again: each text is logged once in a while."""

import logging
import time

log = logging.getLogger("gossamer.link")

WARN_S = 10.0
"""At least, between two warnings of the same text."""

MAX_WARNINGS = 256
"""Texts of warnings that are remembered."""


class Warnings:
    """Warns, of the same thing again only after WARN_S."""

    def __init__(self) -> None:
        self._warned_s: dict[str, float] = {}

    def __call__(self, text: str, again_s: float = WARN_S) -> None:
        """Log this text, unless it was lately."""
        now = time.monotonic()
        if now - self._warned_s.get(text, -again_s) >= again_s:
            if len(self._warned_s) >= MAX_WARNINGS:
                self._warned_s.clear()
            self._warned_s[text] = now
            log.warning("%s", text)
