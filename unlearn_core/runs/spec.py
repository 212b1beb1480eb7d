"""Everything that determines a result. The hash of a spec is the key of what it describes."""

from __future__ import annotations

import hashlib
import json
import operator
from dataclasses import asdict, dataclass, field
from typing import Any

from unlearn_core import data, evidence, methods, models, projection
from unlearn_core.data.forget import check_ids
from unlearn_core.errors import BadInput
from unlearn_core.models.base import RECIPE_VERSION
from unlearn_core.params import resolve

MAX_RETRAINS = 50
MAX_SEED = 2**31 - 1


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value always gives the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(kind: str, value: Any) -> str:
    return hashlib.sha256(f"{kind}:{canonical(value)}".encode()).hexdigest()[:20]


@dataclass(frozen=True)
class OriginalSpec:
    """An original model with its fixed layout: dataset, model, recipe, seed and device."""

    dataset: str
    dataset_params: dict[str, Any]
    dataset_version: int
    model: str
    model_params: dict[str, Any]
    seed: int
    device: str
    model_version: int = 1
    recipe_version: int = RECIPE_VERSION
    layout_version: int = projection.VERSION

    @property
    def key(self) -> str:
        return digest("original", asdict(self))

    @staticmethod
    def make(
        dataset: str,
        model: str | None = None,
        dataset_params: dict | None = None,
        model_params: dict | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> OriginalSpec:
        """Check and complete a request. Raises BadInput naming the field and the fix."""
        info = data.info(dataset)
        architecture = models.check_suited(model or info.default_model, info)
        return OriginalSpec(
            dataset=dataset,
            dataset_params=resolve(info.params, dataset_params or {}, dataset),
            dataset_version=info.version,
            model=architecture.name,
            model_params=resolve(architecture.params, model_params or {}, architecture.name),
            seed=_whole("seed", seed, MAX_SEED),
            device=device,
            model_version=architecture.version,
        )

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> OriginalSpec:
        return OriginalSpec(**raw)


@dataclass(frozen=True)
class RunSpec:
    """One unlearning request with the evidence asked for. `forget` is sorted."""

    original: OriginalSpec
    dataset_hash: str
    forget: tuple[int, ...]
    method: str
    method_version: int
    params: dict[str, Any]
    seed: int
    retrains: int
    device: str
    evidence: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return digest("run", asdict(self))

    @property
    def retrain_key(self) -> str:
        """Key of the retrained reference models: shared by every method and seed on the same forget set."""
        same = asdict(self.original) | {"seed": None, "layout_version": None, "device": self.device}
        return digest("retrained", [same, self.dataset_hash, list(self.forget)])

    @staticmethod
    def make(
        original: OriginalSpec,
        dataset_hash: str,
        train: Any,
        total: int,
        forget: Any,
        method: str,
        params: dict | None = None,
        seed: int = 0,
        retrains: int = 3,
        device: str = "cpu",
    ) -> RunSpec:
        """Check and complete a request. train: ids of the training split; total: instances in the dataset.

        Raises BadInput naming the field and the fix.
        """
        declared = methods.info(method)
        ids = check_ids(forget, train, total)
        given = dict(params or {})
        if "alpha" in given and not declared.alpha:
            raise BadInput("alpha", f"{method} has no strength control.", "Leave alpha out, or choose another method.")
        return RunSpec(
            original=original,
            dataset_hash=dataset_hash,
            forget=tuple(sorted(ids)),
            method=declared.name,
            method_version=declared.version,
            params=resolve(declared.params, given, declared.name),
            seed=_whole("seed", seed, MAX_SEED),
            retrains=_whole("retrains", retrains, MAX_RETRAINS),
            device=device,
            evidence={name: module.version for name, module in evidence.registry().items()},
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"forget": list(self.forget)}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> RunSpec:
        return RunSpec(**(raw | {"original": OriginalSpec.from_dict(raw["original"]), "forget": tuple(raw["forget"])}))


def plane_key(run: str, triplet: tuple[int, int, int]) -> str:
    """Key of the plane through three instances of one run; it starts with the run's key."""
    return f"{run}-{digest('plane', list(triplet))}"


def _whole(field: str, value: Any, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number <= high:
        raise BadInput(field, f"{value!r} is not possible.", f"Give a whole number from 0 to {high}.")
    return number
