"""Many models at once, each on its own instances: the retrain ensemble and the shadow pool.

`plan` measures for a moment which way is faster here and says how long it will take; `train_many` trains and
hands over models as they finish. There are two ways, and their results differ only by rounding: "stacked"
(stacking.py) and "one by one" (`training.descend`); both can run in several lanes, threads of this process
that train different chunks side by side. Every model equals `training.train` of its own subset and seed.

Keeping results is the caller's business: a model is determined by (dataset.hash, architecture, params, its
subset in order, its seed, the kind of device) and never by what it was trained together with. So the caller
hashes these, takes what its store has, passes only the missing ones, and writes each model where `found` gets
it. A cancel or a restart then loses no more than the chunks that were under way.

The seam for an external engine: `train_chunk(chunk, dataset)` for each of `chunks(...)`, wherever it likes;
chunks, datasets and state dicts pickle.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearn_core.data.base import Dataset
from unlearn_core.errors import Cancelled
from unlearn_core.models import planning, stacking, training
from unlearn_core.models.base import Facts, ModelInfo, epochs_for
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.planning import Plan, Way

POLL = 0.05  # seconds between reports

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """Models that are trained together. members: their places in the caller's lists; subsets: the ids of each, in order."""

    info: ModelInfo
    params: dict[str, Any]
    members: tuple[int, ...]
    subsets: tuple[np.ndarray, ...]
    seeds: tuple[int, ...]
    device: str
    stacked: bool

    @property
    def steps(self) -> int:
        """Steps of all its models together."""
        return sum(_steps(self.params, len(ids)) for ids in self.subsets)


def plan(info: ModelInfo, dataset: Dataset, params: dict[str, Any], subsets: Sequence[np.ndarray], device: str) -> Plan:
    """How `train_many` will train models on `subsets`, and how long that takes. `str(plan)` says it in words.

    Measures each way for some hundredths of a second, unless this process has done so before for this
    architecture, kind of input and device.
    """
    if info.train:  # a way of training of its own, which nobody knows how to cut into steps
        return Plan(Way(False, 1, 1, torch.get_num_threads()), len(subsets), float("nan"), {})
    x, y = training.tensors(dataset, device)
    model = training.fresh(info, dataset, params, 0, device)
    longest = max(subsets, key=len)
    alike = max(map(len, _alike(model, params, subsets)))
    short = params | {"epochs": 1}

    def seconds(way: Way, count: int) -> float:
        ids = np.resize(longest, count * params["batch"])
        chunk = Chunk(info, short, (0,) * way.chunk, (ids,) * way.chunk, (0,) * way.chunk, device, way.stacked)
        lanes = [[training.fresh(info, dataset, params, 0, device)] * way.chunk for _ in range(way.lanes)]

        def lane(models: list[Classifier]) -> float:
            # Seconds of the processor, since other programs that happen to run now are no property of a way.
            clock = time.thread_time if device == "cpu" else time.perf_counter
            begun = clock()
            _train(chunk, models, x, y, training.silent)
            if device != "cpu":
                torch.cuda.synchronize()
            return clock() - begun

        with _pool(way) as pool:
            return max(pool.map(lane, lanes))

    recipe = repr(sorted((name, value) for name, value in params.items() if "epochs" not in name))
    key = (info.name, recipe, x.shape[1:], *_answers(dataset), device, torch.get_num_threads())
    ways = planning.ways(model, x.shape[1:], params["batch"], device, len(subsets), alike)
    work = [_steps(params, len(ids)) for ids in subsets]
    return planning.choose(key, ways, len(subsets), sum(work) / len(work), seconds)


