"""The page of docs/browser.md: two of it, in one browser, hear each other over a data channel, as the document shows it."""

import re
from pathlib import Path

from browsing import NEEDS_CHROMIUM, origin_of, results_in
from chromium import Browsers
from sigbridge import Settings
from sigbridge_server.server import Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "browser.md"

pytestmark = NEEDS_CHROMIUM

FRAMES = """<!doctype html>
<meta charset="utf-8">
<iframe></iframe><iframe></iframe>
<script type="module">
  const pages = [...document.querySelectorAll("iframe")];
  const heard = pages.map((page) => new Promise((resolve, reject) => {
    page.onload = () => {
      const list = page.contentDocument.querySelector("#heard");
      const look = () => list.children.length && resolve(list.textContent);
      new MutationObserver(look).observe(list, { childList: true });
      look();
    };
    setTimeout(reject, 90_000, "nothing was heard");
  }));
  for (const page of pages) page.src = "index.html";
  const results = await Promise.all(heard).then((heard) => ({ heard }), (error) => ({ error: String(error) }));
  await fetch("/results", { method: "POST", body: JSON.stringify(results) });
</script>
"""


async def test_two_pages_of_the_document_hear_each_other(browsers: Browsers, tmp_path: Path) -> None:
    (page,) = re.findall(r"^```html\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    settings = Settings(
        grpc_bind_address="127.0.0.1:0", ws_bind_address="127.0.0.1:0", http_bind_address="off", serve_client=True
    )
    server = Server(settings)
    await server.start()
    folder = tmp_path / "pages"
    folder.mkdir()
    try:
        address = f"127.0.0.1:{server.websocket_port}"
        assert page.count("127.0.0.1:8080") == 3
        (folder / "index.html").write_text(page.replace("127.0.0.1:8080", address))
        (folder / "frames.html").write_text(FRAMES)
        with origin_of(folder) as origin:
            results = await results_in(origin, address, browsers, page="frames.html")
    finally:
        await server.stop()
    assert [text.partition("-")[0] for text in results.get("heard", [])] == ["hello from page"] * 2, results
