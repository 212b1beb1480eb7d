"""The whole interface of the runs room: submit, poll, cancel, read. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearn_core import data, methods, projection, seeds
from unlearn_core.data.choose import choose
from unlearn_core.errors import BadInput
from unlearn_core.evidence.base import Measure
from unlearn_core.models import own
from unlearn_core.runs import durations, originals, pools
from unlearn_core.runs import forecast as forecasts
from unlearn_core.runs.originals import Original
from unlearn_core.runs.progress import Reporter, read_curves
from unlearn_core.runs.spec import AuditSpec, OriginalSpec, PoolSpec, RunSpec, attribution_key, digest, plane_key
from unlearn_core.runs.store import BACKGROUND, LOOKED, Job, Store, unpack
from unlearn_core.runs.weights import keep

if TYPE_CHECKING:
    from unlearn_core.runs.pipeline import Pipeline

__all__ = [
    "Job",
    "Original",
    "OriginalSpec",
    "Run",
    "RunSpec",
    "Store",
    "load_run",
    "request",
    "run",
    "submit_layout",
    "submit_original",
    "submit_plane",
    "submit_run",
]


@dataclass(frozen=True)
class Run:
    """One stored run: spec, timings, notes and the evidence so far."""

    key: str
    spec: RunSpec
    folder: Path
    timings: dict[str, Any]
    chosen: dict[str, Any]
    notes: list[str]
    measures: list[Measure]
    views: dict[str, dict[str, np.ndarray]]
    retrained: int

    @cached_property
    def _by_id(self) -> dict[str, Measure]:
        return {measure.id: measure for measure in self.measures}

    def measure(self, id: str) -> Measure:
        """The measure with this id, such as "utility.accuracy.forget"; KeyError if there is none."""
        return self._by_id[id]

    def family(self, family: str) -> list[Measure]:
        """All measures of a family such as "utility.accuracy", in the order of computation."""
        return [measure for measure in self.measures if measure.family == family]

    @property
    def model_path(self) -> Path:
        return self.folder / "model.safetensors"

    def to_dict(self, status: str) -> dict[str, Any]:
        """The JSON form that the command line prints."""
        evidence = [measure.to_dict() for measure in self.measures]
        return {
            "key": self.key,
            "status": status,
            "spec": self.spec.to_dict(),
            "timings": self.timings,
            "chosen": self.chosen,
            "notes": self.notes,
            "evidence": evidence,
        }


@dataclass(frozen=True)
class Audit:
    """What a shadow pool says of one run, with as many retrained models as there were then."""

    spec: AuditSpec
    measures: list[Measure]
    views: dict[str, dict[str, np.ndarray]]
    retrained: int


def load_run(store: Store, key: str) -> Run | None:
    """The stored run as far as it got, or None before its first evidence."""
    folder = store.place("runs", key)
    if not (folder / "evidence.npz").exists():
        return None
    spec = RunSpec.from_dict(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    meta, arrays = unpack(folder / "evidence.npz")
    measures = [Measure.from_dict(raw) for raw in meta["measures"]]
    return Run(key, spec, folder, meta["timings"], facts["chosen"], facts["notes"], measures, _views(arrays), meta["retrained"])


def _views(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    views: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        view, _, inner = name.partition("/")
        views.setdefault(view, {})[inner] = array
    return views


def request(
    original: Original,
    forget: Any,
    method: str,
    params: dict | None = None,
    seed: int = 0,
    retrains: int = 3,
    device: str = "cpu",
    parent: RunSpec | None = None,
) -> RunSpec:
    """A checked RunSpec for these forget ids on a stored original; parent: the earlier request whose model it goes on from. Raises BadInput."""
    about = original.spec, original.meta["dataset_hash"], original.ids, original.meta["total"]
    return RunSpec.make(*about, forget, method, params, seed, retrains, device, parent)


def forecast(original: Original, forget: Any, method: str, parent: RunSpec | None = None) -> str | None:
    """A sentence about what deleting these ids will cost, from a method that can say so before it runs."""
    declared, spec = methods.info(method), original.spec
    if not declared.forecast or method not in methods.suited(spec.model, original.task) or not len(forget):
        return None
    if parent and any(request.method != method for request in parent.requests):
        return None  # a model that was trained anew since has another seed
    known = np.setdiff1d(original.ids, parent.gone if parent else [])
    return declared.forecast(spec.model_params, known, forget, seeds.derive("original", spec.seed))


def submit_original(store: Store, spec: OriginalSpec) -> Job | None:
    """Queue the training of an original; None if it is stored already."""
    found = originals.load(store, spec.key)
    if found and found.complete:
        return None
    job = store.job(spec.key)
    if job and job.status == "done":
        store.delete(spec.key)  # its files were removed by hand
    return store.submit(spec.key, "original", asdict(spec), title=f"{data.title(spec.dataset, spec.dataset_params)} · {spec.model}")


def layout_key(spec: OriginalSpec, name: str) -> str:
    """Key of the job that lays an original out in one more way; it starts with the original's key."""
    return f"{spec.key}-{name}"


