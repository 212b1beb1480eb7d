"""Which way of training many models is the faster one here: measured, not guessed, and remembered in this process."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

import torch

from unlearn_core.models import stacking, training
from unlearn_core.models.classifier import Classifier

LANES = 4  # more threads of one Python process get in each other's way
DENSE_CHUNK, MAPPED_CHUNK, CUDA_CHUNK = 32, 16, 256
MEMORY = 2**30  # bytes for all that trains at once on a CPU; on a GPU a quarter of what is free
PROBE = 4  # models in the first look at a stack
HOPELESS = 1.5  # times slower than the best so far in that look: not looked at any further
BUDGET, MOST = 0.02, 24  # seconds and steps of one measurement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """stacked: all models of a chunk in one, or one by one. chunk: models in a chunk. lanes: chunks side by side, each with so many threads."""

    stacked: bool
    chunk: int
    lanes: int
    threads: int

    def __str__(self) -> str:
        lanes = f", {self.lanes} side by side" if self.lanes > 1 else ""
        return (f"stacked by {self.chunk}" if self.stacked else "one by one") + lanes


@dataclass(frozen=True)
class Plan:
    """How `models` models will be trained.

    seconds: expected for all of them while no other program needs the processor, NaN where nobody measured. measured: the same for every way that was tried.
    """

    way: Way
    models: int
    seconds: float
    measured: dict[Way, float]

    @property
    def words(self) -> str:
        """How, and about how long."""
        return f"{self.way}" + ("" if math.isnan(self.seconds) else f", about {self.seconds:.1f} s")

    @property
    def each(self) -> float:
        """Expected seconds per model."""
        return self.seconds / max(self.models, 1)

    def __str__(self) -> str:
        others = "; ".join(f"{way} {seconds:.1f} s" for way, seconds in self.measured.items() if way != self.way)
        return f"{self.models} models {self.way}: {self.each:.3f} s each, {self.seconds:.1f} s in all" + (f" ({others})" if others else "")


_PACES: dict[tuple[Hashable, Way], float] = {}


def choose(key: Hashable, ways: Iterable[Way], models: int, steps: float, seconds: Callable[[Way, int], float]) -> Plan:
    """The fastest of `ways` for `models` models of `steps` steps each; the first of them must not be stacked.

    seconds(way, n) trains n steps of every model of every lane and says how long that took. What it measured
    is remembered under `key`. A stack that fails is left out with a warning.
    """
    measured: dict[Way, float] = {}
    for way in ways:

        def total(way: Way) -> float:
            """Expected seconds for everything; the last round may leave lanes or places empty but takes as long."""
            at_once = way.chunk * way.lanes
            return _pace(key, way, seconds) * -(-models // at_once) * at_once * steps

        try:
            probe = replace(way, chunk=min(PROBE, way.chunk))
            if way.stacked and _pace(key, probe, seconds) * models * steps > HOPELESS * min(measured.values()):
                measured[probe] = total(probe)
            else:
                measured[way] = total(way)
        except (RuntimeError, TypeError, ValueError) as error:
            if not way.stacked:
                raise
            log.warning("Cannot be stacked, so trained one by one: %s", error)
    best = min(measured, key=measured.get)
    return Plan(best, models, measured[best], measured)


def _pace(key: Hashable, way: Way, seconds: Callable[[Way, int], float]) -> float:
    """Seconds for one step of one model."""
    if (key, way) not in _PACES:
        once = seconds(way, 1)
        if once > BUDGET:  # the very first call also prepares kernels
            once = seconds(way, 1)
        count = min(max(int(BUDGET / once), 1), MOST)
        # The quickest of three: a disturbance only ever makes it slower.
        quickest = min([once] if count == 1 else [seconds(way, count) for _ in range(3)])
        _PACES[key, way] = quickest / (count * way.chunk * way.lanes)
    return _PACES[key, way]


def ways(model: Classifier, shape: tuple[int, ...], batch: int, device: str, models: int, alike: int) -> list[Way]:
    """The ways worth trying, one by one first. alike: how many of the `models` may be stacked together at most."""
    cores = torch.get_num_threads()
    found = [Way(False, 1, 1, cores)]
    lanes = min(cores, LANES, models) if device == "cpu" else 1
    if lanes > 1:
        found.append(Way(False, 1, lanes, cores // lanes))
    dense = stacking.kind(model) is stacking.Dense
    alike = 1 if model.half_precision else alike  # a stack computes in float32, which would be another model
    lanes = max(min(lanes, alike // 2), 1)
    most = CUDA_CHUNK if device != "cpu" else DENSE_CHUNK if dense else MAPPED_CHUNK
    most = min(most, int(_memory(device) / lanes / bytes_for(model, shape, batch)))
    if alike > 1 and most > 1:
        small = dense and sum(p.numel() for p in model.parameters()) < training.SMALL
        rounds = -(-alike // (lanes * most))
        found.append(Way(True, -(-alike // (lanes * rounds)), lanes, 1 if small else cores // lanes))
    return found


def _memory(device: str) -> float:
    return MEMORY if device == "cpu" else torch.cuda.mem_get_info()[0] / 4


@torch.no_grad()
def bytes_for(model: Classifier, shape: tuple[int, ...], batch: int) -> int:
    """About what training one model takes: weights, their gradients and AdamW's two moments, activations and theirs."""
    seen = [0]
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda module, given, out: seen.append(out.numel())) for leaf in leaves]
    weight = next(model.parameters())
    kind = torch.long if model.standardise.tokens else weight.dtype
    model.eval()(torch.zeros((1, *shape), dtype=kind, device=weight.device))
    for hook in hooks:
        hook.remove()
    return weight.element_size() * (4 * sum(p.numel() for p in model.parameters()) + 2 * batch * sum(seen))
