"""`python tests/browser/screenshot.py` makes the README's picture: the Studio itself, forgetting 50 digits."""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import FLAGS, chromium, start  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

PICTURE = ROOT / "assets" / "docs" / "studio.png"


def take() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as store, sync_playwright() as driver:
        process, address = start(ROOT / "app.py", {"UNLEARN_STORE": store})
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 1500})
            page.goto(f"{address}/studio")
            page.get_by_role("button", name="Add").first.click()
            page.get_by_role("tab", name="Unlearn").click()
            page.get_by_role("button", name="Unlearn 50 instances").click(timeout=30_000)
            page.get_by_text("prediction interval from 3 seeds").wait_for(timeout=60_000)
            page.wait_for_timeout(3000)
            page.screenshot(path=PICTURE)
        finally:
            browser.close()
            process.terminate()
            os.killpg(json.loads((Path(store) / "worker.json").read_text())["pid"], signal.SIGKILL)


if __name__ == "__main__":
    take()
