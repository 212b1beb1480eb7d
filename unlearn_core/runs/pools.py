"""The shadow pool on disk: train what is missing, describe every training instance, hand the models' answers to a judge."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core import data, models, seeds
from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.evidence import pool_attacks
from unlearn_core.evidence.attacks import confidences
from unlearn_core.models import pool
from unlearn_core.models.pool import CHOOSE, ROLES, Shadows
from unlearn_core.runs import durations, loading
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import PoolSpec
from unlearn_core.runs.store import Store, pack, unpack


@dataclass(frozen=True)
class Table:
    """What a pool says of every training instance before anything is chosen, from the choosing half only.

    meta: spec, size of a subset, share, seconds, how the models were trained. arrays in the order of the training ids:
    ids; memorisation (share), difficulty and exposure (pool_attacks) [n] float32; left_out [n]: models that never saw it.
    """

    key: str
    spec: PoolSpec
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


def load(store: Store, key: str) -> Table | None:
    """The table of a stored pool, or None."""
    path = store.place("pools", key) / "table.npz"
    if not path.exists():
        return None
    meta, arrays = unpack(path)
    return Table(key, PoolSpec.from_dict(meta["spec"]), meta, arrays)


def lacking(store: Store, spec: PoolSpec) -> list[tuple[str, int]]:
    """Role and number of each model of a pool that is not stored yet."""
    wanted = [(role, k) for role in ROLES for k in range(spec.members // 2)]
    return [(role, k) for role, k in wanted if not store.place("shadows", spec.member_key(role, k)).exists()]


def largest(store: Store, spec: PoolSpec) -> str | None:
    """Key of the stored pool with most models among those that differ from `spec` in their number only, or None."""
    counts = [int(folder.name.rsplit("-", 1)[1]) for folder in (store.folder / "pools").glob(f"{spec.base}-*")]
    return replace(spec, members=max(counts)).key if counts else None


def prepare(store: Store, spec: PoolSpec, reporter: Reporter, start: float = 0.0, stop: float = 1.0) -> Table:
    """Train the models of a pool that are not stored yet, keeping each as it finishes; progress covers start..stop."""
    found = load(store, spec.key)
    if found:
        return found
    from unlearn_core.models import ensemble, storage, training
    from unlearn_core.models.device import stopwatch

    dataset = data.load(spec.original.dataset, spec.original.dataset_params)
    if dataset.hash != spec.dataset_hash:
        raise BadInput("dataset", f"{dataset.name} no longer has the contents that this pool names.", "Open the dataset again.")
    dataset = loading.learned(store, spec.original, dataset, reporter, start, start)
    info, params = models.info(spec.original.model), spec.original.model_params
    parts = {role: training_ids(spec, dataset, role) for role in ROLES}
    missing = lacking(store, spec)
    passed, way = stopwatch(spec.device), ""
    if missing:
        rows = [parts[role][k] for role, k in missing]
        plan = ensemble.plan(info, dataset, params, rows, spec.device)
        way = plan.words

        def keep(place: int, model) -> None:
            key = spec.member_key(*missing[place])
            with store.writing("shadows", key) as folder:
                storage.save(folder / "model.safetensors", model, {"shadow": key})
                np.save(folder / "logits.npy", training.predict(model, dataset.inputs, spec.device))
                (folder / "facts.json").write_text(json.dumps({"original": asdict(spec.original)}), encoding="utf-8")

        progress = reporter.stage(f"training {len(missing)} shadow models {way}", start, stop)
        ensemble.train_many(
            info,
            dataset,
            params,
            rows,
            [seeds.derive("pool", spec.seed, role, k) for role, k in missing],
            spec.device,
            progress,
            keep,
            plan,
        )
        durations.trained(store, spec.original, dataset, len(rows[0]), spec.device, passed(), len(rows))
    facts = {
        "spec": spec.to_dict(),
        "size": len(parts[CHOOSE][0]),
        "universe": len(_universe(spec, dataset)),
        "seconds": passed(),
        "trained": len(missing),
        "way": way,
    }
    with store.writing("pools", spec.key) as folder:
        (folder / "table.npz").write_bytes(pack(facts, describe(shadows(store, spec, dataset, CHOOSE), dataset)))
    return load(store, spec.key)


def cost(table: Table) -> float | None:
    """Seconds that all models of a pool take, counted up from those that were trained for it; None where all were there already."""
    trained = table.meta["trained"]
    return table.meta["seconds"] * table.spec.members / trained if trained else None


def describe(half: Shadows, dataset: Dataset) -> dict[str, np.ndarray]:
    """Memorisation, difficulty and exposure of every training instance from one half of a pool; see `Table`."""
    ids = dataset.splits.train
    labels, keep = dataset.labels[ids], half.keep[:, ids]
    logits = half.logits[:, ids]
    phi = confidences(logits, labels)
    columns = {
        "memorisation": pool_attacks.memorisation(logits.argmax(axis=-1) == labels, keep),
        "difficulty": pool_attacks.expected_difficulty(phi, keep),
        "exposure": pool_attacks.exposure(phi, keep),
    }
    return {"ids": ids, "left_out": (~keep).sum(axis=0)} | {name: values.astype(np.float32) for name, values in columns.items()}


def shadows(store: Store, spec: PoolSpec, dataset: Dataset, role: str) -> Shadows:
    """The answers of one half of a stored pool."""
    logits = [np.load(folder / "logits.npy", allow_pickle=False) for folder in folders(store, spec, role)]
    return Shadows(np.stack(logits), pool.membership(training_ids(spec, dataset, role), len(dataset)))


def folders(store: Store, spec: PoolSpec, role: str) -> list[Path]:
    """Where the models of one half are stored."""
    return [store.place("shadows", spec.member_key(role, k)) for k in range(spec.members // 2)]


def training_ids(spec: PoolSpec, dataset: Dataset, role: str) -> list[np.ndarray]:
    """What each model of one half was trained on, sorted ids."""
    count = pool.size(dataset.splits, spec.universe, spec.share)
    return pool.subsets(_universe(spec, dataset), count, spec.members // 2, role, spec.seed)


def _universe(spec: PoolSpec, dataset: Dataset) -> np.ndarray:
    return pool.universe(dataset.splits, spec.universe)
