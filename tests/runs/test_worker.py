"""The worker process and the handle on it: ends in plain words, kills, cancels, priorities, restarts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from unlearn_core.errors import BadInput, Cancelled, Preempted
from unlearn_core.runs import api, worker
from unlearn_core.runs import service as service_module
from unlearn_core.runs.progress import read_curves, write_curves
from unlearn_core.runs.service import Service
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import BACKGROUND, Store

ROOT = Path(__file__).resolve().parents[2]
# Trains for minutes unless it is stopped.
ENDLESS = {"dataset_params": {"instances": 20_000}, "model_params": {"width": 64, "epochs": 2000, "batch": 16}}


def wait(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
    return found


def endless(store, dataset="moons", seed=0):
    """Submit an original that takes minutes; returns its key."""
    return api.submit_original(store, OriginalSpec.make(dataset, seed=seed, **ENDLESS)).key


def training(store, key):
    job = store.job(key)
    return job.status == "running" and job.stage.startswith("training") and job


# one job, in this process --------------------------------------------------------------------------------


class Fails:
    def __init__(self, error):
        self.error = error

    def prepare(self, spec, reporter):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        (MemoryError(), "failed", "This machine ran out of memory. Choose a smaller model or dataset."),
        (BadInput("lr", "it is too large.", "Give less."), "failed", "lr: it is too large. Give less."),
        (KeyError("x"), "failed", "Something went wrong inside the computation: KeyError: 'x'"),
        (AssertionError(), "failed", "Something went wrong inside the computation: AssertionError: "),
        (RecursionError("deep"), "failed", "Something went wrong inside the computation: RecursionError: deep"),
        (Cancelled(), "cancelled", ""),
        (Preempted(), "queued", ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_goes_wrong_becomes_the_jobs_end(tmp_path, error, status, cause):
    store = Store(tmp_path)
    api.submit_original(store, OriginalSpec.make("moons"))
    worker.work(store, Fails(error), store.claim(os.getpid()))
    job = store.jobs()[0]
    assert (job.status, job.cause) == (status, cause)
    if status == "failed" and not isinstance(error, BadInput):
        assert "Traceback" in job.details


def test_running_out_of_gpu_memory_ends_in_a_plain_message(tmp_path):
    import torch

    store = Store(tmp_path)
    api.submit_original(store, OriginalSpec.make("moons"))
    worker.work(store, Fails(torch.OutOfMemoryError("CUDA out of memory")), store.claim(1))
    assert store.jobs()[0].cause == "The GPU ran out of memory. Choose the CPU, a smaller batch or a smaller model."


def test_a_job_that_starts_again_shows_only_its_own_curves(tmp_path):
    store = Store(tmp_path)
    key = api.submit_original(store, OriginalSpec.make("moons")).key
    write_curves(store, key, [{"fraction": 0.9, "loss": 5.0}])
    worker.work(store, Fails(MemoryError()), store.claim(1))
    assert read_curves(store, key) == []


def test_only_one_worker_serves_a_store(tmp_path):
    store = Store(tmp_path)
    held = worker.lock(store)
    assert held is not None and worker.lock(store) is None
    assert worker.lock(Store(tmp_path / "other")) is not None
    command = [sys.executable, "-m", "unlearn_core.runs.worker", "--store", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == worker.ALREADY_RUNNING
    assert not (tmp_path / worker.STATE).exists()  # it did not claim to work here
    held.close()
    assert worker.lock(store) is not None


# the real process ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A store with a running service; a job of a worker that died earlier lies in it."""
    store = Store(tmp_path_factory.mktemp("busy"))
    store.submit("dead", "original", {})
    store.claim(os.getpid())  # a number that is alive, as after a restart of a container
    (store.folder / "runs").mkdir()
    (store.folder / "runs" / ".writing-999999999-half").mkdir()
    service = Service(store)
    yield store, service
    service.close()
    assert service.process.poll() is not None


