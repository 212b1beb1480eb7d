"""How long something will take on this machine, before it starts: from measured times of the same thing, else from trial steps, else nobody knows.

Reads what `durations` kept and imports no torch; only `probe` runs in the worker. Every figure scales by a stated law: a training by
instances × epochs, a method by what one training takes, evidence by instances × models, a layout by instances. The median of
all times that fit counts, so that one disturbed run moves nothing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from unlearn_core import data, methods, models, projection, seeds
from unlearn_core.runs import durations, pools, tuning
from unlearn_core.runs.durations import Timing
from unlearn_core.runs.progress import Mark, Reporter
from unlearn_core.runs.spec import OriginalSpec, PoolSpec, RunSpec, digest
from unlearn_core.runs.store import BACKGROUND, Job, Store

SAME, TRIED, SCALED, ROUGH = range(4)  # how near the measured thing is to this one
SURE = {
    SAME: "measured on the same here",
    TRIED: "from a trial of a few steps",
    SCALED: "from runs of another size or other settings, scaled",
    ROUGH: "from other data or models, so only roughly",
}
UNKNOWN = "How long it takes is not known yet: nothing like it has run on this machine."
NEAR = 2.0  # times as many instances, or as few, still count as the same size
ALONE = 3  # retrained models that come one by one (pipeline)
RETRAINED, METHOD, POOL, EVIDENCE = "retrained", "method", "shadow models", "evidence"


@dataclass(frozen=True)
class Estimate:
    """Expected seconds; how near what was measured is to this (SAME … ROUGH); how many times it was measured."""

    seconds: float
    grade: int = SAME
    times: int = 0

    def by(self, factor: float, grade: int = SAME) -> Estimate:
        return Estimate(self.seconds * factor, max(self.grade, grade), self.times)


NOTHING = Estimate(0.0)


@dataclass(frozen=True)
class Step:
    """One stage of a job as progress names it. part: what a person calls it. start: of the job's progress. most: an upper bound only."""

    part: str
    stage: str
    start: float
    estimate: Estimate | None
    job: str
    most: bool = False


@dataclass(frozen=True)
class Forecast:
    """What a computation will take, step by step; `again`: what training anew would take, for a request that could be answered so."""

    steps: tuple[Step, ...]
    again: Estimate | None = None

    @property
    def parts(self) -> dict[str, Estimate | None]:
        """The steps of each part together; None where nobody knows."""
        found: dict[str, list[Estimate | None]] = {}
        for step in self.steps:
            found.setdefault(step.part, []).append(step.estimate)
        return {part: _sum(estimates) for part, estimates in found.items()}

    @property
    def seconds(self) -> float | None:
        """Expected seconds for everything; None where a part is unknown."""
        total = _sum(self.parts.values())
        return total.seconds if total else None

    @property
    def words(self) -> str:
        """One or two sentences: how long, for what, and how sure that is."""
        known = {part: told for part, told in self.parts.items() if told is not None}
        unknown = [part for part in self.parts if part not in known]
        shown = {part: told for part, told in known.items() if told.seconds > 0}
        said = []
        if shown:
            bound = "At most about" if any(step.most and step.estimate and step.estimate.seconds for step in self.steps) else "About"
            total = f"{bound} {duration(sum(told.seconds for told in shown.values()))}"
            listed = ", ".join(f"{part} {duration(told.seconds)}" for part, told in shown.items())
            parts = f" for {next(iter(shown))}" if len(shown) == 1 else f": {listed}"
            said.append(f"{total}{parts} ({_sure(shown.values())}).")
        elif known and not unknown:
            said.append("No wait: everything is stored already.")
        if unknown:
            said.append(f"Not known yet: {', '.join(unknown)}; nothing like it has run on this machine." if known else UNKNOWN)
        if self.longer:
            said.append(f"That is longer than training again without them ({duration(self.again.seconds)}).")
        return " ".join(said)

    @property
    def longer(self) -> bool:
        """Whether unlearning itself, with the shadow models it needs, is expected to take longer than one retraining."""
        own = [told.seconds for part, told in self.parts.items() if part in (METHOD, POOL) and told]
        return self.again is not None and sum(own) > 1.05 * self.again.seconds

    def left(self, job: Job, mark: Mark | None, seen: float, now: float) -> tuple[float, bool] | None:
        """Seconds until the job ends, and whether that is all of it (False: this stage only, since nobody knows the rest); None if unknown.

        seen: when the job's fraction was first seen as it is now. What is left of the stage under way is told from its own pace as soon
        as it shows one, before that from the forecast.
        """
        at = max(
            (
                k
                for k, step in enumerate(self.steps)
                if step.job == job.kind and job.stage.startswith(step.stage) and step.start <= job.fraction + 1e-6
            ),
            default=None,
        )
        live = mark.left(job, seen, now) if mark and mark.stage == job.stage else None
        if live is None and at is not None and self.steps[at].estimate and mark:
            live = max(self.steps[at].estimate.seconds - max(now - mark.begun, 0.0), 0.0)  # a clock may be set back
        if live is None:
            return None
        later = [step.estimate for step in self.steps[at + 1 :] if step.job == job.kind] if at is not None else [None]
        rest = _sum(later) if later else NOTHING
        return (live + rest.seconds, True) if rest else (live, False)


