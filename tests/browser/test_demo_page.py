"""The demo with a page, as `make demo` starts it: Chromium opens the address that it prints."""

from pathlib import Path

import pytest

from browsing import NEEDS_CHROMIUM
from devtools import BY_HERTZ, DENIED, Page, looked_at
from page_commands import shell
from sigbridge_command import command

pytestmark = NEEDS_CHROMIUM
pytest.importorskip("aiortc", reason="the demo extra is not installed")

ADDRESS = r"page: +(http://127\.0\.0\.1:\d+/) "
LOADED_AGAIN = "browser-grpc"
STATE = "document.querySelector('#state').textContent"


async def hang_up(page: Page) -> None:
    await page.holds("!document.querySelector('button').hidden")
    await page.evaluate("document.querySelector('button').click()")
    await page.holds(f"{STATE}.startsWith('The call is over (hung_up)')")


@pytest.mark.parametrize("pairing", command.PAGE_PAIRINGS)
async def test_a_page_and_a_backend_hear_each_other_until_it_hangs_up(pairing: str, tmp_path: Path) -> None:
    """One of the two pages is loaded again, and they hear each other anew."""
    async with shell(f"make demo PAIRING={pairing}") as demo:
        url = (await demo.says(ADDRESS))[1]
        async with looked_at(url, tmp_path) as page:
            assert await page.hears() == pytest.approx(440, abs=BY_HERTZ)
            for drawn in ("══ a sound from the microphone ═+►│\n", r"│◄═+ a tone of 4\d\d Hz ══│\n"):
                await demo.says(drawn)
            if pairing == LOADED_AGAIN:
                await page.evaluate("location.reload()")
                await page.loaded()
                assert await page.hears() == pytest.approx(440, abs=BY_HERTZ)
                assert demo.process.returncode is None
            await hang_up(page)
            code, last = await demo.ended(), demo.stdout.splitlines()[-1]
    assert code == 0, demo.stderr
    assert last.startswith("page and backend heard each other, ")
    lines = demo.stdout.splitlines()
    names = {"browser-grpc": "gRPC", "browser-websocket": "WebSocket"}
    assert any("page (WebSocket) " in line and f" backend ({names[pairing]})" in line for line in lines)
    # Both halves of the drawing, each message once on each side.
    for said in (
        "── announce page-",
        "── offer, ",
        "►│                                │",
        "─ answer, ",
        "peer_joined page-",
    ):
        assert any(said in line for line in lines), said


async def test_a_page_without_a_microphone_says_so_and_the_demo_goes_on(tmp_path: Path) -> None:
    async with shell("make demo PAIRING=browser-grpc") as demo:
        url = (await demo.says(ADDRESS))[1]
        async with looked_at(url, tmp_path, DENIED) as page:
            await page.holds(f"{STATE}.startsWith('There is no call: ')")
            await demo.says(r"page:   there is no call: \S+")
            assert demo.process.returncode is None
