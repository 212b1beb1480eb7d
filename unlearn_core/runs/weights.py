"""Weights of one's own in the store: kept by content, checked against a dataset and an architecture, deleted. Imports no torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from unlearn_core import data, models
from unlearn_core.data.files import missing
from unlearn_core.errors import BadInput
from unlearn_core.models import own
from unlearn_core.runs import loading
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, digest
from unlearn_core.runs.store import Job, Store

FIELD = own.FIELD
WORD = (
    "The original was not trained here: its weights come from the file {title}. That it learned exactly the training split is taken on the word of "
    "whoever gave it, and cannot be checked."
)
RECIPE = (
    "The retrained models and the shadows are trained by the recipe here, which need not be the one that made the given model. Where they differ "
    "on instances that nobody asked to forget, the recipe may be the reason."
)


@dataclass(frozen=True)
class Kept:
    """Weights that are kept. numbers: how many they hold, in how many tensors."""

    key: str
    title: str
    tensors: int
    numbers: int


@dataclass(frozen=True)
class Answer:
    """Whether kept weights fit a spec, in one sentence."""

    fits: bool
    told: str


def keep(store: Store, content: bytes | Path, filename: str = "") -> Kept:
    """Check a safetensors file and keep a copy; the same content is kept once. Raises BadInput that says what is wrong with it."""
    title, beside = own.measure(content, filename), store.scratch()
    copy = beside / "weights.safetensors"
    try:
        # What is checked is what is kept, whatever happens to the file meanwhile; and cutting short a file that is mapped ends the process.
        copy.write_bytes(content) if isinstance(content, bytes) else shutil.copyfile(content, copy)
        found = own.read(copy, title)
        if not (store.place("weights", found.key) / "meta.json").exists():
            with store.writing("weights", found.key) as folder:
                copy.replace(folder / copy.name)
                meta = {"title": found.title, "tensors": len(found.tensors), "numbers": found.numbers}
                (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return _described(store, found.key)


def kept(store: Store) -> list[Kept]:
    """All weights that are kept, by title."""
    keys = [place.parent.name for place in (store.folder / "weights").glob("*/meta.json") if place.parent.name.isalnum()]
    return sorted((_described(store, key) for key in keys), key=lambda item: (item.title, item.key))


def delete(store: Store, key: str) -> None:
    """Remove kept weights. Originals that were opened with them stay, with all that was made from them."""
    store.discard("weights", key)


def path(store: Store, key: str) -> Path:
    """The file of kept weights. Raises BadInput if there is none."""
    found = store.place("weights", key) / "weights.safetensors"
    if not found.exists():
        raise BadInput(own.FIELD, f"there are no weights {key!r} in this store.", "Give the file again, or let the model be trained here.")
    return found


def refused(spec: OriginalSpec) -> str:
    """Why the architecture of `spec` takes no given weights; "" if it does."""
    try:
        own.refuse_others(models.info(spec.model))
    except BadInput as error:
        return error.problem
    return ""


def needing(store: Store, key: str) -> list[Job]:
    """Jobs that wait or run and need these weights."""
    return [job for job in store.jobs("original", "check") if not job.ended and job.spec["model_params"].get(own.FIELD) == key]


def notes(store: Store, spec: OriginalSpec, done: tuple[str, ...]) -> list[str]:
    """What whoever sees results of an original with given weights must know. done: what was changed to make them fit."""
    return [WORD.format(title=_described(store, spec.weights).title), RECIPE, *done]


# whether they fit ------------------------------------------------------------------------------------------


def check_key(spec: OriginalSpec) -> str:
    return digest("check", asdict(spec) | {"seed": None, "layout_version": None})


def submit_check(store: Store, spec: OriginalSpec) -> Job | None:
    """Queue the check of the weights that `spec` names; None if the answer is there."""
    if answer(store, spec):
        return None
    key = check_key(spec)
    job = store.job(key)
    if job and job.status == "done":  # its answer was removed by hand
        store.delete(key)
    return store.submit(key, "check", asdict(spec), "Check of given weights")


def answer(store: Store, spec: OriginalSpec) -> Answer | None:
    """The answer of a check that is done, or None."""
    found = store.place("checks", check_key(spec)) / "answer.json"
    return Answer(**json.loads(found.read_text(encoding="utf-8"))) if found.exists() else None


def check(store: Store, spec: OriginalSpec, reporter: Reporter) -> Answer:
    """Build the architecture, load the weights, look at every training and test instance; the answer is stored."""
    import torch

    from unlearn_core.models import training
    from unlearn_core.models.own_fit import check_answers, fit

    reporter.stage("loading data", 0.0, 0.2)
    if missing(data.info(spec.dataset).files):
        raise BadInput(
            "dataset", "the data is not on this machine yet.", "Open the dataset once with a trained model; then weights can be checked."
        )
    file = path(store, spec.weights)  # where it is gone there is no answer, since it may be given again
    dataset, info = loading.load(store, spec, reporter), models.info(spec.model)
    reporter.stage("fitting the weights", 0.2, 1.0)
    try:
        fitted, right = fit(file, info, dataset, spec.model_params, spec.device), {}
        for name in ("train", "test"):
            ids = getattr(dataset.splits, name)
            check_answers(training.predict(fitted.model, dataset.inputs[ids], spec.device))
            x, y = training.tensors(dataset, spec.device)
            right[name] = training.accuracy(fitted.model, x, y, torch.as_tensor(ids, device=spec.device))
    except BadInput as error:
        found = Answer(False, f"{error.problem} {error.fix}")
    else:
        if dataset.task == "number":
            told = (
                f"They fit: {right['train']:.1%} of the training numbers' spread and {right['test']:.1%} of the test numbers' is explained."
            )
        else:
            how = "classified" if dataset.task == "classes" else "answered"
            told = f"They fit: {right['train']:.1%} of training instances and {right['test']:.1%} of test instances are {how} right."
        found = Answer(True, " ".join([told, *fitted.notes]))
    with store.writing("checks", check_key(spec)) as folder:
        (folder / "answer.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def _described(store: Store, key: str) -> Kept:
    return Kept(key, **json.loads((path(store, key).parent / "meta.json").read_text(encoding="utf-8")))
