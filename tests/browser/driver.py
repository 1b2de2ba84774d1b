"""Chromium without a window, driven through chromedriver: as much of WebDriver as tests need.

WebDriver is JSON over HTTP (W3C, WebDriver Level 2), so that the standard library is enough:
a library would be a further dependency, and brings what finds and downloads browsers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_STARTED = re.compile(r"started successfully on port (\d+)")
_WAIT_SECONDS = 60

# As root, Chromium has no sandbox of its own. The rest keeps it from looking for the network.
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip

# What the keyboard's keys without a character are called.
KEYS = {
    "Enter": "\ue007", "Escape": "\ue00c", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014",
    "Down": "\ue015", "PageDown": "\ue00f", "Home": "\ue011", "End": "\ue010", "Tab": "\ue004",
    "Control": "\ue009",
}  # fmt: skip


class Unavailable(Exception):
    """There is no Chromium here, or it does not start."""


class Failed(Exception):
    """What the browser says to a request that it could not do."""


def programs() -> tuple[str, str]:
    """Chromium and its driver."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        raise Unavailable("no Chromium with chromedriver (Debian: chromium, chromium-driver)")
    return browser, driver


class Browser:
    """One window. Everything that it starts ends with it."""

    def __init__(self, folder: Path) -> None:
        browser, driver = programs()
        self._log = (folder / "chromedriver.log").open("w+")
        self._process = subprocess.Popen(
            [driver, "--port=0"],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
        try:
            self._session = ""
            self._address = f"http://127.0.0.1:{self._port(folder)}"
            self._session = self._start(browser, folder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            if self._session:
                self._ask("DELETE", "")
        finally:
            # The driver leads a process group: a browser that it has lost ends as well.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._log.close()

    def _port(self, folder: Path) -> int:
        """The port that the driver has taken, as soon as it says so."""
        log = folder / "chromedriver.log"
        while True:
            found = _STARTED.search(log.read_text())
            if found:
                return int(found[1])
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            raise Unavailable(f"chromedriver does not start: {log.read_text()[-300:]}")

    def _start(self, browser: str, folder: Path) -> str:
        arguments = [*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}"]
        options = {"binary": browser, "args": arguments}
        wanted = {
            "capabilities": {
                "alwaysMatch": {
                    "browserName": "chrome",
                    "goog:chromeOptions": options,
                    "goog:loggingPrefs": {"browser": "ALL"},
                }
            }
        }
        try:
            session: str = self._ask("POST", "", wanted)["sessionId"]
        except Failed as error:
            raise Unavailable(f"Chromium does not start: {error}") from error
        return session

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        session = f"/{self._session}" if self._session else ""
        request = urllib.request.Request(
            f"{self._address}/session{session}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_WAIT_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(json.load(error)["value"]["message"]) from None

    # --- what tests do ------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Opens a page and returns when it has loaded."""
        self._ask("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: object) -> Any:
        """The value of a function's body in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def frame(self) -> None:
        """Returns when the page has drawn what was asked of it."""
        script = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"
        self._ask("POST", "/execute/async", {"script": script, "args": []})

    def click(self, element: Any, x: int = 0, y: int = 0) -> None:
        """Moves the pointer to an element, `x` and `y` pixels off its middle, and presses."""
        self.hover(element, x, y)
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._pointer(press)

    def hover(self, element: Any, x: int = 0, y: int = 0) -> None:
        self._pointer([{"type": "pointerMove", "origin": element, "x": x, "y": y, "duration": 0}])

    def _pointer(self, actions: list[dict[str, Any]]) -> None:
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self._ask("POST", "/actions", {"actions": [mouse]})
        self.frame()

    def keys(self, *keys: str) -> None:
        """Presses keys one after the other: characters, or names as in `KEYS`."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("POST", "/actions", {"actions": [keyboard]})
        self.frame()

    def wheel(self, element: Any, y: int) -> None:
        """Turns the wheel over an element."""
        turn = {"type": "scroll", "origin": element, "x": 0, "y": 0, "deltaX": 0, "deltaY": y}
        wheel = {"type": "wheel", "id": "wheel", "actions": [{**turn, "duration": 0}]}
        self._ask("POST", "/actions", {"actions": [wheel]})
        self.frame()

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the page's window and what the person prefers: "light" or "dark"."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **size)
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", features=[preferred])
        self.frame()

    def _command(self, name: str, **parameters: object) -> None:
        self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def back(self) -> None:
        self._ask("POST", "/back", {})
        self.frame()

    def complaints(self) -> list[str]:
        """What the browser has written to its console since it was last asked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def pdf(self) -> bytes:
        return b64decode(self._ask("POST", "/print", {"background": True}))
