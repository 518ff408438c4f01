"""A headless Chromium that a test drives, over the pipe that its debugging protocol speaks.

Chrome DevTools Protocol: messages of JSON, each ended by a zero byte, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-extensions", "--hide-scrollbars",
    "--remote-debugging-pipe", "--window-size=1200,900",
)  # fmt: skip
# A page of a hundred results is drawn in a second or two; a busy machine takes longer.
LIMIT_S = 90.0
# What a page may be loaded from: itself.
LOCAL = ("file:", "data:", "blob:")


def found() -> str | None:
    """A Chromium on this machine, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in one browser. `problems` are its console's errors, `requests` what it asked for
    beside itself."""

    def __init__(self, folder: Path) -> None:
        executable = found()
        assert executable
        theirs, self._commands = os.pipe()
        self._replies, written = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        # Numbers beyond those that they get in the browser.
        high = [fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, 10) for n in (null, null, theirs, written)]
        self._process = os.posix_spawn(
            executable,
            [executable, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, n, place) for place, n in enumerate(high, 1)],
        )
        for number in (theirs, written, null, *high):
            os.close(number)
        self._held = b""
        self._number = 0
        self._session = ""
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._attach()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._commands)
        os.close(self._replies)
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)

    def _attach(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result. Raises RuntimeError on an error."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]
            self._note(reply)

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + LIMIT_S
        while b"\0" not in self._held:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._replies], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self._replies, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._held += more
        line, _, self._held = self._held.partition(b"\0")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _note(self, event: Mapping[str, Any]) -> None:
        told = event.get("params", {})
        method = event.get("method")
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.problems.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.problems.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not url.startswith(LOCAL):
                self.requests.append(url)

    def open(self, page: Path, dark: bool = False, width: int = 1200) -> None:
        """Load a page and wait until it has drawn itself; problems and requests are its own."""
        self.problems.clear()
        self.requests.clear()
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.send("Page.navigate", url=page.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + LIMIT_S
        while not self.run(script):
            if time.monotonic() > until:
                raise TimeoutError(script)
            time.sleep(0.05)

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        told: dict[str, Any] = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def picture(self, out: Path) -> None:
        """A picture of the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(shot["data"]))

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])