def duration(seconds: float) -> str:
    """Expected seconds in as many digits as an expectation has."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 9.5:
        return f"{seconds:.1g} s" if seconds < 1 else f"{round(seconds)} s"
    if seconds < 55:
        return f"{5 * round(seconds / 5)} s"
    if seconds < 55 * 60:
        return f"{max(round(seconds / 60), 1)} min"
    hours, minutes = divmod(5 * round(seconds / 300), 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{round(seconds / 3600)} h"


def _sure(estimates: Iterable[Estimate]) -> str:
    estimates = list(estimates)
    worst, least = max(told.grade for told in estimates), min(told.times for told in estimates)
    if worst == SAME:
        return f"from {least} earlier run{'s' if least != 1 else ''}"
    partly = "partly " if any(told.grade < TRIED for told in estimates) else ""
    return partly + SURE[worst]


def _sum(estimates: Iterable[Estimate | None]) -> Estimate | None:
    estimates = list(estimates)
    if None in estimates:
        return None
    counted = [told for told in estimates if told.seconds > 0] or [NOTHING]
    return Estimate(sum(t.seconds for t in counted), max(t.grade for t in counted), min(t.times for t in counted))


def _median(values: Sequence[float], factor: float, grade: int) -> Estimate | None:
    """The median of `values` (seconds for each unit of work) times the work; None without any."""
    return Estimate(max(statistics.median(values) * factor, 0.0), grade, len(values)) if values else None


def _near(a: float, b: float) -> bool:
    return b / NEAR <= a <= b * NEAR


class Log:
    """The times of one place, and what they say of trainings, methods, evidence and layouts."""

    def __init__(self, store: Store, place: str):
        self.store, self.timings = store, durations.read(store, place)

    def of(self, what: str) -> list[Timing]:
        return [timing for timing in self.timings if timing["what"] == what]

    def facts(self, spec: OriginalSpec) -> Timing | None:
        """What is known of the spec's dataset (data, train, total) and so of its kind; None before it was ever loaded here."""
        wanted = durations.dataset_digest(spec)
        found = next((timing for timing in reversed(self.timings) if timing.get("dataset") == wanted), None)
        return found and found | {"kind": durations.kind_digest(spec, found["data"])}

    def training(self, spec: OriginalSpec, instances: int) -> Estimate | None:
        """One model on so many instances: seconds for each instance and epoch, of real trainings of this size, else of trial steps, else of other sizes."""
        facts = self.facts(spec)
        if not facts:
            return None
        work = durations.work(spec, instances)
        fits = [timing for timing in self.of("training") if timing["kind"] == facts["kind"]]
        tried = [timing for timing in self.of("trial") if timing["kind"] == facts["kind"]]
        size = [timing for timing in fits if _near(timing["work"], work) and _near(timing["instances"], instances)]
        for chosen, grade in ((size, SAME), (tried, TRIED), (fits, SCALED)):
            if found := _median([timing["seconds"] / timing["work"] for timing in chosen], work, grade):
                return found
        return None

    def together(self, spec: OriginalSpec, instances: int, models: int) -> tuple[Estimate | None, bool]:
        """Many models trained together; and whether that is an upper bound only, since nobody measured what together saves."""
        facts = self.facts(spec)
        fits = [timing for timing in self.of("together") if facts and timing["kind"] == facts["kind"]]
        work = models * durations.work(spec, instances)
        same = all(_near(timing["instances"], instances) for timing in fits)
        if found := _median([timing["seconds"] / timing["work"] for timing in fits], work, SAME if same else SCALED):
            return found, False
        one = self.training(spec, instances)
        return one and one.by(models), True

    def method(self, spec: RunSpec, ids: Sequence[int]) -> Estimate | None:
        """The method of a run. Of earlier runs the nearest count: same settings before others, the same kind of model before others."""
        facts = self.facts(spec.original)
        if not facts:
            return None
        declared, known, trials = methods.info(spec.method), len(ids) - len(spec.earlier), durations.trials(spec)
        one = self.training(spec.original, known)
        if declared.share:  # of a retraining: it is known before
            kept = [i for i in ids if i not in set(spec.earlier)] if spec.parent else ids
            share = declared.share(spec.original.model_params, kept, spec.forget, seeds.derive("original", spec.original.seed))
            anew = self.training(spec.original, known - len(spec.forget))
            if anew is not None and share is not None:
                return anew.by(share)
        name, settings = [declared.name, declared.version], durations.settings(spec.params)
        every = [timing for timing in self.of("method") if timing["method"] == name]
        here = [timing for timing in every if timing["kind"] == facts["kind"]]

        def seconds(timing: Timing) -> float:
            return timing["seconds"] / timing["trials"] * trials / timing["instances"]

        same = [t for t in here if t["settings"] == settings]
        close = [t for t in same if _near(t["forget"], len(spec.forget)) and _near(t["instances"], known)]
        exact = close and all(t["trials"] == trials for t in close)
        for chosen, grade in ((close, SAME if exact else SCALED), (same, SCALED), (here, SCALED)):
            if found := _median([seconds(timing) for timing in chosen], known, grade):
                return found
        if one is None:
            return None
        shares = []
        for timing in every:
            paces = [t["seconds"] / t["work"] for t in self.of("training") if t["kind"] == timing["kind"]]
            if paces and timing["settings"] == settings:
                shares.append(timing["seconds"] / timing["trials"] * trials / (statistics.median(paces) * timing["work"]))
        return _median(shares, one.seconds, ROUGH)

    def evidence(self, spec: RunSpec, retrained: int) -> Estimate | None:
        """One collecting of evidence with so many retrained models."""
        facts = self.facts(spec.original)
        if not facts:
            return None
        every = self.of("evidence")
        here = [t for t in every if (t["kind"], t["dataset"]) == (facts["kind"], facts["dataset"])]
        close = [t for t in here if t["retrained"] == retrained and _near(t["forget"], len(spec.gone))]
        alike = [t for t in every if t["kind"] == facts["kind"]]
        for chosen, grade in ((close, SAME), (here, SCALED), (alike, SCALED), (every, ROUGH)):
            pace = [t["seconds"] / (t["total"] * (2 + t["retrained"])) for t in chosen]
            if found := _median(pace, facts["total"] * (2 + retrained), grade):
                return found
        return None

    def stage(self, what: str, spec: OriginalSpec) -> Estimate | None:
        """Loading data, the first map, or UMAP: the same dataset and model first, else the nearest size, scaled by instances."""
        facts = self.facts(spec)
        if not facts:
            return None
        fits, count = self.of(what), facts["total"]
        for key, grade in (("kind", SAME), ("data", SAME)):
            chosen = [t for t in fits if (t[key], t["dataset"]) == (facts[key], facts["dataset"])]
            if found := _median([t["seconds"] / t["total"] for t in chosen], count, grade):
                return found
        nearest = min((abs(math.log(t["total"] / count)) for t in fits), default=0.0)
        chosen = [t for t in fits if abs(math.log(t["total"] / count)) <= nearest + 1e-9]
        return _median([t["seconds"] / t["total"] for t in chosen], count, ROUGH)


