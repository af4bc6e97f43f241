"""A headless Chromium for tests, driven through the DevTools protocol over two pipes, without a
package.
"""

import json
import os
import subprocess
import time
from typing import Any, Self

SECONDS = 30


class Browser:
    """A page of a browser. `problems` contains script errors and requests that the policy of the
    page blocked.
    """

    def __init__(self, command: list[str]) -> None:
        ours, theirs = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to descriptor 4.
        shell = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._write, self._read = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self._session: str | None = None
        self._n_calls = 0
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        target = next(
            target_info
            for target_info in self.call("Target.getTargets")["targetInfos"]
            if target_info["type"] == "page"
        )
        self._session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        self._write.close()
        self._read.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._n_calls += 1
        message = {"id": self._n_calls, "method": method, "params": params}
        self._write.write(
            json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode()
            + b"\0"
        )
        self._write.flush()
        while True:
            received_message = self._next()
            if received_message.get("id") == self._n_calls:
                assert "error" not in received_message, received_message
                return dict(received_message["result"])
            if received_message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.problems.append(json.dumps(received_message["params"]))

    def _next(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser ended"
            data += byte
        return dict(json.loads(data))

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def type(self, selector: str, text: str) -> None:
        """Insert text into an element, as pasting does."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press_enter(self, selector: str) -> None:
        """Focus an element, such as a button, and press Enter."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                text="\r",
            )

    def wait_for(self, script: str) -> Any:
        """Evaluate an expression until its value is true, and return the value."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(
            f"{script} did not become true; the page says {self.run('document.body.innerText')!r}"
        )
