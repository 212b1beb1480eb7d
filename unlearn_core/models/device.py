"""Which device computes."""

from __future__ import annotations

import os

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


def settle() -> None:
    """Make results repeatable: the same seed gives the same result on one device. Call before the first kernel runs."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
