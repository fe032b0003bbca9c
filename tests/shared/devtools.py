"""A page that a person might look at, in a headless Chromium: expressions are evaluated in it from outside.

Its microphone beeps at 400 Hz, twice a second, and nobody is asked whether it may be used.
Source: the DevTools Protocol of Chromium, domain `Runtime`.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.asyncio.client import ClientConnection, connect

import time_limits
from chromium import devtools_of, opened
from waiting import TIME_LIMIT_SECONDS

OPTIONS = (
    # A WebRTC peer of this machine is reached by the address of the loopback.
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
)
ALLOWED, DENIED = "--use-fake-ui-for-media-stream", "--deny-permission-prompts"
LIMIT_SECONDS = 240
"""Time limit of the browser, from its start to its end."""
BEEP_HERTZ = 400
"""Tone of Chromium's pretended microphone."""
BEEPS = (BEEP_HERTZ, 3 * BEEP_HERTZ, 5 * BEEP_HERTZ)
"""The beep is square: a browser's filter may leave it, or one of its overtones."""
BY_HERTZ = 15
"""Distance from a tone at which it is another one."""


def is_beep(hertz: float) -> bool:
    """Returns whether a tone is the beep, or an overtone of it."""
    return any(abs(hertz - beep) <= BY_HERTZ for beep in BEEPS)


TONE = """
(async (number, known) => {
  const element = await waited(() => [...document.querySelectorAll("audio")].filter((audio) => audio.srcObject)[number]);
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(element.srcObject).connect(analyser);
  const spectrum = new Float32Array(analyser.frequencyBinCount);
  const loudest = await waited(() => {
    analyser.getFloatFrequencyData(spectrum);
    const loudest = spectrum.indexOf(Math.max(...spectrum));
    const hertz = loudest * context.sampleRate / analyser.fftSize;
    return spectrum[loudest] > -50 && (!known || known.some((one) => Math.abs(one - hertz) <= BY_HERTZ)) && hertz;
  });
  await context.close();
  return loudest;
})"""
WAITED = """
void (globalThis.waited = async (look) => {
  for (;;) {
    const found = look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
})
"""


class Page:
    """A page that is open."""

    def __init__(self, connection: ClientConnection, url: str) -> None:
        self._connection = connection
        self._url = url
        self._ids = itertools.count(1)

    async def loaded(self) -> None:
        """Returns when it is loaded: before that another document is there, which goes."""
        look = "location.href + document.readyState + !globalThis.waited"
        # A look at a document that goes is answered by an error.
        while (await self._asked(look)).get("result", {}).get("result", {}).get("value") != f"{self._url}completetrue":
            await asyncio.sleep(0.02)
        await self.evaluate(WAITED)

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, of JSON's types, or that which a promise is fulfilled with.

        Raises AssertionError with what the page throws, or with which a promise is rejected.
        """
        said = await self._asked(expression)
        assert "error" not in said, said
        assert "exceptionDetails" not in said["result"], said["result"]["exceptionDetails"]
        return said["result"]["result"].get("value")

    async def _asked(self, expression: str) -> Any:
        """Returns what the browser says of an expression."""
        number = next(self._ids)
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        await self._connection.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": params}))
        while (said := json.loads(await self._connection.recv())).get("id") != number:
            pass
        return said

    async def holds(self, condition: str) -> Any:
        """Returns what a condition is, as soon as it is true."""
        return await self.evaluate(f"waited(() => {condition})")

    async def hears(self, number: int = 0, known: Sequence[float] = ()) -> float:
        """Returns the tone that an audio element plays, in Hz, as soon as it plays a loud one, or one of those known."""
        tone = TONE.replace("BY_HERTZ", str(BY_HERTZ))
        return float(await self.evaluate(f"{tone}({number}, {list(known) if known else 'undefined'})"))


@contextlib.asynccontextmanager
async def looked_at(url: str, profile: Path, microphone: str = ALLOWED) -> AsyncIterator[Page]:
    """The page at a URL, in a browser that ends with the block."""
    time_limits.allow(LIMIT_SECONDS + TIME_LIMIT_SECONDS)
    async with asyncio.timeout(LIMIT_SECONDS), opened(url, profile, microphone, *OPTIONS):
        port, _ = await devtools_of(profile)

        def target() -> Any:
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LIMIT_SECONDS) as found:
                return next((one for one in json.load(found) if one["url"] == url), None)

        while (page := await asyncio.to_thread(target)) is None:
            await asyncio.sleep(0.02)
        # The time limit of the whole is enough: a busy browser may answer no ping in time.
        limits = {"open_timeout": None, "ping_interval": None}
        async with connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None, **limits) as connection:
            looked = Page(connection, url)
            await looked.loaded()
            yield looked