def opening(store: Store, spec: OriginalSpec, place: str) -> Forecast:
    """Loading the data, training the original, its first map and, but for points in the plane, UMAP or PaCMAP."""
    log = Log(store, place)
    facts = log.facts(spec)
    named = [("loading", "loading data", 0.0, log.stage("loading", spec))]
    if not spec.weights:  # given, not trained
        named.append(("training", "training the original model", 0.02, log.training(spec, facts["train"]) if facts else None))
    named.append(("the map", "finding neighbours", 0.5, log.stage("map", spec)))
    if data.info(spec.dataset).modality != "points":
        layout = projection.automatic(facts["train"]) if facts else projection.UMAP
        named.append((projection.TITLES[layout], "laying out the map", 0.55, log.stage(layout, spec)))
    return Forecast(tuple(Step(part, stage, start, told, "original") for part, stage, start, told in named))


def unlearning(store: Store, spec: RunSpec, ids: Sequence[int], place: str) -> Forecast:
    """The method with the shadow models it needs, the retrained models that are not stored yet, and all evidence. ids: of the training split."""
    log, original = Log(store, place), spec.original
    declared, left = methods.info(spec.method), len(ids) - len(spec.gone)
    steps = []
    if "never_seen" in declared.needs:
        pool = PoolSpec.make(original, spec.dataset_hash, spec.params["pool"], device=spec.device)
        steps.append(_shadows(log, pool, len(ids), 0.02, "run"))
    stage = "trying α" if tuning.asked(spec.params) else declared.title
    steps.append(Step(METHOD, stage, 0.1, log.method(spec, ids), "run"))
    steps.append(Step(EVIDENCE, "collecting evidence", 0.75, log.evidence(spec, 0), "run"))
    absent = [not store.place("retrained", f"{spec.retrain_key}-{k}").exists() for k in range(spec.retrains)]
    named = f"{sum(absent)} retrained model{'s' if sum(absent) != 1 else ''}"
    one = log.training(original, left)
    for k in range(min(spec.retrains, ALONE)):
        steps.append(Step(named, "retraining", k / spec.retrains, one if absent[k] else NOTHING, "evidence"))
        steps.append(Step(EVIDENCE, "collecting evidence", (k + 0.8) / spec.retrains, log.evidence(spec, k + 1), "evidence"))
    if spec.retrains > ALONE:
        rest = sum(absent[ALONE:])
        told, most = log.together(original, left, rest) if rest else (NOTHING, False)
        steps.append(Step(named, "retraining", ALONE / spec.retrains, told, "evidence", most))
        last = (spec.retrains - 0.2) / spec.retrains
        steps.append(Step(EVIDENCE, "collecting evidence", last, log.evidence(spec, spec.retrains), "evidence"))
    return Forecast(tuple(steps), one if "train" not in declared.needs else None)


