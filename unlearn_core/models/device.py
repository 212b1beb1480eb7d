"""Which device computes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from unlearn_core.errors import BadInput


def devices() -> dict[str, str]:
    """Usable devices by name ("cuda", "cpu"), the preferred one first, with a description for people."""
    import torch

    found = {}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_device_name(0)
    found["cpu"] = f"{os.cpu_count()} CPU cores"
    return found


def choose(device: str) -> str:
    """`device`, or the preferred one for "auto". Raises BadInput if this machine does not have it."""
    found = devices()
    if device == "auto":
        return next(iter(found))
    if device not in found:
        raise BadInput("device", f"{device!r} is not available here.", f"Choose one of: auto, {', '.join(found)}.")
    return device


def stopwatch(device: str) -> Callable[[], float]:
    """A function that says how many seconds have passed since now, on a CPU without the time that other programs took it away.

    The page draws while a model is retrained, which is no property of retraining: where this process used less processor time than
    the clock shows, it was waiting.
    """
    wall, used = time.perf_counter(), time.process_time()

    def passed() -> float:
        elapsed = time.perf_counter() - wall
        return elapsed if device != "cpu" else min(elapsed, time.process_time() - used)

    return passed


def settle() -> None:
    """Make results repeatable: the same seed gives the same result on one device. Call before the first kernel runs."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before writing it, and filling it first costs as much as some layers do.
    torch.utils.deterministic.fill_uninitialized_memory = False
