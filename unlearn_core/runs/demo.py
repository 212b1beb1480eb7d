"""The demo pack: originals that the project's own pipeline built, so that the first map waits for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store

PACK = Path(__file__).resolve().parents[2] / "assets" / "demo"
DATASETS = ("digits", "breast_cancer", "wine")


def default_spec(dataset: str = DATASETS[0], device: str = "cpu") -> OriginalSpec:
    """The original that is opened when nothing else was asked for."""
    return OriginalSpec.make(dataset, device=device)


def open_demo(store: Store, pack: Path = PACK) -> None:
    """Copy the pack's originals into the store, unless they are there. A missing pack only costs waiting."""
    for folder in sorted(pack.glob("*/table.npz")):
        key = folder.parent.name
        if not store.place("originals", key).exists():
            with store.writing("originals", key) as scratch:
                shutil.copytree(folder.parent, scratch, dirs_exist_ok=True)


def build(pack: Path = PACK) -> None:
    """Build the pack anew: `python -m unlearn_core.runs.demo`."""
    import tempfile

    from unlearn_core.models.device import settle
    from unlearn_core.runs.originals import prepare
    from unlearn_core.runs.progress import Reporter

    settle()
    shutil.rmtree(pack, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(scratch)
        for dataset in DATASETS:
            found = prepare(store, default_spec(dataset), Reporter())
            shutil.copytree(found.folder, pack / found.key)


if __name__ == "__main__":
    build()