@pytest.fixture(scope="module")
def trained(busy):
    """An original that the worker trained."""
    store, _ = busy
    spec = OriginalSpec.make("moons", dataset_params={"instances": 300}, model_params={"width": 32, "epochs": 300})
    job = api.submit_original(store, spec)
    wait(lambda: store.job(job.key).ended)
    assert store.job(job.key).status == "done", store.job(job.key).details
    assert api.submit_original(store, spec) is None
    return api.originals.load(store, spec.key)


def test_a_new_worker_ends_what_a_dead_one_left(busy, trained):
    store, service = busy
    job = store.job("dead")
    assert (job.status, job.cause) == (
        "failed",
        "The worker process stopped while it computed this; nothing else was lost. Start it again.",
    )
    assert not list((store.folder / "runs").glob(".writing-*"))
    assert service.worker()["state"] == "ready" and "cpu" in service.devices()
    assert service.worker()["pid"] == service.process.pid


def test_a_run_shows_progress_and_then_its_evidence(busy, trained):
    store, _ = busy
    spec = api.request(trained, trained.ids[:6], "nabla_tau")
    job = api.submit_run(store, spec)
    assert job.status in ("queued", "running")
    wait(lambda: store.job(job.key).status == "done")
    run = api.load_run(store, job.key)
    assert run.retrained == 3 and run.spec == spec
    points = read_curves(store, job.key)
    assert any("loss" in point for point in points) and any("retain_accuracy" in point for point in points)
    again = api.submit_run(store, spec)
    assert again.status == "done" and again.created == job.created


def test_a_persons_run_goes_before_background_evidence_which_is_finished_afterwards(busy, trained):
    store, _ = busy
    slow = api.request(trained, trained.ids[10:16], "finetune", {"epochs": 1}, retrains=8)
    api.submit_run(store, slow)
    wait(lambda: (job := store.job(slow.key)).kind == "evidence" and job.stage.startswith("retraining"))
    first = api.load_run(store, slow.key)
    assert first is not None and first.retrained < 8  # its result is there long before
    quick = api.request(trained, trained.ids[20:24], "finetune", {"epochs": 1}, retrains=0)
    api.submit_run(store, quick)
    wait(lambda: store.job(quick.key).status == "done")
    assert not store.job(slow.key).ended
    wait(lambda: store.job(slow.key).status == "done")
    assert store.job(slow.key).finished > store.job(quick.key).finished
    assert api.load_run(store, slow.key).retrained == 8


def test_cancel_ends_a_waiting_and_a_running_job_within_a_second(busy, trained):
    store, service = busy
    pid = service.worker()["pid"]
    running, waiting = endless(store), endless(store, seed=1)
    wait(lambda: training(store, running))
    store.cancel(waiting)
    assert store.job(waiting).status == "cancelled"
    asked = time.monotonic()
    store.cancel(running)
    wait(lambda: store.job(running).status == "cancelled")
    assert time.monotonic() - asked < 1.5
    assert service.worker()["pid"] == pid  # it heard the request: nothing had to be killed
    assert api.originals.load(store, running) is None


def test_deleting_a_running_job_ends_it(busy, trained):
    store, _ = busy
    key = endless(store, seed=2)
    wait(lambda: training(store, key))
    store.delete(key)
    after = api.request(trained, trained.ids[30:33], "finetune", {"epochs": 1}, retrains=0)
    api.submit_run(store, after)
    wait(lambda: store.job(after.key).status == "done")
    assert store.job(key) is None


def test_a_killed_worker_fails_its_job_plainly_and_is_replaced(busy, trained):
    store, service = busy
    key = endless(store, seed=3)
    job = wait(lambda: training(store, key))
    helpers = psutil.Process(job.worker).children(recursive=True)
    os.kill(job.worker, signal.SIGKILL)
    wait(lambda: store.job(key).status == "failed")
    assert "signal 9" in store.job(key).cause and "start it again" in store.job(key).cause
    wait(lambda: not any(helper.is_running() and helper.status() != psutil.STATUS_ZOMBIE for helper in helpers), 10)
    spec = api.request(trained, trained.ids[40:43], "finetune", {"epochs": 1}, retrains=0)
    api.submit_run(store, spec)
    done = wait(lambda: (found := store.job(spec.key)).status == "done" and found)
    assert done and service.worker()["pid"] not in (None, job.worker)
    assert api.submit_original(store, OriginalSpec.make("moons", seed=3, **ENDLESS)).status in ("queued", "running")
    store.cancel(key)
    wait(lambda: store.job(key).status == "cancelled")


