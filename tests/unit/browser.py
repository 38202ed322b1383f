"""A headless Chromium for tests: opens a page from disk with the network off, and acts like a user.

The browser is driven over its debugging pipe, so that nothing but Chromium is needed.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from helpers import ROOT

PROGRAM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
AXE = ROOT / "tests/data/axe/axe.min.js"
SHOTS = ROOT / "results/screenshots"
OPTIONS = (
    "--headless --no-sandbox --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-extensions --remote-debugging-pipe "
    "--hide-scrollbars --force-color-profile=srgb --force-device-scale-factor=1"
).split()
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
# WebGL2 by the processor: a machine for tests has no graphics card.
GRAPHICS = "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader".split()
NO_GRAPHICS = "--disable-gpu --disable-3d-apis".split()
PATIENCE_S = 90.0
KEYS = {
    "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "PageUp": 33,
    "PageDown": 34, "Home": 36, "End": 35, "Enter": 13, "Escape": 27, "Tab": 9, " ": 32,
}  # fmt: skip
TEXTS = {"Enter": "\r", " ": " "}


class Page:
    """One tab, its complaints, and what a user does in it.

    Attributes
    ----------
    complaints : list of str
        Errors and warnings of the console, exceptions, and requests that failed.
    requests : list of str
        Addresses that the page asked for.
    """

    def __init__(self, sent, answers, width, height):
        self._sent, self._answers = sent, answers
        self._buffer, self._count, self._session = b"", 0, None
        self.complaints, self.requests = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=True, **offline)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(width, height)

    def call(self, method, **params):
        """Send a command of the debugging protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sent, json.dumps(message).encode() + b"\0")
        number = self._count
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _next(self):
        """Return the next message of the browser."""
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self._answers, 1 << 20) if ready else b""
            if not piece:
                raise TimeoutError("the browser does not answer")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        """Keep what the page asked for and complained about."""
        said = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
                words = " ".join(str(a.get("value", a.get("description"))) for a in said["args"])
                self.complaints.append(f"{said['type']}: {words}")
            case "Runtime.exceptionThrown":
                found = said["exceptionDetails"]
                text = found.get("exception", {}).get("description", found["text"])
                self.complaints.append(f"exception: {text}")
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{said['entry']['level']}: {said['entry']['text']}")
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])

    def resize(self, width, height):
        """Give the window a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def open(self, path, fragment="", ready="document.readyState === 'complete'"):
        """Open a file from disk and wait until an expression of the page is true."""
        self.call("Page.navigate", url="about:blank")
        self.complaints.clear()
        self.requests.clear()
        self.call("Page.navigate", url=Path(path).resolve().as_uri() + fragment)
        self.wait(f"location.protocol === 'file:' && ({ready})")

    def run(self, expression):
        """Evaluate an expression in the page, a promise included, and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            found = answer["exceptionDetails"]
            raise RuntimeError(found.get("exception", {}).get("description", found["text"]))
        return answer["result"].get("value")

    def wait(self, expression, seconds=60.0):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}; {self.complaints}")
            time.sleep(0.05)

    def settle(self):
        """Wait until what was asked for is drawn."""
        self.run("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => f(1))))")

    def press(self, key, shift=False):
        """Press a key, given as browsers name it."""
        code = KEYS.get(key) or ord(key.upper())
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        text = TEXTS.get(key, key if len(key) == 1 else "")
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)
        self.settle()

    def box(self, selector):
        """Return x, y, width and height of an element in the window; it is scrolled into view."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )

    def point(self, selector, across=0.5, down=0.5):
        """Return a place inside an element, as shares of its size."""
        x, y, width, height = self.box(selector)
        return {"x": x + across * width, "y": y + down * height}

    def click(self, selector, across=0.5, down=0.5):
        """Click into an element with the mouse."""
        place = self.point(selector, across, down)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            more = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **place, **more)
        self.settle()

    def wheel(self, selector, notches, across=0.5, down=0.5):
        """Turn the wheel over an element; a positive number scrolls down."""
        place = self.point(selector, across, down)
        for _ in range(abs(notches)):
            turn = {"deltaX": 0, "deltaY": 100 if notches > 0 else -100}
            self.call("Input.dispatchMouseEvent", type="mouseWheel", **place, **turn)
            self.settle()

    def focused(self):
        """Return the identifier of the element that has the focus, or its tag."""
        return self.run("document.activeElement.id || document.activeElement.tagName")

    def picture(self, name=None, selector=None):
        """Return the window, or an element of it, as PNG; kept under results/ by its name."""
        clip = {}
        if selector:
            x, y, width, height = self.box(selector)
            self.settle()
            clip["clip"] = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", **clip)["data"]
        data = base64.b64decode(shot)
        if name:
            SHOTS.mkdir(parents=True, exist_ok=True)
            (SHOTS / f"{name}.png").write_bytes(data)
        return data

    def barriers(self):
        """Return what axe-core finds against WCAG 2.2 A and AA: rule, targets and why."""
        if not self.run("typeof axe !== 'undefined'"):
            self.run(AXE.read_text(encoding="utf-8") + ";0")
        tags = json.dumps(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])
        found = self.run(
            f"axe.run(document, {{runOnly: {{type: 'tag', values: {tags}}}, resultTypes: "
            "['violations']}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => "
            "n.target.join(' ') + ': ' + n.failureSummary)]))"
        )
        return [(rule, where[:4]) for rule, where in found]


@contextlib.contextmanager
def browser(options=GRAPHICS, width=1280, height=900):
    """Start Chromium, give a `Page`, and end it.

    Parameters
    ----------
    options : sequence of str
        ``GRAPHICS`` for WebGL2 by the processor, ``NO_GRAPHICS`` for a browser without WebGL.
    """
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def pipes():
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        first, second = os.dup(command_read), os.dup(answer_write)
        os.dup2(first, 3)
        os.dup2(second, 4)

    with tempfile.TemporaryDirectory(prefix="chromium-") as folder:
        process = subprocess.Popen(
            [PROGRAM, *OPTIONS, *options, NO_NETWORK, f"--user-data-dir={folder}/profile"],
            preexec_fn=pipes,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(command_read)
        os.close(answer_write)
        try:
            yield Page(command_write, answer_read, width, height)
        finally:
            os.close(command_write)
            os.close(answer_read)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