def chunks(
    info: ModelInfo, dataset: Dataset, params: dict[str, Any], subsets: Sequence[np.ndarray], seeds: Sequence[int], device: str, way: Way
) -> list[Chunk]:
    """The work, cut up as `way` says. Subsets that cannot be stacked with enough others are trained one by one."""
    groups = [[k] for k in range(len(subsets))]
    if way.stacked and groups:
        groups = []
        for group in _alike(training.fresh(info, dataset, params, 0, "cpu"), params, subsets):
            groups += [part.tolist() for part in np.array_split(group, -(-len(group) // way.chunk))]
    least = max(min(way.chunk, planning.PROBE), 2)  # nobody measured whether smaller stacks pay
    parts = [part for group in groups for part in ([group] if len(group) >= least else [[k] for k in group])]
    return [
        Chunk(info, params, tuple(part), tuple(subsets[k] for k in part), tuple(seeds[k] for k in part), device, len(part) > 1)
        for part in parts
    ]


def train_chunk(chunk: Chunk, dataset: Dataset, progress: training.Progress = training.silent) -> list[dict[str, Tensor]]:
    """Train the models of one chunk; their state dicts on the CPU, in the order of `chunk.members`.

    Depends on nothing but its arguments. `progress` gets 0..1 of this chunk; what it raises ends the training.
    """
    if chunk.info.train:
        models = list(_by_themselves(chunk.info, dataset, chunk.params, chunk.subsets, chunk.seeds, chunk.device, progress))
    else:
        models = _draw(chunk, dataset)
        _train(chunk, models, *training.tensors(dataset, chunk.device), progress)
    return [{name: value.cpu() for name, value in model.state_dict().items()} for model in models]


def train_many(
    info: ModelInfo,
    dataset: Dataset,
    params: dict[str, Any],
    subsets: Sequence[np.ndarray],
    seeds: Sequence[int],
    device: str,
    progress: training.Progress = training.silent,
    found: Callable[[int, Classifier], None] | None = None,
    chosen: Plan | None = None,
) -> list[Classifier]:
    """Train one model for each of `subsets` (ids, at least one each) with the seed at the same place.

    Model k equals `training.train(info, dataset, params, subsets[k], seeds[k], device)` up to rounding.
    found(k, model) gets each as it finishes, in evaluation mode on `device`, in any order, in the calling
    thread; without it all are returned in order, with it nothing is kept. `progress` is asked every moment;
    what it or `found` raises (Cancelled, Preempted) stops all lanes between two steps and is raised here.
    chosen: a Plan from `plan`; default: made here. Raises ValueError for lists that do not fit.
    """
    if len(subsets) != len(seeds) or not all(map(len, subsets)):
        raise ValueError("each model needs one seed and at least one instance")
    if not len(subsets):
        return []
    subsets = [np.asarray(ids) for ids in subsets]
    chosen = chosen or plan(info, dataset, params, subsets, device)
    log.info("%s on %s, %s: %s", info.name, dataset.name, device, chosen)
    kept: dict[int, Classifier] = {}
    if info.train:
        for k, model in enumerate(_by_themselves(info, dataset, params, subsets, seeds, device, progress)):
            (found or kept.__setitem__)(k, model)
        return [kept[k] for k in sorted(kept)]
    work = chunks(info, dataset, params, subsets, seeds, device, chosen.way)
    for done in _run(work, dataset, chosen.way, progress):
        for k, model in done:
            (found or kept.__setitem__)(k, model)
    progress(1.0)
    return [kept[k] for k in sorted(kept)]


def _by_themselves(
    info: ModelInfo,
    dataset: Dataset,
    params: dict[str, Any],
    subsets: Sequence[np.ndarray],
    seeds: Sequence[int],
    device: str,
    progress: training.Progress,
) -> Iterator[Classifier]:
    """Models with a way of training of their own, one after another."""
    for k, (ids, seed) in enumerate(zip(subsets, seeds, strict=True)):

        def part(fraction: float, k: int = k, **curves: float) -> None:
            progress((k + fraction) / len(subsets))

        yield training.train(info, dataset, params, ids, seed, device, part)


def _run(work: list[Chunk], dataset: Dataset, way: Way, progress: training.Progress) -> Iterator[list[tuple[int, Classifier]]]:
    """The trained models of each chunk as chunks finish. Closing it stops the lanes."""
    x, y = training.tensors(dataset, work[0].device)
    stop, shares, total = Event(), [0.0] * len(work), sum(chunk.steps for chunk in work)

    def lane(j: int, models: list[Classifier]) -> None:
        def report(fraction: float, **curves: float) -> None:
            if stop.is_set():
                raise Cancelled
            shares[j] = fraction * work[j].steps / total

        _train(work[j], models, x, y, report)

    waiting, running = deque(range(len(work))), {}
    with _pool(way) as pool:
        try:
            while waiting or running:
                # One more than there are lanes, so that no lane waits; drawn here, since drawing uses the process's one generator.
                while waiting and len(running) <= way.lanes:
                    j = waiting.popleft()
                    models = _draw(work[j], dataset)
                    running[pool.submit(lane, j, models)] = j, models
                done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    j, models = running.pop(future)
                    future.result()
                    yield list(zip(work[j].members, models, strict=True))
                progress(min(sum(shares), 1.0))
        finally:
            stop.set()


@contextmanager
def _pool(way: Way) -> Iterator[ThreadPoolExecutor]:
    """A thread for every lane, each with its own number of threads for its kernels."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(way.lanes, "lane", torch.set_num_threads, (way.threads,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _draw(chunk: Chunk, dataset: Dataset) -> list[Classifier]:
    return [training.fresh(chunk.info, dataset, chunk.params, seed, chunk.device) for seed in chunk.seeds]


def _train(chunk: Chunk, models: list[Classifier], x: Tensor, y: Tensor, progress: training.Progress) -> None:
    """What `training.train` does after drawing the weights, for all models of the chunk, in place."""
    params, rows = chunk.params, [torch.as_tensor(np.asarray(ids), device=x.device) for ids in chunk.subsets]
    recipe = {name: params[name] for name in ("batch", "lr", "weight_decay")}
    for model, ids in zip(models, rows, strict=True):
        model.standardise.fit(x[ids])
    if chunk.stacked:
        stacking.descend(models, x, y, rows, chunk.seeds, epochs=epochs_for(params, len(rows[0])), **recipe, progress=progress)
        return
    for k, (model, ids, seed) in enumerate(zip(models, rows, chunk.seeds, strict=True)):

        def part(fraction: float, k: int = k, **curves: float) -> None:
            progress((k + fraction) / len(models))

        training.descend(model, x, y, ids, epochs=epochs_for(params, len(ids)), seed=seed, **recipe, progress=part)


def _answers(dataset: Dataset) -> tuple:
    outputs = Facts.of(dataset).classes
    return (outputs,) if dataset.targets is None else (outputs, dataset.task)


def _steps(params: dict[str, Any], instances: int) -> int:
    return epochs_for(params, instances) * -(-instances // params["batch"])


def _alike(model: Classifier, params: dict[str, Any], subsets: Sequence[np.ndarray]) -> list[list[int]]:
    """Places of the subsets whose models can share a stack: as many steps, or where layers look across a batch, as many instances."""
    dense = stacking.kind(model) is stacking.Dense
    groups: dict[tuple[int, int], list[int]] = {}
    for k, ids in enumerate(subsets):
        size = -(-len(ids) // params["batch"]) if dense else len(ids)
        groups.setdefault((epochs_for(params, len(ids)), size), []).append(k)
    return list(groups.values())