def test_a_stage_that_hears_nothing_is_ended_with_its_process(busy, trained):
    """A stopped process stands for a library call that never looks up; no patience could make it react."""
    store, service = busy
    key = endless(store, seed=4)
    job = wait(lambda: training(store, key))
    os.kill(job.worker, signal.SIGSTOP)
    asked = time.monotonic()
    store.cancel(key)
    wait(lambda: store.job(key).status == "cancelled", 10)
    assert time.monotonic() - asked < 3.0
    wait(lambda: service.worker()["pid"] != job.worker and service.worker()["state"] == "ready")
    spec = api.request(trained, trained.ids[50:53], "finetune", {"epochs": 1}, retrains=0)
    api.submit_run(store, spec)
    wait(lambda: store.job(spec.key).status == "done")
    assert store.job(key).status == "cancelled"


SERVER = """
import sys, time
from unlearn_core.runs import service as service_module
from unlearn_core.runs.service import Service
from unlearn_core.runs.store import Store
service = Service(Store(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""


def test_a_server_that_dies_loses_nothing(tmp_path, small, store):
    import shutil

    own = Store(tmp_path)
    shutil.copytree(small.folder, own.place("originals", small.key))
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    pid, service = None, None
    try:
        assert server.stdout.readline() == b"up\n"
        wait(lambda: (own.folder / worker.STATE).exists())
        spec = api.request(small, small.ids[:5], "finetune", {"epochs": 300}, retrains=4)
        key = api.submit_run(own, spec).key
        pid = wait(lambda: own.job(key).worker)
        server.kill()
        server.wait()
        assert not own.job(key).ended
        service = Service(own)
        # The service never takes over: the old worker holds the lock and finishes.
        wait(lambda: own.job(key).status == "done")
        assert api.load_run(own, key).retrained == 4
        assert service.worker()["pid"] == pid and psutil.pid_exists(pid)
        own.submit("x", "original", {"dataset": "nonsense"})
        wait(lambda: own.job("x").status == "failed")  # and goes on serving the new server
        assert own.job(key).status == "done" and own.job("x").priority > BACKGROUND
    finally:
        server.kill()
        if service:
            service.close()
        if pid and psutil.pid_exists(pid):
            os.killpg(pid, signal.SIGKILL)


def test_a_worker_ends_orphans_even_of_its_own_process_number(tmp_path, monkeypatch):
    """In a container the next worker often gets the number of the one that died."""
    from unlearn_core.runs import layout_process

    class NoLayout:
        def close(self):
            pass

    def stop(self, pid):
        raise KeyboardInterrupt

    store = Store(tmp_path)
    store.submit("abc", "run", {})
    store.claim(os.getpid())
    monkeypatch.setattr(layout_process, "LayoutProcess", NoLayout)
    monkeypatch.setattr(Store, "claim", stop)
    with pytest.raises(KeyboardInterrupt):
        worker.main(["--store", str(tmp_path)])
    assert store.job("abc").status == "failed"


def test_a_worker_that_dies_at_every_start_is_told_to_who_waits(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.submit("a" * 20, "original", {})
    monkeypatch.setattr(service_module, "EARLY", 0.01)
    monkeypatch.setattr(
        service_module.Service,
        "_spawn",
        lambda self: subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(1)"], stdout=open(tmp_path / "worker.log", "a")),  # noqa: SIM115
    )
    (tmp_path / "worker.log").write_text("Traceback …\nImportError: no such thing\n")
    service = service_module.Service(store)
    try:
        wait(lambda: store.job("a" * 20).status == "failed")
    finally:
        service.close()
    assert "cannot start: ImportError: no such thing." in store.job("a" * 20).cause
