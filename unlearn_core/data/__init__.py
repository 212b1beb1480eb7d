"""Datasets: one file each (or one for a family), declared without loading anything."""

from __future__ import annotations

from typing import Any

from unlearn_core.data.base import Dataset, DatasetInfo, Splits
from unlearn_core.data.forget import ForgetSet
from unlearn_core.params import resolve
from unlearn_core.registry import discover, lookup

__all__ = ["Dataset", "DatasetInfo", "ForgetSet", "Splits", "info", "load", "registry", "title"]


def registry() -> dict[str, DatasetInfo]:
    """All dataset declarations by name, in the order of display."""
    return discover(__name__, "DATASET")


def info(name: str) -> DatasetInfo:
    """The declaration of `name`. Raises BadInput that lists the known datasets."""
    return lookup(registry(), name, "dataset")


def title(name: str, params: dict[str, Any]) -> str:
    """What people call the dataset that these parameters give: imported data has a title of its own. Raises BadInput for an unknown name."""
    declared = info(name)
    return declared.titled(params) if declared.titled else declared.title


def load(name: str, params: dict[str, Any] | None = None) -> Dataset:
    """Load a dataset with its splits. Raises BadInput for an unknown name or parameter."""
    declared = info(name)
    return declared.load(resolve(declared.params, params or {}, name))
