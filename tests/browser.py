"""A page in headless Chromium, over its DevTools protocol: what it shows, says and asks of the network."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

__all__ = ["CHROMIUM", "Page", "needs_chromium", "open_page"]

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: `make chromium` installs it")

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Page:
    """A page that is open.

    Attributes:
        said: what it wrote to the console or the browser said about it, errors and warnings.
        requests: addresses that it asked for, its own first; those that are in the page itself (``data:``) left out.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.said: list[str] = []
        self.requests: list[str] = []

    async def listen(self) -> None:
        """Until the page is closed."""
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            else:
                self._note(event["method"], event["params"])

    def _note(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.said.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.said.append(params["entry"]["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A method of the protocol."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        event = await answer
        assert "error" not in event, f"{method}: {event}"
        result: dict[str, Any] = event["result"]
        return result

    async def go(self, url: str) -> None:
        """Load a page, and wait until it is."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await self._loaded.wait()

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives; a promise is waited for."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def show(self, width: int, *, dark: bool = False) -> None:
        """As on a screen so wide, in pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def picture(self) -> bytes:
        """The whole page as a PNG."""
        png = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(png["data"])


@asynccontextmanager
async def open_page(profile: Path) -> AsyncIterator[Page]:
    """A browser of its own with an empty page. Args: profile: a directory for it, which is not there yet."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_ARGUMENTS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _port_of(process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                (target,) = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(page.listen(), name="devtools")
                    yield page
                    await socket.close()
    finally:
        process.terminate()
        # Its pipe is read to the end: a full one would hold it up.
        await process.communicate()


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    async for line in process.stderr:
        if line.startswith(b"DevTools listening on ws://"):
            return int(line.split(b"/")[2].rpartition(b":")[2])
    raise AssertionError("chromium ended before it listened")
