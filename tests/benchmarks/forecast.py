"""How far forecasts are from what happened: `python tests/benchmarks/forecast.py [ORIGINAL …]` prints a Markdown table of expected / measured.

Each original starts on an empty store with trial steps only, then has one run behind it, then is asked for another set of twice as many instances
with three retrained models. Last comes an original of the same kind with four times the instances, where the dataset can be had smaller.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from unlearn_core import data
from unlearn_core.models.device import settle
from unlearn_core.runs import api, durations, forecast, originals
from unlearn_core.runs.forecast import Log
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, RunSpec
from unlearn_core.runs.store import Store

ORIGINALS = {
    "digits mlp": ("digits", "mlp", {}),
    "digits cnn": ("digits", "cnn", {}),
    "breast_cancer mlp": ("breast_cancer", "mlp", {}),
    "moons mlp": ("moons", "mlp", {}),
    "fashion_mnist cnn": ("fashion_mnist", "cnn", {"subset": 1000}),
}
METHODS = ("finetune", "nabla_tau", "retrain")


def flat(features, rows, distances, seed, tick):
    """A layout that takes no time: nothing here measures one."""
    return features[:, :2]


def taken(store: Store, before: int, place: str) -> dict[str, float]:
    """Seconds of what ran since the log had `before` lines, by what it was."""
    found: dict[str, float] = {}
    for timing in durations.read(store, place)[before:]:
        found[timing["what"]] = found.get(timing["what"], 0.0) + timing["seconds"]
    return found


def run(store: Store, spec: OriginalSpec, loaded: data.Dataset, forget: int, method: str, retrains: int, place: str):
    """The forecast of a request for the first `forget` ids, and what it took by part."""
    ids = loaded.splits.train
    wanted = RunSpec.make(
        spec, loaded.hash, ids, len(loaded), np.random.default_rng(forget).choice(ids, forget, False), method, retrains=retrains
    )
    told, before = forecast.unlearning(store, wanted, ids.tolist(), place), len(durations.read(store, place))
    api.complete(Pipeline(store, flat), wanted, Reporter())
    return told, taken(store, before, place)


def ratios(dataset: str, model: str, params: dict) -> dict[str, float]:
    place, found = durations.here("cpu"), {}
    with tempfile.TemporaryDirectory() as folder:
        store, spec = Store(folder), OriginalSpec.make(dataset, model, params)
        forecast.probe(store, spec, Reporter())
        loaded = data.load(dataset, spec.dataset_params)
        train = len(loaded.splits.train)
        told, before = Log(store, place).training(spec, train), len(durations.read(store, place))
        originals.prepare(store, spec, Reporter(), flat)
        found["trial steps"] = told.seconds / taken(store, before, place)["training"]
        for method in METHODS:
            run(store, spec, loaded, 20, method, 1, place)
            told, took = run(store, spec, loaded, 40, method, 3, place)
            parts = {part: estimate.seconds for part, estimate in told.parts.items()}
            found[method] = parts["method"] / took["method"]
            if took.get("training"):
                found["3 retrained models"] = parts["3 retrained models"] / took["training"]
                found["evidence"] = parts["evidence"] / took["evidence"]
                found["all of a run"] = told.seconds / sum(took[what] for what in ("method", "training", "evidence"))
        if "subset" in params:
            large = OriginalSpec.make(dataset, model, params | {"subset": 4 * params["subset"]})
            loaded = data.load(dataset, large.dataset_params)
            durations.stage(store, "loading", large, loaded, 0.0)  # its facts
            told, before = Log(store, place).training(large, len(loaded.splits.train)), len(durations.read(store, place))
            originals.prepare(store, large, Reporter(), flat)
            found["four times the instances"] = told.seconds / taken(store, before, place)["training"]
    return found


COLUMNS = ("trial steps", *METHODS, "3 retrained models", "evidence", "all of a run", "four times the instances")


def main() -> None:
    settle()
    print(f"Expected / measured seconds, on {durations.here('cpu')}\n")
    print(f"| original | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    table = []
    for name in sys.argv[1:] or ORIGINALS:
        table.append(ratios(*ORIGINALS[name]))
        print(row(name, table[-1]), flush=True)
    print(
        row(
            "median", {what: statistics.median(values) for what in COLUMNS if (values := [found[what] for found in table if what in found])}
        )
    )


def row(name: str, found: dict[str, float]) -> str:
    return f"| {name} | {' | '.join(f'{found[what]:.2f}' if what in found else '–' for what in COLUMNS)} |"


if __name__ == "__main__":
    main()