def submit_layout(store: Store, spec: OriginalSpec, name: str) -> Job:
    """Queue one more layout of a stored original (`projection.possible`), as background work."""
    key = layout_key(spec, name)
    job = store.job(key)
    if job and job.status == "done" and name not in originals.load(store, spec.key).layouts:
        store.delete(key)  # the original was made anew since
    title = f"{projection.TITLES[name]} of {data.title(spec.dataset, spec.dataset_params)}"
    return store.submit(key, "layout", {"original": asdict(spec), "layout": name}, title, BACKGROUND)


def submit_run(store: Store, spec: RunSpec) -> Job:
    """Queue a run; the same spec returns the stored job at once. A run whose evidence was cut short goes on."""
    job = store.job(spec.key)
    there = load_run(store, spec.key)
    if job and job.status == "done" and there is None:
        store.delete(spec.key)  # its files were removed by hand
    if job and job.status in ("cancelled", "failed") and there:
        return store.submit(spec.key, "evidence", spec.to_dict(), job.title, BACKGROUND)
    return store.submit(spec.key, "run", spec.to_dict(), title(spec))


def going_on(store: Store, key: str) -> list[Job]:
    """The runs whose chain of requests goes through this one."""
    listed = store.jobs("run", "evidence")
    own = next((spec_of(job) for job in listed if job.key == key), None)
    # Compared as they are: to hash every request of every chain takes seconds where there are many.
    same = (lambda request: request == own) if own else (lambda request: request.key == key)
    return [job for job in listed if (spec := spec_of(job)) and any(map(same, spec.requests[:-1]))]


def spec_of(job: Job) -> RunSpec | None:
    """What a run was asked to do; None for rows of another version."""
    try:
        return RunSpec.from_dict(job.spec)
    except (KeyError, TypeError):
        return None


def delete_run(store: Store, key: str) -> None:
    """Remove a run with its results, and its retrained models unless another run compares with them.

    Raises BadInput while later requests go on from it: without its model they could not be compared any further.
    """
    if later := going_on(store, key):
        named = ", ".join(job.key[:8] for job in later[:3])
        raise BadInput("run", f"later requests go on from this run ({named}).", "Delete those first.")
    job = store.job(key)
    store.delete(key)
    for other in store.jobs("plane", "audit", "attribution"):
        if other.key.startswith(f"{key}-"):
            store.delete(other.key)
    for kind in ("planes", "audits", "attributions"):
        store.discard(kind, f"{key}-*")
    mine, others = spec_of(job) if job else None, [spec_of(other) for other in store.jobs("run", "evidence")]
    if mine is None or None in others:  # rows of another version: their models may be shared
        return
    if mine.retrain_key not in {other.retrain_key for other in others}:
        store.discard("retrained", f"{mine.retrain_key}-*")


def title(spec: RunSpec) -> str:
    """A run in one short line."""
    more = " more" if spec.parent else ""
    return f"{methods.info(spec.method).title} · {len(spec.forget)}{more} from {data.title(spec.original.dataset, spec.original.dataset_params)}"


