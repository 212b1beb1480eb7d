"""What computations took on which machine: one line each beside the results, so that the next one can be forecast. Imports no torch."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from unlearn_core import methods, models
from unlearn_core.data.base import Dataset
from unlearn_core.models import own
from unlearn_core.models.base import Facts, epochs_for
from unlearn_core.params import STRENGTH
from unlearn_core.runs import tuning
from unlearn_core.runs.spec import OriginalSpec, RunSpec, digest
from unlearn_core.runs.store import Store

Timing = dict[str, Any]
FILE = "timings.jsonl"
LARGEST = 2**20  # bytes, after which the older half is dropped


def where(device: str, named: str) -> str:
    """What a time belongs to: the device with the name that the worker gives it, the processor, and the threads it may use."""
    return f"{device}: {named} | {_processor()} | {os.environ.get('OMP_NUM_THREADS') or len(_cores())} threads"


@cache
def here(device: str) -> str:
    """`where` of this process. Loads torch."""
    from unlearn_core.models.device import devices

    return where(device, devices()[device])


def _cores() -> list[int]:
    return list(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


@cache
def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine()
    )


def record(store: Store, what: str, device: str, seconds: float, **facts: Any) -> None:
    """Keep what took how long; `facts` are numbers and digests, never instances."""
    path = store.folder / FILE
    if path.exists() and path.stat().st_size > LARGEST:
        lines = path.read_bytes().splitlines(keepends=True)
        store.replace_file(path, b"".join(lines[len(lines) // 2 :]))
    line = json.dumps({"what": what, "where": here(device), "seconds": seconds, "when": time.time()} | facts)
    with open(path, "a", encoding="utf-8") as out:
        out.write("\n" + line + "\n")  # the first ends the half line that a killed process may have left


def read(store: Store, place: str) -> tuple[Timing, ...]:
    """All times of one place (`where`), oldest first. Times of any other device or machine are no evidence and stay out."""
    path = store.folder / FILE
    try:
        known = path.stat()
    except FileNotFoundError:
        return ()
    return tuple(timing for timing in _all(path, known.st_mtime_ns, known.st_size) if timing.get("where") == place)


@lru_cache(maxsize=2)
def _all(path: Path, changed: int, size: int) -> tuple[Timing, ...]:
    found = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):  # a killed process may have left half a line, a full disk anything
            found.append(json.loads(line))
    return tuple(timing for timing in found if isinstance(timing, dict))


def dataset_digest(spec: OriginalSpec) -> str:
    """The data that a model learns: the dataset, or the features that its frozen encoder makes of it."""
    encoder = [spec.model, spec.model_params] if models.info(spec.model).prepare else []
    return digest("timed dataset", [spec.dataset, spec.dataset_params, spec.dataset_version, *encoder])


def kind_digest(spec: OriginalSpec, data: str) -> str:
    """What makes one step of training take as long as another: the architecture and its recipe but for how often it sees an instance, and the data's shape."""
    recipe = {name: value for name, value in spec.model_params.items() if name not in ("epochs", "usual_epochs", own.FIELD)}
    return digest("timed kind", [spec.model, spec.model_version, spec.recipe_version, recipe, data])


def about(spec: OriginalSpec, dataset: Dataset) -> Timing:
    """The facts of a time on this dataset and model."""
    data = digest("timed data", asdict(Facts.of(dataset)))
    return {
        "dataset": dataset_digest(spec),
        "data": data,
        "kind": kind_digest(spec, data),
        "train": len(dataset.splits.train),
        "total": len(dataset),
    }


def work(spec: OriginalSpec, instances: int) -> int:
    """What the time of one training is proportional to: instances × epochs. An architecture that trains in a way of its own: instances."""
    by_recipe = not models.info(spec.model).train and "epochs" in spec.model_params
    return instances * (epochs_for(spec.model_params, instances) if by_recipe else 1)


def settings(params: dict[str, Any]) -> str:
    """Digest of a method's parameters but for its strength, which changes no cost."""
    return digest("timed settings", {name: value for name, value in params.items() if name != STRENGTH})


def stage(store: Store, what: str, spec: OriginalSpec, dataset: Dataset, begun: float) -> None:
    """Keep what a stage of preparing an original took: "loading", "map", "umap" or "pacmap". begun: time.perf_counter() at its start."""
    record(store, what, spec.device, time.perf_counter() - begun, **about(spec, dataset))


def trained(store: Store, spec: OriginalSpec, dataset: Dataset, instances: int, device: str, seconds: float, many: int = 1) -> None:
    """Keep what training `many` models on so many instances each took."""
    record(
        store, "training" if many == 1 else "together", device, seconds,
        **about(spec, dataset), instances=instances, work=work(spec, instances) * many, models=many,
    )  # fmt: skip


def trials(spec: RunSpec) -> int:
    """Runs of the method that a request takes: several where α is searched for."""
    param = next((param for param in methods.info(spec.method).params if param.trials), None)
    return len(param.trials) if param and tuning.asked(spec.params) else 1


def ran(store: Store, spec: RunSpec, dataset: Dataset, seconds: float) -> None:
    """Keep what the method of a run took."""
    known = len(dataset.splits.train) - len(spec.earlier)
    record(
        store, "method", spec.device, seconds, **about(spec.original, dataset), instances=known,
        work=work(spec.original, known), method=[spec.method, spec.method_version],
        settings=settings(spec.params), forget=len(spec.forget), trials=trials(spec),
    )  # fmt: skip


def looked(store: Store, spec: RunSpec, dataset: Dataset, retrained: int, seconds: float) -> None:
    """Keep what collecting the evidence of a run took."""
    record(store, "evidence", spec.device, seconds, **about(spec.original, dataset), retrained=retrained, forget=len(spec.gone))
