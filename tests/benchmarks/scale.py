"""What the whole loop costs on real data: `python tests/benchmarks/scale.py [digits fashion_mnist …] [--audit] [--page]`.

Prints a Markdown table, one row for each dataset and stage: seconds, and the peak memory of the process up to then. Every dataset has a
process of its own. Stages are those that the pipeline itself reports; the benchmark only looks at the clock where it does. With --page the
map is opened in Chromium too, with --audit 16 shadow models are trained. Without names: every dataset whose files are here.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "benchmarks")]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10_jpeg", "newsgroups", "sst2", "adult", "location30")
COLUMNS = ("dataset", "training instances", "stage", "seconds", "peak MB", "")
PICKED, SHADOWS, METHOD = 50, 16, "nabla_tau"


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Clock:
    """Rows of (stage, seconds, peak MB, remark)."""

    def __init__(self):
        self.rows = []

    def add(self, stage, seconds, remark=""):
        self.rows.append((stage, f"{seconds:.2f}", f"{peak():.0f}", remark))

    def timed(self, stage, function):
        """The same function, which adds a row each time it is called."""

        def call(*given, **named):
            begun = time.perf_counter()
            found = function(*given, **named)
            self.add(stage(found, named) if callable(stage) else stage, time.perf_counter() - begun)
            return found

        return call


def loop(name, audit):
    """The rows of one dataset."""
    from unlearn_core import data, projection
    from unlearn_core.data.choose import draw
    from unlearn_core.models import training
    from unlearn_core.models.device import settle
    from unlearn_core.runs import api, originals
    from unlearn_core.runs.pipeline import Pipeline
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import AuditSpec, OriginalSpec, PoolSpec
    from unlearn_core.runs.store import Store

    settle()
    clock, quiet = Clock(), Reporter()
    projection.warm_up()  # the worker does so before anybody waits
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = Store(folder)
        laid_out = clock.timed(lambda xy, named: projection.TITLES[named.get("name", projection.UMAP)], originals.here)
        pipe = Pipeline(store, laid_out)
        for module, function, stage in (
            (data, "load", "load"),
            (training, "train", "train"),
            (training, "read", "read all outputs"),
            (projection, "nearest", "neighbours"),
        ):
            setattr(module, function, clock.timed(stage, getattr(module, function)))
        begun = time.perf_counter()
        found = pipe.prepare(OriginalSpec.make(name, device="cpu"), quiet)
        whole, parts = time.perf_counter() - begun, sum(float(seconds) for _, seconds, _, _ in clock.rows)
        size = sum(path.stat().st_size for path in found.folder.iterdir()) / 2**20
        clock.add("describe, write", whole - parts, f"{size:.0f} MB on disk; test accuracy {found.meta['accuracy']['test']:.1%}")
        clock.add("**from nothing to the map**", whole, ", ".join(f"{k} {v:.3f}" for k, v in found.meta["trustworthiness"].items()))
        shown, clock.rows = clock.rows, []
        for other in {projection.UMAP, projection.PACMAP} - set(found.layouts):
            found = originals.add_layout(store, found.spec, other, quiet, laid_out)
            shown += [(s, *rest, f"asked for later; trust {found.meta['trustworthiness'][other]:.3f}") for s, *rest, _ in clock.rows[-1:]]
        clock.rows = shown
        spec = api.request(found, draw(found.ids, PICKED, 0), METHOD, retrains=3)
        quietly = list(clock.rows)
        begun = time.perf_counter()
        pipe.unlearn(spec, quiet)
        whole, method = time.perf_counter() - begun, api.load_run(store, spec.key).timings["method"]
        clock.rows = quietly
        clock.add(f"unlearn {PICKED}", method, METHOD)
        clock.add("first evidence", whole - method, "with loading the original anew")
        quietly, begun = list(clock.rows), time.perf_counter()
        pipe.add_retrained(spec, quiet)
        seconds = api.load_run(store, spec.key).timings["retrained"]
        clock.rows = quietly
        clock.add("3 retrains, all evidence", time.perf_counter() - begun, "retrained alone: " + ", ".join(f"{s:.1f}" for s in seconds))
        if audit:
            pool = PoolSpec.make(found.spec, found.meta["dataset_hash"], SHADOWS, device="cpu")
            quietly, begun = list(clock.rows), time.perf_counter()
            pipe.audit(AuditSpec(spec, pool), quiet)
            clock.rows = quietly
            clock.add(f"audit of {SHADOWS} shadows", time.perf_counter() - begun)
        return [(found.meta["title"], f"{len(found.ids):,}", *row) for row in clock.rows]


def on_the_page(name):
    """Opening the map and a lasso of all, in Chromium, from `studio_map.py`."""
    import studio_map
    from playwright.sync_api import sync_playwright

    from unlearn_core.runs.store import Store

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=studio_map.chromium(), args=studio_map.FLAGS)
        row = dict(zip(studio_map.COLUMNS, studio_map.measure(browser, Store(folder), name), strict=True))
        browser.close()
    memory = row["page process MB after opening / at most"].split(" / ")
    head = row["dataset"], row["training instances"]
    return [
        (*head, "open on the page", row["open s"], memory[0], f"{row['sent at first']} sent; memory of the page process"),
        (*head, "lasso of all", f"{float(row['lasso of all ms']) / 1000:.2f}", memory[1], "until the page says how many"),
    ]


def here():
    """Names of the datasets whose files are on this machine."""
    from unlearn_core import data
    from unlearn_core.data.files import missing

    return [name for name in NAMES if name in data.registry() and not missing(data.info(name).files)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        for row in loop(asked.names[0], asked.audit) + (on_the_page(asked.names[0]) if asked.page else []):
            print("| " + " | ".join(row) + " |", flush=True)
        return 0
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    options = [option for option in ("audit", "page") if getattr(asked, option)]
    ended = [
        subprocess.run([sys.executable, __file__, name, "--one", *(f"--{option}" for option in options)]).returncode
        for name in asked.names or here()
    ]
    return max(ended, default=0)


if __name__ == "__main__":
    sys.exit(main())