def record_done(store: Store, spec: RunSpec) -> None:
    """List a run whose result was computed or brought here without the queue."""
    store.record(spec.key, "evidence", spec.to_dict(), title(spec))


def complete(pipeline: Pipeline, spec: RunSpec, reporter: Reporter) -> Run:
    """The run with all its retrained models, computing here and now what the pipeline's store does not hold."""
    store, stored = pipeline.store, load_run(pipeline.store, spec.key)
    if not stored:
        pipeline.unlearn(spec, reporter)
    if not stored or stored.retrained < spec.retrains:
        pipeline.add_retrained(spec, reporter)
        record_done(store, spec)
    return load_run(store, spec.key)


def submit_plane(store: Store, run: Run, triplet: tuple[int, int, int]) -> str:
    """Queue the exact plane through three instances; returns its key for `load_plane`."""
    key = plane_key(run.key, triplet)
    if not store.place("planes", key).exists():
        store.submit(key, "plane", {"run": run.spec.to_dict(), "triplet": list(triplet)}, title="Plane through three instances")
    return key


def load_plane(store: Store, key: str) -> dict[str, dict[str, np.ndarray]] | None:
    """The views of a stored plane, or None while it is not there."""
    path = store.place("planes", key) / "plane.npz"
    return _views(unpack(path)[1]) if path.exists() else None


def submit_attribution(store: Store, spec: OriginalSpec, ids: Iterable[int]) -> str:
    """Queue which words or columns an original's confidence in these instances hangs on; returns the job's key. Found in `load_attribution`."""
    asked = sorted(map(int, ids))
    key = f"{spec.key}-{digest('attribution', asked)}"
    job = store.job(key)
    if job and job.status == "done":  # its file was removed by hand
        store.delete(key)
    store.submit(key, "attribution", {"original": asdict(spec), "ids": asked}, "What single answers hang on", LOOKED)
    return key


def load_attribution(store: Store, original: str) -> dict[int, np.ndarray]:
    """The weights in logits of the parts of each instance that was asked for, by id."""
    path = originals.attribution_path(store, original)
    if not path.exists():
        return {}
    found = unpack(path)[1]
    return dict(zip(found["ids"].tolist(), np.split(found["logits"], found["start"][1:-1]), strict=True))


def submit_run_attribution(store: Store, run: Run) -> str:
    """Queue which words or columns the answers of all models of a run hang on; returns its key for `load_run_attribution`."""
    key = attribution_key(run.key)
    if not store.place("attributions", key).exists():
        job = store.job(key)
        if job and job.status == "done":
            store.delete(key)
        store.submit(key, "attribution", {"run": run.spec.to_dict()}, title="What the models' answers hang on")
    return key


def load_run_attribution(store: Store, run: str) -> dict[str, np.ndarray] | None:
    """The view of `evidence.attribution.compared` for a run, or None while it is not there."""
    path = store.place("attributions", attribution_key(run)) / "attribution.npz"
    return unpack(path)[1] if path.exists() else None


def pool_spec(original: Original, members: int = 64, device: str = "cpu", **given: Any) -> PoolSpec:
    """A checked PoolSpec for a stored original. Raises BadInput."""
    return PoolSpec.make(original.spec, original.meta["dataset_hash"], members, device=device, **given)


def submit_pool(store: Store, spec: PoolSpec) -> Job | None:
    """Queue the training of a shadow pool, behind any unlearning; None if it is stored."""
    if pools.load(store, spec.key):
        return None
    return _again(store, spec.key, "pool", spec.to_dict(), f"{spec.members} shadow models")


def submit_audit(store: Store, spec: AuditSpec) -> Job | None:
    """Queue the judgement of a run by a shadow pool, behind any unlearning; None if it is stored."""
    if store.place("audits", spec.key).exists():
        return None
    return _again(store, spec.key, "audit", spec.to_dict(), "Audit with shadow models")


def _again(store: Store, key: str, kind: str, spec: dict, title: str) -> Job:
    job = store.job(key)
    if job and job.status == "done":  # and yet its files are gone
        store.delete(key)
    return store.submit(key, kind, spec, title, BACKGROUND)


