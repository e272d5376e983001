"""Drives a headless Chromium through its debugging pipe: opens a page, asks it, takes pictures."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Its program; None where there is none."""

ANSWER_S = 60.0
"""How long it may take to answer: on a busy machine it starts slowly."""

FLAGS = [
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars"),
    "--disable-dev-shm-usage",  # That is small in containers.
]
"""Its sandbox is left on, but for root, whom it refuses."""


AS_3_AND_4 = (
    "import os, sys; [os.dup2(int(sys.argv[1 + k]), 3 + k) for k in (0, 1)]; os.execv(sys.argv[3], sys.argv[3:])"
)
"""A program that becomes another one, which finds two pipes where Chromium looks for them."""


class Browser:
    """A context manager: one page of a Chromium of its own. errors: what its console has shown of errors so far."""

    def __init__(self, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        self.errors: list[str] = []
        self._number, self._buffer, self._session = 0, b"", None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={self._folder.name}", *(["--no-sandbox"] if os.getuid() == 0 else [])]
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", AS_3_AND_4, *map(str, theirs), str(CHROMIUM), *flags, "about:blank"],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_read, to_write, *theirs):
            os.close(end)
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height, dark)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def resize(self, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """The size of the window in CSS pixels, and whether its user prefers dark colors."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = ANSWER_S) -> Any:
        """Its value, once it is true. Raises TimeoutError."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not within {timeout_s:g} s: {expression}; console: {self.errors}")
            time.sleep(0.05)
        return value

    def picture(self, path: Path, whole: bool = False) -> None:
        """Save what is seen as PNG. whole: the page to its end."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its result. Raises RuntimeError, TimeoutError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline_s = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline_s:
            for answer in self._received(deadline_s):
                if answer.get("id") == self._number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return dict(answer["result"])
        raise TimeoutError(f"{CHROMIUM} doesn't answer {method}")

    def _received(self, deadline_s: float) -> list[dict[str, Any]]:
        """What came; errors of the console are kept."""
        if not select.select([self._read], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
            return []
        data = os.read(self._read, 1 << 16)
        if not data:
            raise RuntimeError(f"{CHROMIUM} has ended")
        *whole, self._buffer = (self._buffer + data).split(b"\0")
        answers = [json.loads(each) for each in whole]
        for answer in answers:
            self._note(answer.get("method", ""), answer.get("params", {}))
        return answers

    def _note(self, method: str, told: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.errors.append(str(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
