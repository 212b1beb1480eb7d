"""The worker process: warm, one job at a time, the person's requests first.

Started by the app as `python -m unlearn_core.runs.worker --store DIR`. It holds a lock on the store,
so a second one ends at once. It outlives a restart of the app's server for as long as there is work.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from unlearn_core.errors import BadInput, Cancelled, Preempted
from unlearn_core.runs import api
from unlearn_core.runs.store import BACKGROUND, Job, Store

POLL = 0.02
LOOK = 1.0  # seconds between looks for what was deleted, while idle
ORPHAN_PATIENCE = 10.0
ALREADY_RUNNING = 3
STATE = "worker.json"


def lock(store: Store) -> sqlite3.Connection | None:
    """Hold the store's worker lock until this process ends, however it ends; None if another one holds it."""
    held = sqlite3.connect(store.folder / "worker.lock", timeout=0.2, isolation_level=None)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        held.close()
        return None
    return held


def locked(store: Store) -> bool:
    """Whether some worker serves this store."""
    held = lock(store)
    if held:
        held.close()
    return held is None


def announce(store: Store, state: str, **facts: Any) -> None:
    """Tell the app who works here: pid, state ("starting" or "ready"), devices, and warm once a first tiny run went through."""
    store.replace_file(store.folder / STATE, json.dumps({"pid": os.getpid(), "state": state} | facts).encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parent = os.getppid()  # before the slow imports, during which the app may end
    store = Store(parser.parse_args(arguments).store)
    held = lock(store)
    if held is None:
        return ALREADY_RUNNING
    announce(store, "starting")
    # Nothing can be ours yet; a dead worker's process number may well be the same as this one's (containers).
    store.fail_orphans(None, "The worker process stopped while it computed this; nothing else was lost. Start it again.")
    store.sweep()

    from unlearn_core.models.device import devices, settle
    from unlearn_core.runs.layout_process import LayoutProcess
    from unlearn_core.runs.pipeline import Pipeline

    settle()
    announce(store, "ready", devices=devices())
    layout = LayoutProcess()  # only now, so that its compiling does not slow the start
    warm_up()
    announce(store, "ready", devices=devices(), warm=True)
    pipeline = Pipeline(store, layout)
    idle_since = looked = time.monotonic()
    try:
        while True:
            job = store.claim(os.getpid())
            if job:
                work(store, pipeline, job)
                idle_since = time.monotonic()
            elif os.getppid() != parent and time.monotonic() - idle_since > ORPHAN_PATIENCE:
                return 0
            else:
                if time.monotonic() - looked > LOOK:
                    pipeline.let_go()
                    looked = time.monotonic()
                time.sleep(POLL)
    finally:
        layout.close()


def warm_up() -> None:
    """Go through one tiny run in a store that is thrown away: the first real one finds every library loaded."""
    import tempfile

    from unlearn_core.runs.originals import prepare
    from unlearn_core.runs.pipeline import Pipeline
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import OriginalSpec

    spec = OriginalSpec.make("wine", "softmax", model_params={"epochs": 1})
    with tempfile.TemporaryDirectory() as folder:
        scratch = Pipeline(Store(folder), layout=lambda features, rows, distances, seed, tick: features[:, :2])
        found = prepare(scratch.store, spec, Reporter(), scratch.layout)
        scratch.unlearn(api.request(found, found.ids[:30].tolist(), "finetune", {"epochs": 1}, retrains=3), Reporter())


def work(store: Store, pipeline: Any, job: Job) -> None:
    """Do one job and record its end in plain words; nothing that goes wrong in it ends the worker."""
    import torch

    from unlearn_core.runs.progress import StoreReporter

    if job.kind != "evidence":  # which goes on with the curves of its run
        store.curves_path(job.key).unlink(missing_ok=True)
    reporter = StoreReporter(store, job.key, yields=job.priority == BACKGROUND)
    try:
        _do(store, pipeline, job, reporter)
    except Cancelled:
        store.finish(job.key, "cancelled")
    except Preempted:
        store.requeue(job.key, job.kind, job.priority)
    except BadInput as error:
        store.finish(job.key, "failed", str(error))
    except torch.OutOfMemoryError:
        store.finish(
            job.key, "failed", "The GPU ran out of memory. Choose the CPU, a smaller batch or a smaller model.", traceback.format_exc()
        )
        torch.cuda.empty_cache()
    except MemoryError:
        store.finish(job.key, "failed", "This machine ran out of memory. Choose a smaller model or dataset.", traceback.format_exc())
    except Exception as error:  # the one place where any failure becomes the job's end, with its cause
        store.finish(
            job.key, "failed", f"Something went wrong inside the computation: {type(error).__name__}: {error}", traceback.format_exc()
        )


def _do(store: Store, pipeline: Any, job: Job, reporter: Any) -> None:
    from unlearn_core.runs import forecast, originals, pools, weights
    from unlearn_core.runs.spec import AuditSpec, OriginalSpec, PoolSpec, RunSpec

    if job.kind == "original":
        pipeline.prepare(OriginalSpec.from_dict(job.spec), reporter)
    elif job.kind == "layout":
        originals.add_layout(store, OriginalSpec.from_dict(job.spec["original"]), job.spec["layout"], reporter, pipeline.layout)
    elif job.kind == "plane":
        pipeline.plane(RunSpec.from_dict(job.spec["run"]), tuple(job.spec["triplet"]), reporter)
    elif job.kind == "attribution" and "run" in job.spec:
        pipeline.run_attribution(RunSpec.from_dict(job.spec["run"]), reporter)
    elif job.kind == "attribution":
        pipeline.attribution(OriginalSpec.from_dict(job.spec["original"]), job.spec["ids"], reporter)
    elif job.kind == "check":
        weights.check(store, OriginalSpec.from_dict(job.spec), reporter)
    elif job.kind == "probe":
        forecast.probe(store, OriginalSpec.from_dict(job.spec), reporter)
    elif job.kind == "pool":
        pools.prepare(store, PoolSpec.from_dict(job.spec), reporter)
    elif job.kind == "audit":
        pipeline.audit(AuditSpec.from_dict(job.spec), reporter)
    elif job.kind == "run":
        spec = RunSpec.from_dict(job.spec)
        pipeline.unlearn(spec, reporter)
        if spec.retrains:
            # The person sees the first evidence now; the reference models may wait for more urgent work.
            store.requeue(job.key, "evidence", BACKGROUND)
            return
    else:
        pipeline.add_retrained(RunSpec.from_dict(job.spec), reporter)
    store.finish(job.key, "done")


if __name__ == "__main__":
    sys.exit(main())
