"""The demo pack: originals and one run that the project's own pipeline built, so that the first screen waits for nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from unlearn_core import data
from unlearn_core.runs import api
from unlearn_core.runs.spec import OriginalSpec, RunSpec
from unlearn_core.runs.store import Store

PACK = Path(__file__).resolve().parents[2] / "assets" / "demo"
DATASETS = ("digits", "breast_cancer", "wine", "moons")


def default_spec(dataset: str = DATASETS[0], device: str = "cpu") -> OriginalSpec:
    """The original that is opened when nothing else was asked for."""
    return OriginalSpec.make(dataset, device=device)


def example_spec() -> RunSpec:
    """The run that the overview shows: the planted wrong labels of the moons, forgotten by stable fine-tuning."""
    original = default_spec("moons")
    dataset = data.load(original.dataset, original.dataset_params)
    return RunSpec.make(original, dataset.hash, dataset.splits.train, len(dataset), dataset.planted["mislabelled"], "finetune", retrains=5)


def example_key(pack: Path = PACK) -> str | None:
    """Key of the pack's run; None without a pack."""
    found = sorted(pack.glob("runs/*/spec.json"))
    return found[0].parent.name if found else None


def open_demo(store: Store, pack: Path = PACK) -> None:
    """Copy the pack into the store, once: what a person deletes stays deleted. A missing pack only costs waiting."""
    listed = store.folder / "demo.json"
    known = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else []
    for kind, proof in (("originals", "table.npz"), ("runs", "evidence.npz")):
        for folder in sorted(path.parent for path in pack.glob(f"{kind}/*/{proof}")):
            if folder.name not in known:
                known.append(folder.name)
                with store.writing(kind, folder.name) as scratch:
                    shutil.copytree(folder, scratch, dirs_exist_ok=True)
                if kind == "runs":
                    spec = RunSpec.from_dict(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
                    api.record_done(store, spec)
    store.replace_file(listed, json.dumps(known).encode())


def build(pack: Path = PACK) -> None:
    """Build the pack anew: `python -m unlearn_core.runs.demo`."""
    import tempfile

    from unlearn_core.models.device import settle
    from unlearn_core.runs.pipeline import Pipeline
    from unlearn_core.runs.progress import Reporter

    settle()
    shutil.rmtree(pack, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        store, quiet = Store(scratch), Reporter()
        pipeline = Pipeline(store)
        for dataset in DATASETS:
            found = pipeline.prepare(default_spec(dataset), quiet)
            shutil.copytree(found.folder, pack / "originals" / found.key)
        spec = example_spec()
        folder = pipeline.unlearn(spec, quiet)
        pipeline.add_retrained(spec, quiet)
        shutil.copytree(folder, pack / "runs" / spec.key)


if __name__ == "__main__":
    build()
