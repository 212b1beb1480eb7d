"""Everything that determines a result. The hash of a spec is the key of what it describes."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from unlearn_core import data, evidence, methods, models, projection
from unlearn_core.data.base import ANSWERS
from unlearn_core.data.forget import check_ids
from unlearn_core.errors import BadInput
from unlearn_core.evidence import attribution
from unlearn_core.models import own, pool
from unlearn_core.models.base import RECIPE_VERSION, ModelInfo
from unlearn_core.params import resolve
from unlearn_core.runs import tuning

MAX_RETRAINS = 64
MAX_SHADOWS = 512
MAX_SEED = 2**31 - 1
MAX_REQUESTS = 50


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
        suiting = info.model_params if architecture.name == info.default_model else {}
        return OriginalSpec(
            dataset=dataset,
            dataset_params=resolve(info.params, dataset_params or {}, dataset),
            dataset_version=info.version,
            model=architecture.name,
            model_params=_model_params(architecture, suiting | (model_params or {})),
            seed=_whole("seed", seed, MAX_SEED),
            device=device,
            model_version=architecture.version,
        )

    @property
    def weights(self) -> str:
        """Key of the given weights that this original has (models.own); "" where it was trained."""
        return self.model_params.get(own.FIELD, "")

    def kind(self, device: str) -> dict[str, Any]:
        """What it shares with models of its recipe that are trained on other instances, on `device`."""
        recipe = {name: value for name, value in self.model_params.items() if name != own.FIELD}
        return asdict(self) | {"model_params": recipe, "seed": None, "layout_version": None, "device": device}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> OriginalSpec:
        return OriginalSpec(**raw)


@dataclass(frozen=True)
class RunSpec:
    """One unlearning request with the evidence asked for. `forget` is sorted.

    parent: the earlier request whose model this one goes on from, None for the original. The evidence of such a run is about all
    instances that were forgotten so far.
    """

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
    parent: RunSpec | None = None

    @cached_property
    def key(self) -> str:
        return digest("run", self.to_dict())

    @cached_property
    def requests(self) -> tuple[RunSpec, ...]:
        """All requests from the first to this one."""
        return (*(self.parent.requests if self.parent else ()), self)

    @property
    def earlier(self) -> tuple[int, ...]:
        """Sorted ids that earlier requests forgot."""
        return self.parent.gone if self.parent else ()

    @cached_property
    def gone(self) -> tuple[int, ...]:
        """Sorted ids that this request and all earlier ones forgot."""
        return tuple(sorted((*self.earlier, *self.forget)))

    @property
    def retrain_key(self) -> str:
        """Key of the retrained reference models: shared by every method, seed and order of requests that forget the same instances."""
        return digest("retrained", [self.original.kind(self.device), self.dataset_hash, list(self.gone)])

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
        parent: RunSpec | None = None,
    ) -> RunSpec:
        """Check and complete a request. train: ids of the training split; total: instances in the dataset.

        Raises BadInput naming the field and the fix.
        """
        declared = methods.info(method)
        if declared.models and original.model not in declared.models:
            raise BadInput(
                "method",
                f"{declared.title} does not work on the model {original.model}.",
                f"Open the model {' or '.join(declared.models)}, or choose another method.",
            )
        _check_task(data.info(original.dataset).task, declared, params or {})
        if parent and (parent.original, parent.dataset_hash) != (original, dataset_hash):
            raise BadInput("parent", "that run started from another original.", "Open its original first, or start from this one.")
        if parent and declared.follows and any(request.method not in declared.follows for request in parent.requests):
            raise BadInput(
                "method",
                f"{declared.title} is not exact on a model that another method changed.",
                f"Start from the original, or from a run of {' or '.join(methods.info(name).title for name in declared.follows)}.",
            )
        if parent and len(parent.requests) >= MAX_REQUESTS:
            raise BadInput("parent", f"{MAX_REQUESTS} requests in a row are the most.", "Forget all instances at once from the original.")
        ids = check_ids(forget, train, total, gone=parent.gone if parent else ())
        given = dict(params or {})
        if "alpha" in given and not declared.alpha:
            raise BadInput("alpha", f"{method} has no strength control.", "Leave alpha out, or choose another method.")
        complete = resolve(declared.params, given, declared.name)
        return RunSpec(
            original=original,
            dataset_hash=dataset_hash,
            forget=tuple(sorted(ids)),
            method=declared.name,
            method_version=declared.version,
            params=complete,
            seed=_whole("seed", seed, MAX_SEED),
            retrains=_whole("retrains", retrains, MAX_RETRAINS),
            device=device,
            evidence={name: module.version for name, module in evidence.registry().items()} | tuning.version(complete),
            parent=parent,
        )

    def to_dict(self) -> dict[str, Any]:
        """Without a parent where there is none, so that the key of a first request does not depend on there being later ones."""
        told = {name: value for name, value in asdict(replace(self, parent=None)).items() if name != "parent"}
        return told | {"forget": list(self.forget)} | ({"parent": self.parent.to_dict()} if self.parent else {})

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> RunSpec:
        made = {"original": OriginalSpec.from_dict(raw["original"]), "forget": tuple(raw["forget"])}
        return RunSpec(**(raw | made | ({"parent": RunSpec.from_dict(raw["parent"])} if raw.get("parent") else {})))


@dataclass(frozen=True)
class PoolSpec:
    """A shadow pool: `members` models of the original's kind and recipe, half of them in each role.

    universe: "all" or "train"; share: of it that each subset holds, None to match the size of the training split (models.pool).
    """

    original: OriginalSpec
    dataset_hash: str
    members: int
    universe: str
    share: float | None
    device: str
    seed: int = 0
    version: int = pool.VERSION

    @property
    def key(self) -> str:
        return f"{self.base}-{self.members}"

    @property
    def base(self) -> str:
        """Key of everything that its models share; larger pools take over the models of smaller ones."""
        return digest("shadow", asdict(self) | {"original": self.original.kind(self.device), "members": None})

    def member_key(self, role: str, k: int) -> str:
        return f"{self.base}-{role}-{k}"

    @staticmethod
    def make(
        original: OriginalSpec,
        dataset_hash: str,
        members: int = 64,
        universe: str = "all",
        share: float | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> PoolSpec:
        """Check and complete a request. Raises BadInput naming the field and the fix."""
        task = data.info(original.dataset).task
        if task != "classes":
            raise BadInput(
                "pool", f"shadow models are compared by their confidence in one class, and here {ANSWERS[task]}.", "Leave it out."
            )
        count = _whole("pool", members, MAX_SHADOWS)
        if count < 8 or count % 2:
            raise BadInput("pool", f"{count} models cannot be split into two halves that say something.", "Give an even number from 8.")
        if universe not in pool.UNIVERSES:
            raise BadInput("universe", f"{universe!r} is not known.", f"Choose one of: {', '.join(pool.UNIVERSES)}.")
        try:
            part = None if share is None else float(share)
        except (TypeError, ValueError):
            part = math.nan
        if part is not None and not 0.1 <= part <= 0.95:
            raise BadInput("share", f"{share!r} is not possible.", "Give a number from 0.1 to 0.95, or leave it out.")
        return PoolSpec(original, dataset_hash, count, universe, part, device, _whole("seed", seed, MAX_SEED))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> PoolSpec:
        return PoolSpec(**(raw | {"original": OriginalSpec.from_dict(raw["original"])}))


@dataclass(frozen=True)
class AuditSpec:
    """A run judged with a shadow pool; u_lira: also run its method on every judging shadow."""

    run: RunSpec
    pool: PoolSpec
    u_lira: bool = False

    @property
    def key(self) -> str:
        """Starts with the run's key."""
        return f"{self.run.key}-{digest('audit', [self.pool.key, self.u_lira])}"

    def to_dict(self) -> dict[str, Any]:
        return {"run": self.run.to_dict(), "pool": self.pool.to_dict(), "u_lira": self.u_lira}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> AuditSpec:
        return AuditSpec(RunSpec.from_dict(raw["run"]), PoolSpec.from_dict(raw["pool"]), raw["u_lira"])


