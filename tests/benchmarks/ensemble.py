"""Many digits models at once: `python tests/benchmarks/ensemble.py` prints a Markdown table.

Every row compares, in one run of this program and taking turns, `training.train` in a loop, the stacked way,
and what the engine picks by itself (what picking costs stands beside it). Epochs are cut (all ways alike), which
changes no ratio; --full trains the whole recipe. Other programs disturb it, so times are medians and each
ratio is the median of the rounds' own ratios. "work" is the ratio of processor seconds: what stacking saves
on every core, before several lanes share the cores; other programs hardly move it.
"""

import argparse
import ctypes
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from unlearn_core import data, models  # noqa: E402
from unlearn_core.models import ensemble, planning, training  # noqa: E402
from unlearn_core.models.device import devices, settle  # noqa: E402
from unlearn_core.models.planning import Plan, Way  # noqa: E402
from unlearn_core.params import resolve  # noqa: E402

EPOCHS = {"softmax": 16, "mlp": 12}  # of 1,118 instances, where the recipes have 50 to 60
FEW = 2  # epochs of everything else
GOAL = {("mlp", 64, "cpu"): "≥ 8"}


def hardware(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{torch.get_num_threads()} cores of {names[0] if names else platform.processor() or 'unknown'}, torch {torch.__version__}"


class Peak:
    """Most memory in MiB that the block needed on top of what was there: of the GPU, or resident (Linux only)."""

    def __init__(self, device: str):
        self.device = device

    def _status(self, name: str) -> float:
        return next(float(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))

    def __enter__(self):
        self.value = float("nan")
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / 2**20
        elif sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            self.before = self._status("VmRSS")
        return self

    def __exit__(self, *_):
        if self.device == "cuda":
            self.value = torch.cuda.max_memory_allocated() / 2**20 - self.before
        elif sys.platform == "linux":
            self.value = self._status("VmHWM") - self.before


def clock(work, device: str) -> tuple[float, float, float]:
    """Seconds, MiB and processor seconds of `work()`."""
    with Peak(device) as peak:
        begun, used = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds, used = time.perf_counter() - begun, time.process_time() - used
    return seconds, peak.value, used


def row(name: str, count: int, device: str, repeats: int, full: bool) -> list[str]:
    dataset, info = data.load("digits"), models.info(name)
    params = resolve(info.params, {} if full else {"epochs": EPOCHS.get(name, FEW)}, name)
    subsets = [dataset.splits.train[50:]] * count
    seeds = range(count)
    shape = dataset.inputs.shape[1:]
    model = training.fresh(info, dataset, params, 0, device)
    stack: Way = next(way for way in planning.ways(model, shape, params["batch"], device, count, count) if way.stacked)

    def one_by_one():
        for ids, seed in zip(subsets, seeds, strict=True):
            training.train(info, dataset, params, ids, seed, device)

    def many(chosen=None):
        ensemble.train_many(info, dataset, params, subsets, seeds, device, chosen=chosen)

    training.train(info, dataset, params | {"epochs": 1}, subsets[0], 0, device)
    planning._PACES.clear()
    begun = time.perf_counter()
    plan = ensemble.plan(info, dataset, params, subsets, device)
    measuring = time.perf_counter() - begun
    rounds = [
        [clock(work, device) for work in (one_by_one, lambda: many(Plan(stack, count, 0.0, {})), lambda: many(plan))]
        for _ in range(repeats)
    ]
    alone, stacked, picked = ([measured[k] for measured in rounds] for k in range(3))

    def middle(found, k=0):
        return statistics.median(value[k] for value in found)

    def ratio(found, k=0):
        return f"{statistics.median(one[k] / other[k] for one, other in zip(alone, found, strict=True)):.1f}"

    return [
        device, name, str(count), f"{params['epochs']}", f"{middle(alone):.2f}", f"{middle(stacked):.2f} ({stack})", f"{middle(picked):.2f} ({plan.way})", f"{measuring:.2f}",
        ratio(stacked), ratio(picked), ratio(picked, 2), GOAL.get((name, count, device), "≥ 1"), f"{max(v[1] for v in alone):.0f} / {max(v[1] for v in stacked):.0f} / {max(v[1] for v in picked):.0f}",
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="*", default=list(models.registry()))
    parser.add_argument("--counts", nargs="*", type=int, default=[4, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    settle()
    for device in devices():
        load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        print(f"\nMany digits models at once, {hardware(device)}{load}, {time.strftime('%Y-%m-%d')}, {given.repeats} rounds\n")
        head = [
            "device",
            "model",
            "K",
            "epochs",
            "one by one, s",
            "stacked, s",
            "picked, s",
            "picking, s",
            "ratio stacked",
            "ratio picked",
            "work",
            "goal",
            "peak MiB: one / stacked / picked",
        ]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for name in given.models:
            if "image" in models.info(name).modalities:
                for count in given.counts:
                    print(f"| {' | '.join(row(name, count, device, given.repeats, given.full))} |", flush=True)
