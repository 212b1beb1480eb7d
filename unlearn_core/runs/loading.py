"""The data that a model learns: a dataset, or the features that the architecture's frozen encoder makes of it."""

from __future__ import annotations

from unlearn_core import data, models
from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store

FOLDER = "features"  # of the store


def load(store: Store, spec: OriginalSpec, reporter: Reporter) -> Dataset:
    """What the model of `spec` learns. Raises BadInput where data, encoder or its package is not there."""
    return learned(store, spec, data.load(spec.dataset, spec.dataset_params), reporter)


def learned(store: Store, spec: OriginalSpec, dataset: Dataset, reporter: Reporter, start: float = 0.0, stop: float = 0.02) -> Dataset:
    """What the model of `spec` learns of a dataset that is loaded: features are computed once and kept, with progress start..stop."""
    info = models.info(spec.model)
    if not info.prepare:
        return dataset
    if reason := info.lacks(spec.model_params) if info.lacks else "":
        raise BadInput("model", reason, "Or choose another model.")
    progress = reporter.stage("computing features with the frozen encoder", start, stop)
    return info.prepare(dataset, spec.model_params, store.folder / FOLDER, spec.device, progress)
