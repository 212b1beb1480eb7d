"""Deleting a person's own data with everything that was made from it: models, maps with their pictures and texts, runs, saved sets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data import own
from unlearn_core.errors import BadInput
from unlearn_core.runs import loading
from unlearn_core.runs.spec import OriginalSpec, PoolSpec, RunSpec
from unlearn_core.runs.store import Job, Store

NAMES = {
    "originals": ("model with its map", "models with their maps"),
    "runs": ("run", "runs"),
    "retrained": ("retrained model", "retrained models"),
    "shadows": ("shadow model", "shadow models"),
    loading.FOLDER: ("file of features", "files of features"),
    "sets": ("saved selection", "saved selections"),
}


@dataclass(frozen=True)
class Made:
    """What a store holds that was made from one import. kept: the import itself, None if it was deleted before.

    folders: of every kind; files: live curves of jobs, features; jobs: rows of the index, `busy` those that wait or run; sets: tokens of forget sets.
    """

    key: str
    kept: own.Kept | None
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    jobs: tuple[Job, ...]
    sets: tuple[str, ...]

    @property
    def busy(self) -> list[Job]:
        return [job for job in self.jobs if not job.ended]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind in NAMES."""
        kinds = [place.parent.name for place in (*self.folders, *self.files)]
        return {kind: kinds.count(kind) for kind in NAMES} | {"sets": len(self.sets)}

    @property
    def size(self) -> int:
        """Bytes of all files, the import's own too."""
        places = [*self.folders, *([own.folder() / self.key] if self.kept else [])]
        files = (path for place in places for path in place.rglob("*"))
        return sum(path.stat().st_size for path in [*files, *self.files] if path.is_file())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that the command line prints."""
        about = {"title": self.kept.title, "dataset": self.kept.name, "instances": self.kept.instances} if self.kept else {"title": None}
        return {"key": self.key, **about, "bytes": self.size, "made": self.counts, "busy": len(self.busy)}

    def __str__(self) -> str:
        """Such as "1 model with its map, 2 runs and 6 retrained models", or "nothing"."""
        told = [f"{count:,} {NAMES[kind][count != 1]}" for kind, count in self.counts.items() if count]
        if not told:
            return "entries of jobs" if self.jobs else "nothing"
        return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def made_from(store: Store, key: str) -> Made:
    """Everything in the store that was made from the import `key`, whether that is still there or not.

    Retrained and shadow models that an earlier version of the program made, without saying for what, are in it only if a run or pool names them.
    """
    return _found(store, key, store.jobs())


def leftovers(store: Store) -> list[Made]:
    """What was made from imports that are not there any more."""
    there = {kept.key for kept in own.kept()}
    named = {name for job in store.jobs() for name in _imports(job.spec)} | {name for _, spec in _stored(store) for name in _imports(spec)}
    return [made_from(store, key) for key in sorted(named - there)]


def delete(store: Store, key: str) -> Made:
    """Delete an import and everything that was made from it, and say what that was. Raises BadInput while a job needs it, or if there is nothing.

    Until the very end the import is listed, so that whoever is interrupted can do it again. Files are removed, not overwritten on the disk.
    """
    gone = store.scratch()
    try:
        with store.erasing() as erase:  # nobody can queue or claim a job meanwhile
            made = _found(store, key, store.jobs())
            _check_idle(made)
            for at, place in enumerate([*made.folders, *made.files, *([own.folder() / key] if made.kept else [])]):
                _move(place, gone / str(at))
            erase([job.key for job in made.jobs], list(made.sets))
    finally:
        shutil.rmtree(gone, ignore_errors=True)
    store.compact()  # also where nothing is left: an earlier deletion may not have come so far
    if not (made.kept or made.folders or made.files or made.jobs or made.sets):
        raise BadInput("data", f"nothing here comes from imported data {key!r}.", "Give a key that `data list` shows.")
    return made


def delete_data_only(store: Store, key: str) -> None:
    """Delete an import but nothing that was made from it. Raises BadInput while a job needs it, or if there is none."""
    with store.erasing():
        _check_idle(_found(store, key, store.jobs()))
        own.delete(key)


def _check_idle(made: Made) -> None:
    if count := len(made.busy):
        raise BadInput(
            "data",
            f"{'a job that needs it is' if count == 1 else f'{count:,} jobs that need it are'} waiting or under way.",
            "Let them end, or cancel them.",
        )


def _move(place: Path, target: Path) -> None:
    try:
        place.replace(target)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BadInput("data", f"{place.name} cannot be removed ({error.strerror}).", "Close what uses it, then delete again.") from None


def _found(store: Store, key: str, listed: list[Job]) -> Made:
    jobs = [job for job in listed if key in set(_imports(job.spec))]
    named = [(job.key, job.spec) for job in jobs] + [(name, spec) for name, spec in _stored(store) if key in set(_imports(spec))]
    roots = {name.partition("-")[0] for name, _ in named}
    for _, spec in named:
        with suppress(KeyError, TypeError):  # of another version
            roots |= _roots(spec)
    places = [path for path in store.folder.glob("*/*") if path.parent.name != own.folder().name and not path.name.startswith(".")]
    mine = [path for path in places if path.name.partition(".")[0].partition("-")[0] in roots]
    kept = next((item for item in own.kept() if item.key == key), None)
    return Made(
        key,
        kept,
        tuple(path for path in mine if path.is_dir()),
        tuple(path for path in mine if path.is_file()),
        tuple(jobs),
        tuple(token for token, original in store.forget_set_tokens() if original in roots),
    )


def _roots(spec: dict[str, Any]) -> set[str]:
    """What the keys of everything begin with that a job of this spec computes or uses."""
    if "run" in spec:  # of an audit, or a plane
        return _of_run(RunSpec.from_dict(spec["run"])) | (_of_pool(PoolSpec.from_dict(spec["pool"])) if "pool" in spec else set())
    if "members" in spec:
        return _of_pool(PoolSpec.from_dict(spec))
    if "forget" in spec:
        return _of_run(RunSpec.from_dict(spec))
    return {OriginalSpec.from_dict(spec.get("original", spec)).key}


def _of_run(spec: RunSpec) -> set[str]:
    found = {spec.original.key}
    for request in spec.requests:  # a method may have begun a pool for its targets
        found |= {request.key, request.retrain_key, PoolSpec.make(spec.original, spec.dataset_hash, device=request.device).base}
    return found


def _of_pool(spec: PoolSpec) -> set[str]:
    return {spec.base, spec.original.key}


def _stored(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys and specs of what is there, but for what is only half written; the command line computes without a job, and models stay when their run is deleted."""
    for pattern in ("runs/[!.]*/spec.json", "retrained/[!.]*/facts.json", "shadows/[!.]*/facts.json"):
        for path in store.folder.glob(pattern):
            with suppress(FileNotFoundError):  # removed just now
                yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))
    for pattern in ("originals/[!.]*/table.npz", "pools/[!.]*/table.npz", f"{loading.FOLDER}/[!.]*.npz"):
        for path in store.folder.glob(pattern):
            with suppress(FileNotFoundError), np.load(path, allow_pickle=False) as stored:
                name = path.stem if path.parent.name == loading.FOLDER else path.parent.name
                yield name, json.loads(stored["__meta__"].tobytes())["spec"]


def _imports(spec: Any) -> Iterator[str]:
    """Keys of the imports that a spec names, wherever in it."""
    if isinstance(spec, dict):
        if own_key := (spec.get("dataset_params") or {}).get(own.KEY.name):
            yield own_key
        for part in spec.values():
            yield from _imports(part)
