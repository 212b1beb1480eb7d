"""The map of a real dataset on the Studio page: `python tests/benchmarks/studio_map.py [fashion_mnist …]` prints a Markdown table.

Headless Chromium with software rendering, server and browser on one machine. A lasso is counted from the mouse's release to the
chosen count on the page; bytes are what crosses the websocket. UNLEARN_STORE keeps the originals for the next time.
"""

import json
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "benchmarks")]

import psutil  # noqa: E402
from conftest import FLAGS, chromium, start  # noqa: E402
from picker import STATE, Wire, kilo  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

COLUMNS = (
    "dataset", "training instances", "open s", "sent at first", "hover ms (median / worst)", "sent for 20 hovers",
    "lasso of a third ms", "lasso of all ms", "undo ms", "page process MB after opening / at most",
)  # fmt: skip
# Resolves with the milliseconds from the next release or click to the moment the page, not only the map, says how many are chosen.
ANSWER = """(before) => { window.answer = new Promise((done) => {
  const counted = () => [...document.querySelectorAll('[data-testid=stMarkdownContainer] p')]
    .map((e) => /^([\\d,]+) chosen to forget$/.exec(e.textContent)?.[1]).find(Boolean) ?? '0';
  const listen = () => {
    const began = performance.now();
    const look = () => counted() !== before ? done([performance.now() - began, counted()]) : requestAnimationFrame(look);
    look();
  };
  addEventListener('pointerup', listen, { once: true, capture: true });
}); }"""


def prepared(store, dataset):
    """Key of the dataset's default original, made now where it is not in the store."""
    from unlearn_core.models.device import settle
    from unlearn_core.runs.pipeline import Pipeline
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import OriginalSpec

    settle()
    return Pipeline(store).prepare(OriginalSpec.make(dataset, device="cpu"), Reporter())


def address_of(store, found):
    """The Studio's address with this original open and nothing chosen."""
    from unlearn_core.data.forget import ForgetSet

    token = secrets.token_hex(8)
    store.save_forget_set(token, found.key, "", ForgetSet().to_json(found.meta["dataset"], found.meta["dataset_hash"]))
    return f"studio?set={token}"


def gesture(page, act, before):
    page.evaluate(ANSWER, before)
    act()
    return page.evaluate("() => window.answer")


def lasso(page, share):
    """A loop around the left `share` of the map."""
    box = page.locator(".field").bounding_box()
    left, top, low = box["x"] + 3, box["y"] + 3, box["y"] + box["height"] - 3
    right = left + share * (box["width"] - 6)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, low), (left, low)):
        page.mouse.move(x, y, steps=8)
    return page.mouse.up


def measure(browser, store, dataset):
    found = prepared(store, dataset)
    with open(Path(tempfile.mkdtemp()) / "log.txt", "w") as log:
        process, address = start(ROOT / "app.py", {"UNLEARN_STORE": str(store.folder)}, log)
    memory, seen = psutil.Process(process.pid), []

    def look():
        seen.append(memory.memory_info().rss / 2**20)

    try:
        browser.new_page().goto(address)  # the server's own first-run work is not the map's
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(120_000)
        page.wait_for_timeout(20_000)  # the worker is warm
        wire = Wire(page)
        began = time.perf_counter()
        page.goto(f"{address}/{address_of(store, found)}")
        page.wait_for_function(f"(n) => {STATE}?.n === n && {STATE}?.cost > 0", arg=len(found.ids), polling=20)
        opened = time.perf_counter() - began
        page.wait_for_timeout(3000)
        look()
        sent = wire.take()[0]

        hovers = []
        for row in range(0, len(found.ids), len(found.ids) // 20)[:20]:
            at = page.locator(".picker").evaluate("(e, id) => e.picker.pixel(id)", int(found.ids[row]))
            page.mouse.move(at["x"], at["y"])
            began = time.perf_counter()
            page.wait_for_function(
                "() => { const root = document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot;"
                " const thumb = root.querySelector('.thumb');"
                " return !root.querySelector('.card').hidden && (thumb.hidden || thumb.dataset.tile) }", polling=5,
            )  # fmt: skip
            hovers.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(1000)
        looked = wire.take()[0]
        look()

        times = {}
        chosen = "0"
        for name, share in (("third", 1 / 3), ("all", 1)):
            times[name], chosen = gesture(page, lasso(page, share), chosen)
            page.wait_for_timeout(1500)
            look()
        times["undo"], chosen = gesture(page, lambda: page.get_by_role("button", name="Undo", exact=True).first.click(), chosen)
        page.wait_for_timeout(1500)
        look()
        page.close()
    finally:
        process.terminate()
        process.wait()
        os.killpg(json.loads((store.folder / "worker.json").read_text())["pid"], signal.SIGKILL)
    return (
        found.meta["title"], f"{len(found.ids):,}", f"{opened:.1f}", kilo(sent), f"{statistics.median(hovers):.0f} / {max(hovers):.0f}",
        kilo(looked), f"{times['third']:.0f}", f"{times['all']:.0f}", f"{times['undo']:.0f}", f"{seen[0]:.0f} / {max(seen):.0f}",
    )  # fmt: skip


def main():
    from unlearn_core.runs.store import Store

    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, sync_playwright() as driver:
        store = Store(os.environ.get("UNLEARN_STORE") or scratch)
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        for dataset in sys.argv[1:] or ["digits", "fashion_mnist"]:
            print("| " + " | ".join(measure(browser, store, dataset)) + " |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