def _model_params(architecture: ModelInfo, given: dict[str, Any]) -> dict[str, Any]:
    found = resolve((*architecture.params, own.WEIGHTS), given, architecture.name)
    if own.FIELD in found:
        own.refuse_others(architecture)
    return found


def plane_key(run: str, triplet: tuple[int, int, int]) -> str:
    """Key of the plane through three instances of one run; it starts with the run's key."""
    return f"{run}-{digest('plane', list(triplet))}"


def attribution_key(run: str) -> str:
    """Key of what the models of one run hang on, instance by instance; it starts with the run's key."""
    return f"{run}-{digest('attribution', attribution.VERSION)}"


def _check_task(task: str, method: methods.Method, params: dict[str, Any]) -> None:
    """Raises BadInput where a method, or the search for its strength, needs classes and there are none."""
    if task not in method.tasks:
        others = ", ".join(name for name, other in methods.registry().items() if task in other.tasks and not other.models)
        raise BadInput(
            "method",
            f"{method.title} needs {'one class for each instance' if method.tasks == ('classes',) else 'answers that are right or wrong'}, and here {ANSWERS[task]}.",
            f"Choose one of: {others}.",
        )
    if task != "classes" and tuning.asked(params):
        raise BadInput("alpha", f"the search for α needs confidences in one class, and here {ANSWERS[task]}.", "Give a number, or auto.")


def _whole(field: str, value: Any, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number <= high:
        raise BadInput(field, f"{value!r} is not possible.", f"Give a whole number from 0 to {high}.")
    return number
