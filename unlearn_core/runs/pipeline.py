"""From a RunSpec to stored evidence: unlearn, look, retrain, look again."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from unlearn_core import evidence, methods, models, seeds
from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.evidence import attribution
from unlearn_core.evidence.across import probe
from unlearn_core.evidence.base import MIN_RETRAINS, Findings, Subject
from unlearn_core.evidence.forgetting_quality import LEAST
from unlearn_core.evidence.logits import finite, log_sigmoid, log_softmax
from unlearn_core.models import blends, ensemble, relearning, storage, training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.device import choose, stopwatch
from unlearn_core.models.outputs import Outputs
from unlearn_core.models.pool import CHOOSE, JUDGE, Shadows
from unlearn_core.models.pretrained_features import shown
from unlearn_core.runs import applying, durations, loading, originals, pools, tuning
from unlearn_core.runs.progress import Reporter, without_curves
from unlearn_core.runs.spec import AuditSpec, OriginalSpec, PoolSpec, RunSpec, attribution_key, plane_key
from unlearn_core.runs.store import Store, pack, unpack

UNCHANGED = 0.01
SMALL = 10_000  # instances
SOON = 20.0  # seconds


@dataclass
class Member:
    """One model in memory with what it says about every instance."""

    model: Classifier
    outputs: Outputs


@dataclass
class Loaded:
    """One run's models in memory, so that evidence can grow as retrained models arrive.

    earlier: the model after each earlier request; spent: the seconds that each of those took.
    """

    spec: RunSpec
    dataset: Dataset
    original: Member
    layout: np.ndarray
    earlier: list[Member] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    unlearned: Member | None = None
    retrained: list[Member] = field(default_factory=list)
    memo: dict = field(default_factory=dict)

    @property
    def before(self) -> Member:
        """The model that this run's method starts from."""
        return self.earlier[-1] if self.earlier else self.original


