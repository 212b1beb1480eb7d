"""What the loop costs: `python tests/benchmarks/loop.py` prints Markdown tables; run it on a quiet machine.

The first table is what a person waits for, in a real browser against a fresh server. The second gives each
method's time as a ratio to one retraining, in one run of this program, on the CPU and on a GPU where there is one.
"""

import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

REPEATS = 5


def hardware(device: str = "cpu") -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name(0)
    names = (
        [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        if Path("/proc/cpuinfo").exists()
        else []
    )
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor() or 'unknown'}"


def person() -> list[tuple[str, str, str]]:
    """Rows of (what, measured, goal) in headless Chromium."""
    import psutil
    from conftest import FLAGS, chromium, start
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as store, sync_playwright() as driver:
        process, address = start(ROOT / "app.py", {"UNLEARN_STORE": store})
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            begun = time.perf_counter()
            page.goto(f"{address}/studio")
            drawn = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.querySelector('.picker')?.picker?.pixel(3) != null"
            page.wait_for_function(drawn, polling=20)
            rows.append(("first paint of the digits map, cold browser, server just up", f"{time.perf_counter() - begun:.2f} s", "< 3 s"))
            page.get_by_label("Device").first.wait_for(timeout=60_000)  # the worker is ready
            page.wait_for_timeout(15_000)  # and its layout process has compiled
            page.get_by_role("button", name="Add").first.click()
            page.get_by_text("50 selected").wait_for()
            page.get_by_role("tab", name="Unlearn").click()
            button = page.get_by_role("button", name="Unlearn 50 instances")
            button.wait_for()
            page.wait_for_timeout(500)
            begun = time.perf_counter()
            button.click()
            page.get_by_role("progressbar").first.wait_for(state="attached")
            rows.append(("progress on screen after the click", f"{time.perf_counter() - begun:.2f} s", "from 0.2 s"))
            page.get_by_text("What it cost").wait_for()
            rows.append(("first evidence on screen after the click (∇τ, 50 digits)", f"{time.perf_counter() - begun:.2f} s", "≤ 2 s"))
            page.get_by_text("prediction interval from 3 seeds").wait_for()
            rows.append(("all default evidence with three retrains", f"{time.perf_counter() - begun:.2f} s", "≤ 6 s"))
            for section in ("Boundary", "Structure", "Privacy"):
                begun = time.perf_counter()
                page.get_by_text(section, exact=True).first.click()
                page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
                page.wait_for_timeout(300)
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            rows.append(("memory of the page process after all of it", f"{memory:.0f} MB", "< 400 MB"))
        finally:
            browser.close()
            process.terminate()
            end_worker(store)
    return rows


def end_worker(store: str) -> None:
    import json

    found = json.loads((Path(store) / "worker.json").read_text())
    os.killpg(found["pid"], signal.SIGKILL)


def methods_table(device: str) -> list[tuple[str, ...]]:
    """One row a method: seconds (median) on 50 random digits and the ratio to one retraining, MLP and CNN."""
    from unlearn_core import data, methods, models, seeds
    from unlearn_core.data.choose import draw
    from unlearn_core.errors import BadInput
    from unlearn_core.models import training
    from unlearn_core.models.device import settle
    from unlearn_core.models.pool import CHOOSE
    from unlearn_core.runs import applying, pools
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import OriginalSpec, PoolSpec, RunSpec
    from unlearn_core.runs.store import Store

    settle()
    dataset = data.load("digits")
    forget = draw(dataset.splits.train, 50, 0)
    rows = []
    for model in ("softmax", "mlp", "cnn"):
        original = OriginalSpec.make("digits", model, device=device)
        trained = training.train(
            models.info(model), dataset, original.model_params, dataset.splits.train, seeds.derive("original", 0), device
        )
        with tempfile.TemporaryDirectory() as folder:  # what gives a method its targets is trained once, and not part of its time
            store, wanted = Store(folder), PoolSpec.make(original, dataset.hash, 16, device=device)
            pools.prepare(store, wanted, Reporter())
            half = pools.shadows(store, wanted, dataset, CHOOSE)
        seconds = {}
        for name in ("retrain", *(m for m in methods.suited(model) if m != "retrain")):
            spec = RunSpec.make(original, dataset.hash, dataset.splits.train, len(dataset), forget, name, device=device)
            times = []
            try:
                for _ in range(REPEATS):
                    begun = time.perf_counter()
                    applying.apply(
                        trained,
                        dataset,
                        spec,
                        applying.Part.of(spec, dataset.splits.train, dataset.splits.heldout),
                        methods.info(name),
                        shadows=half,
                    )
                    times.append(time.perf_counter() - begun)
            except BadInput as error:
                rows.append((model, name, f"refused: {error.problem}", "–"))
                continue
            seconds[name] = statistics.median(times)
            rows.append((model, name, f"{seconds[name]:.3f} s", f"{seconds[name] / seconds['retrain']:.2f}"))
    return rows


def show(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    today = time.strftime("%Y-%m-%d")
    if "--methods-only" not in sys.argv:
        show(f"The loop, {hardware()}, {today}", ("what", "measured", "goal"), person())
    from unlearn_core.models.device import devices

    for device in devices():
        show(
            f"Methods on 50 of 1,168 digits, {hardware(device)}, {today}, median of {REPEATS}",
            ("model", "method", "time", "of one retraining"),
            methods_table(device),
        )