def audited(run: Run, audit: Audit) -> Run:
    """The run with what its audit found in the place of what was not computed."""
    found = {measure.id: measure for measure in audit.measures}
    measures = [found.pop(m.id, m) for m in run.measures]  # a run of an earlier version lacks some
    return replace(run, measures=[*measures, *found.values()], views=run.views | audit.views)


def _earlier(store: Store, key: str) -> RunSpec:
    found = load_run(store, key)
    if found is None:
        raise BadInput("parent", f"there is no run {key!r} in this store.", "Give the key of a stored run.")
    return found.spec


def load_audit(store: Store, spec: AuditSpec) -> Audit | None:
    """A stored audit, or None while it is not there."""
    path = store.place("audits", spec.key) / "evidence.npz"
    if not path.exists():
        return None
    meta, arrays = unpack(path)
    return Audit(spec, [Measure.from_dict(raw) for raw in meta["measures"]], _views(arrays), meta["retrained"])


def curves(store: Store, key: str) -> list[dict]:
    """Live curves of a job: one dict per epoch."""
    return read_curves(store, key)


def run(
    dataset: str,
    forget: Any,
    method: str,
    model: str | None = None,
    *,
    alpha: Any = None,
    params: dict | None = None,
    dataset_params: dict | None = None,
    model_params: dict | None = None,
    weights: str | Path | bytes | None = None,
    seed: int = 0,
    retrains: int = 3,
    pool: int = 0,
    u_lira: bool = False,
    device: str = "auto",
    parent: Run | str | None = None,
    store: Store | str | Path | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Unlearn and collect all evidence here and now, without worker or queue; stored like any other run.

    forget: ids, or text such as "random:0.03", "ids:3,17", "class:8:20", "file:PATH". pool: shadow models to audit the
    run with, 0 for none; weights: a safetensors file with the original model's state dict, which is then not trained; u_lira: also run the method on the judging half of them. parent: an earlier run of the store, or its key, whose
    model this request goes on from; dataset and model must be those of its original. Raises BadInput naming the field and the fix.
    """
    from unlearn_core.models.device import choose as choose_device
    from unlearn_core.models.device import settle
    from unlearn_core.runs.pipeline import Pipeline

    reporter = reporter or Reporter()
    store = store if isinstance(store, Store) else Store(store)
    settle()
    chosen = choose_device(device)
    if weights is not None:
        kept = keep(store, weights if isinstance(weights, bytes) else Path(weights))
        model_params = dict(model_params or {}) | {own.FIELD: kept.key}
    spec, earlier = OriginalSpec.make(dataset, model, dataset_params, model_params, seed, chosen), None
    if parent:
        earlier = _earlier(store, parent if isinstance(parent, str) else parent.key)
        # The seed is this request's own; everything else that was said of the original must be true of the parent's.
        if replace(spec, seed=earlier.original.seed, device=earlier.original.device) != earlier.original:
            raise BadInput("parent", "that run started from another original.", "Give the dataset and model that it was made with.")
        spec = earlier.original
    given = dict(params or {}) | ({} if alpha is None else {"alpha": alpha})
    loaded = data.load(spec.dataset, spec.dataset_params)
    ids = choose(forget, loaded, seed, earlier.gone if earlier else ()).ids if isinstance(forget, str) else list(forget)
    wanted = RunSpec.make(spec, loaded.hash, loaded.splits.train, len(loaded), ids, method, given, seed, retrains, chosen, earlier)
    shadows = PoolSpec.make(spec, loaded.hash, pool, device=chosen) if pool else None
    if u_lira and not pool:
        raise BadInput("u_lira", "U-LiRA runs the method on shadow models, and none are asked for.", "Ask for a pool, say of 64.")
    pipeline = Pipeline(store)
    reporter.expect(forecasts.whole(store, wanted, loaded.splits.train.tolist(), durations.here(chosen)).words)
    done = complete(pipeline, wanted, reporter)
    if not shadows:
        return done
    audit = AuditSpec(wanted, shadows, u_lira)
    if not load_audit(store, audit):
        pipeline.audit(audit, reporter)
    return audited(done, load_audit(store, audit))
