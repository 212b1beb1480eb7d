"""Unlearning methods: one file each. Declarations import no torch; implementations do when they run."""

from __future__ import annotations

from unlearn_core.methods.base import Method, Task
from unlearn_core.registry import discover, extended, lookup

GROUP = "unlearn_core.methods"

__all__ = ["Method", "Task", "info", "registry", "suited"]


def registry() -> dict[str, Method]:
    """All methods by name, in the order of display: ours, then those of installed plug-ins (entry points of the group GROUP)."""
    return extended(discover(__name__, "METHOD"), GROUP, Method)


def suited(model: str, task: str = "classes") -> dict[str, Method]:
    """The methods that work on the architecture `model` and a task of `data.base.TASKS`, in the order of display."""
    return {name: method for name, method in registry().items() if (not method.models or model in method.models) and task in method.tasks}


def info(name: str) -> Method:
    """The declaration of `name`. Raises BadInput that lists the known methods."""
    return lookup(registry(), name, "method")