class Pipeline:
    """Computes and stores; keeps the newest few originals and runs in memory between calls."""

    def __init__(self, store: Store, layout: originals.Layout = originals.here):
        self.store, self.layout = store, layout
        self.originals: OrderedDict[tuple, tuple[Dataset, Member, originals.Original]] = OrderedDict()
        self.runs: OrderedDict[str, Loaded] = OrderedDict()
        self.light: tuple[str, Dataset, Classifier] | None = None  # the last original that was asked about single instances only

    def let_go(self) -> None:
        """Drop what is held in memory of originals that were deleted, and their data with it."""

        def gone(key: str) -> bool:
            return not self.store.place("originals", key).exists()

        stale = [key for key, (_, _, found) in self.originals.items() if gone(found.key)]
        old = [key for key, loaded in self.runs.items() if gone(loaded.spec.original.key)]
        for key in stale:
            del self.originals[key]
        for key in old:
            del self.runs[key]
        if light := self.light is not None and gone(self.light[0]):
            self.light = None
        if stale or old or light:
            training.let_go()

    # stages of a run -------------------------------------------------------------------------

    def prepare(self, spec: OriginalSpec, reporter: Reporter) -> originals.Original:
        """Train and lay out the original, if it is not stored."""
        return originals.prepare(self.store, spec, reporter, self.layout)

    def unlearn(self, spec: RunSpec, reporter: Reporter) -> Path:
        """Unlearn and write the run's folder with all evidence that needs no retrained model."""
        self.runs.pop(spec.key, None)
        loaded = self._loaded(spec, reporter)
        declared = methods.info(spec.method)
        splits, targets = loaded.dataset.splits, self._targets(spec, loaded.dataset, reporter)
        part = applying.Part.of(spec, splits.train, splits.heldout)
        passed = stopwatch(spec.device)
        done = tuning.apply(loaded.before.model, loaded.dataset, spec, part, declared, reporter, 0.1, 0.7, targets)
        durations.ran(self.store, spec, loaded.dataset, passed())
        loaded.unlearned = Member(done.model, training.read(done.model, loaded.dataset.inputs, spec.device))
        _check_finite(loaded)
        given = originals.load(self.store, spec.original.key).meta.get("given", ())
        notes = [
            *given,
            *filter(None, [models.info(spec.original.model).caution]),
            *done.notes,
            *_whole_classes(loaded),
            *_unchanged(loaded, declared),
        ]
        timings = {"method": done.seconds, "retrained": []}
        if pool := self._pool(spec):
            timings["pool"] = pools.cost(pools.load(self.store, pool.key))
        progress = reporter.stage("collecting evidence", 0.75, 0.95)
        with self.store.writing("runs", spec.key) as folder:
            (folder / "spec.json").write_text(json.dumps(spec.to_dict()), encoding="utf-8")
            storage.save(folder / "model.safetensors", done.model, {"run": spec.key, "spec": json.dumps(spec.to_dict())})
            (folder / "run.json").write_text(json.dumps({"timings": timings, "chosen": done.chosen, "notes": notes}), encoding="utf-8")
            (folder / "evidence.npz").write_bytes(self._evidence(loaded, timings, progress))
        return self.store.place("runs", spec.key)

    def add_retrained(self, spec: RunSpec, reporter: Reporter) -> None:
        """Train (or load) the retrained reference models, rewriting the evidence as they arrive.

        The first few come one by one, so that a verdict is there soon; the rest is trained together (see `_alone`).
        """
        loaded = self._loaded(spec, reporter)
        folder = self.store.place("runs", spec.key)
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if loaded.unlearned is None:
            model = self._read(folder / "model.safetensors", spec, loaded.dataset)
            loaded.unlearned = Member(model, training.read(model, loaded.dataset.inputs, spec.device))
        # What is stored counts, not what is in memory: one of them may be ahead after a restart or an interruption.
        told = unpack(folder / "evidence.npz")[0]["retrained"]
        alone = self._alone(spec, loaded.dataset)
        for k in range(spec.retrains):
            if k == alone:
                self._train_together(spec, loaded.dataset, reporter)
            if k == len(loaded.retrained):
                progress = reporter.stage(f"retraining {k + 1} of {spec.retrains}", k / spec.retrains, (k + 0.8) / spec.retrains)
                loaded.retrained.append(self._retrained(spec, loaded.dataset, k, progress))
            if k < told or alone <= k < spec.retrains - 1:
                continue
            timings = facts["timings"] | {"retrained": self._retrain_seconds(spec, k + 1)}
            progress = reporter.stage("collecting evidence", (k + 0.8) / spec.retrains, (k + 1) / spec.retrains)
            self.store.replace_file(folder / "evidence.npz", self._evidence(loaded, timings, progress))

    def plane(self, spec: RunSpec, triplet: tuple[int, int, int], reporter: Reporter) -> None:
        """Store the exact plane through three chosen instances for all models of a finished run."""
        from unlearn_core.evidence.slices import slice_views

        self.add_retrained(spec, reporter)
        reporter.stage("drawing the plane")
        view = slice_views(_subject(self.runs[spec.key], {}), triplet)
        with self.store.writing("planes", plane_key(spec.key, triplet)) as folder:
            (folder / "plane.npz").write_bytes(pack({"triplet": list(triplet)}, _flat(view)))

    def attribution(self, spec: OriginalSpec, ids: list[int], reporter: Reporter) -> None:
        """Add to what is stored of an original which words or columns its confidence in these instances hangs on."""
        if self.light is None or self.light[0] != spec.key:
            found = self.prepare(spec, reporter)
            reporter.stage("loading data", 0.0)
            dataset = loading.load(self.store, spec, reporter)
            model = storage.load(found.folder / "model.safetensors", models.info(spec.model), dataset, spec.model_params, spec.device)
            self.light = spec.key, dataset, model
        _, dataset, model = self.light
        progress = reporter.stage("leaving out words" if dataset.modality == "text" else "leaving out columns", 0.1, 1.0)
        found = attribution.weigh(lambda inputs: training.predict(model, inputs, spec.device), dataset, ids, progress)
        path = originals.attribution_path(self.store, spec.key)
        stored = unpack(path)[1] if path.exists() else None
        self.store.replace_file(path, pack({}, attribution.joined(stored, found) if stored else found))

    def run_attribution(self, spec: RunSpec, reporter: Reporter) -> None:
        """Store which words or columns the confidence of all models of a finished run hangs on, for its first forgotten instances."""
        self.add_retrained(spec, reporter)
        subject, ids, found = _subject(loaded := self.runs[spec.key], {}), spec.gone[: attribution.MOST], {}
        for place, who in enumerate(many := subject.names()):
            progress = reporter.stage(f"leaving out parts, model {place + 1} of {len(many)}", place / len(many), (place + 1) / len(many))
            found[who] = attribution.weigh(lambda inputs, who=who: subject.predict(who, inputs), loaded.dataset, ids, progress)
        with self.store.writing("attributions", attribution_key(spec.key)) as folder:
            (folder / "attribution.npz").write_bytes(pack({"retrained": len(loaded.retrained)}, attribution.compared(found)))

    def audit(self, spec: AuditSpec, reporter: Reporter) -> None:
        """Judge a finished run by a shadow pool: train the pool where it is not stored, then compute every attack that needs it."""
        self.add_retrained(spec.run, reporter)
        loaded = self.runs[spec.run.key]
        pools.prepare(self.store, spec.pool, reporter, 0.0, 0.4 if spec.u_lira else 0.9)
        half = pools.shadows(self.store, spec.pool, loaded.dataset, JUDGE)
        if spec.u_lira:
            half = self._unlearn_shadows(spec, loaded, half, reporter)
        reporter.stage("attacking with shadow models", 0.95)
        subject = replace(_subject(loaded, {}), shadows=half, memo={})
        found = {"shadows": evidence.compute("shadows", subject)}
        with self.store.writing("audits", spec.key) as folder:
            (folder / "evidence.npz").write_bytes(pack_findings(found, {"spec": spec.to_dict(), "retrained": len(loaded.retrained)}))

    def _unlearn_shadows(self, spec: AuditSpec, loaded: Loaded, half: Shadows, reporter: Reporter) -> Shadows:
        """The run's method on every judging shadow, with what that shadow had seen, and on the original with other seeds; all its requests in turn."""
        dataset, run, device = loaded.dataset, spec.run, spec.run.device
        splits, many, done = dataset.splits, len(half.logits), half.logits.copy()
        known = np.concatenate([splits.train, splits.validation, splits.test])
        chain = []  # on this run's device, whichever the earlier requests used
        for request in run.requests:
            declared = methods.info(request.method)
            if request.method_version != declared.version:
                raise BadInput(
                    "u_lira",
                    f"the run was made by another version of {declared.title}.",
                    "Unlearn again, or audit without running the method.",
                )
            here = replace(tuning.settled(request, self.store), device=device)
            chain.append((declared, here, self._targets(here, dataset, reporter)))

        def all_requests(model: Classifier, trained: np.ndarray, heldout: np.ndarray, seed: Callable[[int], int], progress) -> np.ndarray:
            for declared, request, targets in chain:
                part = applying.Part.of(request, trained, heldout)
                if not len(part.forget):
                    continue  # this model never saw any of them: nothing to unlearn
                own = replace(request, seed=seed(request.seed))
                model = applying.apply(model, dataset, own, part, declared, without_curves(progress), targets).model
            return training.predict(model, dataset.inputs, device)

        parts = zip(pools.folders(self.store, spec.pool, JUDGE), pools.training_ids(spec.pool, dataset, JUDGE), strict=True)
        for k, (folder, ids) in enumerate(parts):
            progress = reporter.stage(f"running the method on shadow {k + 1} of {many}", 0.4 + 0.4 * k / many, 0.4 + 0.4 * (k + 1) / many)
            if not len(np.intersect1d(ids, run.gone)):
                continue
            # As for the original: instances that this model never saw and that nobody asks to forget, as many as there.
            unseen = np.setdiff1d(known, np.concatenate([ids, run.gone]))
            heldout = np.sort(np.random.default_rng(seeds.derive("shadow-heldout", k)).permutation(unseen)[: len(splits.heldout)])
            # One seed for all would make what it draws, such as first weights, a mark of having been unlearned.
            model, seed = self._read(folder / "model.safetensors", run, dataset), lambda base, k=k: seeds.derive("shadow", base, k)
            done[k] = all_requests(model, ids, heldout, seed, progress)
        again, more = [], len(loaded.retrained) // 2
        for k in range(more if more >= LEAST else 0):  # fewer say nothing
            progress = reporter.stage(f"running the method with seed {k + 1}", 0.8 + 0.15 * k / more, 0.8 + 0.15 * (k + 1) / more)
            seed = lambda base, k=k: seeds.derive("again", base, k)  # noqa: E731
            again.append(all_requests(loaded.original.model, splits.train, splits.heldout, seed, progress))
        return replace(half, unlearned=done, again=np.stack(again) if again else None)

    # models ----------------------------------------------------------------------------------

    def _pool(self, spec: RunSpec) -> PoolSpec | None:
        """The pool that a method takes its targets from; None for methods that take none."""
        if "never_seen" not in methods.info(spec.method).needs:
            return None
        return PoolSpec.make(spec.original, spec.dataset_hash, spec.params["pool"], device=spec.device)

    def _targets(self, spec: RunSpec, dataset: Dataset, reporter: Reporter) -> Shadows | None:
        """The choosing half of the pool that a method takes its targets from; None for methods that take none."""
        wanted = self._pool(spec)
        if not wanted:
            return None
        pools.prepare(self.store, wanted, reporter, 0.02, 0.6)
        return pools.shadows(self.store, wanted, dataset, CHOOSE)

    def _loaded(self, spec: RunSpec, reporter: Reporter) -> Loaded:
        if spec.key in self.runs:
            self.runs.move_to_end(spec.key)
            return self.runs[spec.key]
        dataset, member, original = self._original(spec, reporter)
        if shown(dataset).hash != spec.dataset_hash:
            raise BadInput(
                "dataset",
                f"{dataset.name} no longer has the contents that this run names.",
                "Open the dataset again and choose the instances anew.",
            )
        loaded = Loaded(spec, dataset, member, original.layout())
        for request in spec.requests[:-1]:
            before, seconds = self._after(request, dataset, spec.device)
            loaded.earlier.append(before)
            loaded.spent.append(seconds)
        self.runs[spec.key] = loaded  # only now: half of a chain would be taken for all of it
        while len(self.runs) > 2:
            self.runs.popitem(last=False)
        return self.runs[spec.key]

    def _after(self, request: RunSpec, dataset: Dataset, device: str) -> tuple[Member, float]:
        """The stored model of an earlier request, on the later one's device and with its logits only, and the seconds that its method took.

        Raises BadInput if it was deleted.
        """
        folder = self.store.place("runs", request.key)
        if not (folder / "run.json").exists():
            raise BadInput("parent", "the run that this one goes on from is not there any more.", "Run it again, or start from another.")
        model = self._read(folder / "model.safetensors", replace(request, device=device), dataset)
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return Member(model, Outputs(training.predict(model, dataset.inputs, device), {})), facts["timings"]["method"]

    def _original(self, spec: RunSpec, reporter: Reporter) -> tuple[Dataset, Member, originals.Original]:
        key = (spec.original.key, choose(spec.device))
        if key not in self.originals:
            found = self.prepare(spec.original, reporter)
            dataset = loading.load(self.store, spec.original, reporter)
            model = self._read(found.folder / "model.safetensors", spec, dataset)
            self.originals[key] = dataset, Member(model, training.read(model, dataset.inputs, spec.device)), found
            while len(self.originals) > 3:
                self.originals.popitem(last=False)
        self.originals.move_to_end(key)
        return self.originals[key]

    def _read(self, path: Path, spec: RunSpec, dataset: Dataset) -> Classifier:
        return storage.load(path, models.info(spec.original.model), dataset, spec.original.model_params, spec.device)

    def _retrained(self, spec: RunSpec, dataset: Dataset, k: int, progress: training.Progress) -> Member:
        key = f"{spec.retrain_key}-{k}"
        folder = self.store.place("retrained", key)
        if not folder.exists():
            passed = stopwatch(spec.device)
            retain = np.setdiff1d(dataset.splits.train, spec.gone)
            model = applying.from_scratch(spec, dataset, retain, seeds.derive("retrained", k), progress)
            seconds = passed()
            durations.trained(self.store, spec.original, dataset, len(retain), spec.device, seconds)
            self._keep_retrained(spec, k, model, seconds)
        model = self._read(folder / "model.safetensors", spec, dataset)
        return Member(model, training.read(model, dataset.inputs, spec.device))

    def _keep_retrained(self, spec: RunSpec, k: int, model: Classifier, seconds: float | None) -> None:
        key = f"{spec.retrain_key}-{k}"
        with self.store.writing("retrained", key) as scratch:
            storage.save(scratch / "model.safetensors", model, {"retrained": key})
            facts = {"seconds": seconds, "original": asdict(spec.original)}  # whose data it holds, also when the run is gone
            (scratch / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    def _alone(self, spec: RunSpec, dataset: Dataset) -> int:
        """How many retrained models come one by one: enough for a verdict; one, which says what a retraining takes, if the rest is soon there."""
        count = len(self._missing(spec))
        soon = spec.retrains > MIN_RETRAINS and (not count or self._plan(spec, dataset, count).seconds < SOON)
        return 1 if soon else MIN_RETRAINS

    def _missing(self, spec: RunSpec) -> list[int]:
        return [k for k in range(spec.retrains) if not self.store.place("retrained", f"{spec.retrain_key}-{k}").exists()]

    def _plan(self, spec: RunSpec, dataset: Dataset, count: int) -> ensemble.Plan:
        subsets = [np.setdiff1d(dataset.splits.train, spec.gone)] * count
        return ensemble.plan(models.info(spec.original.model), dataset, spec.original.model_params, subsets, spec.device)

    def _train_together(self, spec: RunSpec, dataset: Dataset, reporter: Reporter) -> None:
        """Train and store all retrained models that are missing, in the way that is fastest here."""
        missing = self._missing(spec)
        if not missing:
            return
        info, params = models.info(spec.original.model), spec.original.model_params
        plan, passed = self._plan(spec, dataset, len(missing)), stopwatch(spec.device)
        ensemble.train_many(
            info, dataset, params, [np.setdiff1d(dataset.splits.train, spec.gone)] * len(missing),
            [seeds.derive("retrained", k) for k in missing],
            spec.device,
            reporter.stage(f"retraining {len(missing)} models {plan.words}", 1 - len(missing) / spec.retrains, 0.9),
            # One of many trained together says nothing of what one retraining takes.
            found=lambda place, model: self._keep_retrained(spec, missing[place], model, None),
            chosen=plan,
        )  # fmt: skip
        left = len(dataset.splits.train) - len(spec.gone)
        durations.trained(self.store, spec.original, dataset, left, spec.device, passed(), len(missing))

    def _retrain_seconds(self, spec: RunSpec, count: int) -> list[float]:
        """Seconds of those of the first `count` retrained models that were trained by themselves."""
        folders = [self.store.place("retrained", f"{spec.retrain_key}-{k}") for k in range(count)]
        seconds = [json.loads((folder / "facts.json").read_text(encoding="utf-8"))["seconds"] for folder in folders]
        return [value for value in seconds if value is not None]

    # evidence --------------------------------------------------------------------------------

    def _evidence(self, loaded: Loaded, timings: dict[str, Any], progress: training.Progress) -> bytes:
        subject, found, passed = _subject(loaded, timings), {}, stopwatch(loaded.spec.device)
        # Small matrices gain nothing from more threads, and wait for all of them whenever a core is busy.
        with threadpool_limits(1 if len(loaded.dataset) < SMALL else None):
            for position, name in enumerate(known := evidence.registry()):
                progress(position / len(known))
                found[name] = evidence.compute(name, subject)
        durations.looked(self.store, loaded.spec, loaded.dataset, len(loaded.retrained), passed())
        return pack_findings(found, {"timings": timings, "retrained": len(loaded.retrained)})


def pack_findings(found: dict[str, Findings], meta: dict[str, Any]) -> bytes:
    """Measures and views of all evidence modules as one file."""
    measures = [measure.to_dict() for findings in found.values() for measure in findings.measures]
    views = {name: arrays for findings in found.values() for name, arrays in findings.views.items()}
    return pack(meta | {"measures": measures}, _flat(views))


def _flat(views: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{view}/{name}": np.asarray(array) for view, arrays in views.items() for name, array in arrays.items()}


def _subject(loaded: Loaded, timings: dict[str, Any]) -> Subject:
    members = {"original": loaded.original, "unlearned": loaded.unlearned}
    members |= {f"retrained:{k}": member for k, member in enumerate(loaded.retrained)}
    dataset, device = loaded.dataset, loaded.spec.device
    seconds = {"method": timings["method"]} if "method" in timings else {}
    if timings.get("retrained"):
        seconds["retrain"] = float(np.mean(timings["retrained"]))

    def head(who: str, features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return members[who].model.head(torch.as_tensor(features, dtype=torch.float32, device=device)).cpu().numpy()

    def embed(ids: np.ndarray) -> np.ndarray:
        return blends.embed(loaded.original.model, dataset.inputs[ids], device)

    def relearn(who: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = training.tensors(dataset, device)
        forget = probe(subject, subject.forget)
        return relearning.relearn(members[who].model, x, y, forget, loaded.spec.original.model_params, seed, device)

    subject = Subject(
        labels=dataset.labels,
        class_names=dataset.class_names,
        modality=dataset.modality,
        inputs=dataset.inputs,
        splits=dataset.splits,
        forget=np.array(loaded.spec.gone),
        original=loaded.original.outputs,
        unlearned=loaded.unlearned.outputs if loaded.unlearned else None,
        retrained=[member.outputs for member in loaded.retrained],
        predict=lambda who, inputs: training.predict(members[who].model, inputs, device),
        head=head,
        layout=loaded.layout,
        seed=loaded.spec.seed,
        seconds=seconds,
        settings={"retrains": loaded.spec.retrains, "goal": methods.info(loaded.spec.method).goal, "spent": loaded.spent},
        relearn=relearn,
        blends=dataset.blends,
        embed=embed if blends.possible(loaded.original.model) else None,
        blend=lambda who, ids, shares: blends.predict(members[who].model, dataset.inputs[ids], shares, device),
        requests=[np.array(request.forget) for request in loaded.spec.requests],
        earlier=[member.outputs for member in loaded.earlier],
        planted=dataset.planted,
        planting=dataset.planting,
        groups=dataset.groups,
        memo=loaded.memo,
        targets=dataset.targets,
        target_names=dataset.target_names,
        number=dataset.number,
    )
    return subject


def _whole_classes(loaded: Loaded) -> Iterator[str]:
    if loaded.dataset.task != "classes":
        return  # every label, or number, is still answered
    labels, forget = loaded.dataset.labels, np.array(loaded.spec.gone)
    retain = np.setdiff1d(loaded.dataset.splits.train, forget)
    for label in np.unique(labels[forget]):
        if not (labels[retain] == label).any():
            name = loaded.dataset.class_names[label]
            yield (
                f"Every training instance of class {name} is forgotten. Retrained models never see that class, so accuracy on it is expected to "
                "fall to zero in the test split too, and test figures compare models that know different classes."
            )


def _unchanged(loaded: Loaded, declared: methods.Method) -> Iterator[str]:
    forget = np.array(loaded.spec.forget)
    said = {"classes": lambda z: np.exp(log_softmax(z)), "labels": lambda z: np.exp(log_sigmoid(z)), "number": finite}[loaded.dataset.task]
    before, after = (said(m.outputs.logits[forget]) for m in (loaded.before, loaded.unlearned))
    what = "prediction" if loaded.dataset.task == "number" else "predicted probability"
    moved = float(np.abs(after - before).max())
    if moved < UNCHANGED and "train" not in declared.needs:
        yield (
            f"This run changed next to nothing: no {what} of a forgotten instance moved by {max(moved, 0.0001):.4f} or more. "
            "Compare with what retraining changes before choosing stronger settings."
        )


def _check_finite(loaded: Loaded) -> None:
    if not np.isfinite(loaded.unlearned.outputs.logits).all():
        raise BadInput("method", "the unlearned model produced numbers that are not finite.", "Use a smaller learning rate or a gentler α.")
