"""How fast the picker answers: ``python tests/benchmarks/picker.py [2000 10000 60000]`` prints a Markdown table.

Times are in headless Chromium with software rendering, on this server and browser together; bytes are what crosses the
websocket. An answer is counted from the mouse's release to Python's text on the page.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import FLAGS, chromium, start  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

APP = ROOT / "tests" / "browser" / "picker_app.py"
STATE = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.querySelector('.picker')?.picker.state()"
DEEP = """(words) => {
  const page = document.querySelector('[data-testid=stMain]');
  return page?.innerText.split('\\n').some((line) => line.startsWith(words));
}"""
COLUMNS = (
    "points", "first render s", "click ms", "rerun ms", "lasso all ms", "lasso drag ms/move", "pan ms/move", "redraw ms",
    "sent to browser first", "sprite", "down/up per click", "down/up per lasso all", "down/up rerun", "down recolour",
)  # fmt: skip


class Wire:
    """Bytes over the page's websocket since the last reading."""

    def __init__(self, page):
        self.down = self.up = 0
        page.on("websocket", self.listen)

    def listen(self, socket):
        size = lambda frame: len(frame if isinstance(frame, bytes) else frame.encode())  # noqa: E731
        socket.on("framereceived", lambda frame: setattr(self, "down", self.down + size(frame)))
        socket.on("framesent", lambda frame: setattr(self, "up", self.up + size(frame)))

    def take(self):
        seen = self.down, self.up
        self.down = self.up = 0
        return seen


def kilo(count):
    return f"{count / 1000:.1f} kB"


def until(page, words):
    page.wait_for_function(DEEP, arg=words, polling=5)


def settle(page):
    page.wait_for_timeout(500)


def measure(browser, n, sprite):
    folder = tempfile.mkdtemp()
    with open(Path(folder) / "log.txt", "w") as log:
        process, address = start(APP, {"PICKER_N": str(n), "PICKER_SPRITE": str(int(sprite))}, log)
    try:
        browser.new_page().goto(address)  # the server's own first-run work is not the picker's
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        time.sleep(3)
        wire = Wire(page)
        began = time.perf_counter()
        page.goto(address)
        page.wait_for_function(f"() => {STATE}?.n > 0 && {STATE}?.cost > 0", polling=5)
        first = time.perf_counter() - began
        settle(page)
        loaded = wire.take()[0]

        box = page.locator(".field").bounding_box()
        answers, traffic = [], []
        for k in range(8):
            instance = 1000 + 7 * (k * n // 9)
            at = page.locator(".picker").evaluate("(e, id) => e.picker.pixel(id)", instance)
            page.mouse.move(at["x"], at["y"])
            began = time.perf_counter()
            page.mouse.click(at["x"], at["y"])
            until(page, f"gestures {k + 1}:")
            answers.append(1000 * (time.perf_counter() - began))
            settle(page)
            traffic.append(wire.take())

        reruns = []
        for k in range(3):
            began = time.perf_counter()
            page.get_by_role("button", name="Rerun").click()
            until(page, f"runs {10 + k}")
            reruns.append(1000 * (time.perf_counter() - began))
        settle(page)
        rerun = [total / 3 for total in wire.take()]

        left, top, right, low = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
        page.mouse.move(left, top)
        page.mouse.down()
        began = time.perf_counter()
        for x, y in ((right, top), (right, low), (left, low)):
            page.mouse.move(x, y, steps=10)
        drag = 1000 * (time.perf_counter() - began) / 30
        began = time.perf_counter()
        page.mouse.up()
        until(page, f"forget {n}:")
        lasso = 1000 * (time.perf_counter() - began)
        settle(page)
        chosen = wire.take()

        page.get_by_role("button", name="Pan").click()
        page.mouse.move(*(at := ((left + right) / 2, (top + low) / 2)))
        page.mouse.down()
        began = time.perf_counter()
        page.mouse.move(at[0] + 120, at[1] + 60, steps=30)
        pan = 1000 * (time.perf_counter() - began) / 30
        page.mouse.up()
        settle(page)
        cost = page.evaluate(f"() => {STATE}.cost")
        wire.take()
        page.get_by_text("loss", exact=True).click()
        page.locator(".legend .title", has_text="Loss").wait_for()
        settle(page)
        recolour = wire.take()[0]
        page.close()
    finally:
        process.terminate()
        process.wait()
    down, up = (statistics.median(column) for column in zip(*traffic, strict=True))
    return (
        n, f"{first:.2f}", f"{statistics.median(answers):.0f}", f"{statistics.median(reruns):.0f}", f"{lasso:.0f}",
        f"{drag:.0f}", f"{pan:.0f}", f"{cost:.0f}", kilo(loaded), "yes" if sprite else "no", f"{kilo(down)} / {kilo(up)}",
        f"{kilo(chosen[0])} / {kilo(chosen[1])}", f"{kilo(rerun[0])} / {kilo(rerun[1])}", kilo(recolour),
    )  # fmt: skip


def main():
    sizes = [int(size) for size in sys.argv[1:]] or [2000, 10_000, 60_000]
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        for n in sizes:
            print("| " + " | ".join(map(str, measure(browser, n, os.environ.get("PICKER_SPRITE", "1") == "1"))) + " |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