def shadows(store: Store, spec: PoolSpec, instances: int, place: str) -> Forecast:
    """The models of a shadow pool that are not stored yet. instances: of the training split, which is as large as what a shadow learns."""
    return Forecast((_shadows(Log(store, place), spec, instances, 0.0, "pool"),))


def _shadows(log: Log, spec: PoolSpec, instances: int, start: float, job: str) -> Step:
    missing = len(pools.lacking(log.store, spec))
    told, most = log.together(spec.original, instances, missing) if missing else (NOTHING, False)
    return Step(POOL, "training", start, told, job, most)


def whole(store: Store, spec: RunSpec, ids: Sequence[int], place: str) -> Forecast:
    """`unlearning`, after `opening` where the original is not there yet."""
    told = unlearning(store, spec, ids, place)
    there = (store.place("originals", spec.original.key) / "table.npz").exists()
    return told if there else Forecast((*opening(store, spec.original, place).steps, *told.steps), told.again)


def tried(store: Store, spec: OriginalSpec, place: str) -> bool:
    """Whether it is known what training this model takes, or that trial steps cannot tell."""
    log, info = Log(store, place), models.info(spec.model)
    facts = log.facts(spec)
    return bool(info.train and facts) or bool(info.prepare) or bool(facts and log.training(spec, facts["train"]))


def probe_key(spec: OriginalSpec, place: str) -> str:
    """Key of the job that tries what one training of `spec` takes; once for each place."""
    return digest("probe", [durations.dataset_digest(spec), durations.kind_digest(spec, ""), place])


def submit_probe(store: Store, spec: OriginalSpec, place: str) -> Job:
    """Queue a trial of a few training steps, behind everything that was asked for; asked again it gives the job that was."""
    key = probe_key(spec, place)
    return store.job(key) or store.submit(key, "probe", asdict(spec), title=f"Trial steps · {spec.model}", priority=BACKGROUND)


def probe(store: Store, spec: OriginalSpec, reporter: Reporter) -> None:
    """Load the data, take a few real training steps and keep what a whole training would take. Runs in the worker.

    An architecture that trains in a way of its own cannot be tried for a moment; of it only the data's facts are kept. One that learns a frozen
    encoder's features is not asked for (`tried`): computing them takes longer than the training.
    """
    from unlearn_core.models import ensemble

    reporter.stage("loading data", 0.0, 0.5)
    begun = time.perf_counter()
    dataset = data.load(spec.dataset, spec.dataset_params)
    durations.stage(store, "loading", spec, dataset, begun)
    reporter.stage("trying a few training steps", 0.5, 1.0)
    ids = dataset.splits.train
    seconds = ensemble.plan(models.info(spec.model), dataset, spec.model_params, [ids], spec.device).seconds
    if math.isfinite(seconds):
        durations.record(
            store, "trial", spec.device, seconds, **durations.about(spec, dataset), instances=len(ids), work=durations.work(spec, len(ids))
        )
