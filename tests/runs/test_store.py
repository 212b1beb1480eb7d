"""The store: atomic writes, the queue, forget sets; with kills and with many threads."""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from unlearn_core.errors import BadInput, Cancelled, Preempted
from unlearn_core.runs.progress import StoreReporter, read_curves, write_curves
from unlearn_core.runs.store import BACKGROUND, LOOKED, SCRATCH, URGENT, Store, pack, unpack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(tmp_path):
    return Store(tmp_path / "own")


# files ---------------------------------------------------------------------------------------------------


def fill(store, key, text, files=20):
    with store.writing("runs", key) as folder:
        for i in range(files):
            (folder / str(i)).write_text(text)


def test_a_result_appears_complete_and_replaces_the_old_one(own):
    fill(own, "abc", "first", 3)
    with own.writing("runs", "abc") as folder:
        (folder / "only").write_text("second")
        assert (own.place("runs", "abc") / "0").read_text() == "first"
    assert [path.name for path in own.place("runs", "abc").iterdir()] == ["only"]
    assert not list(own.folder.glob(f"**/{SCRATCH}-*"))


def test_an_error_leaves_what_was_there(own):
    fill(own, "abc", "first", 3)
    with pytest.raises(ZeroDivisionError), own.writing("runs", "abc") as folder:
        (folder / "0").write_text("second")
        raise ZeroDivisionError
    assert {path.read_text() for path in own.place("runs", "abc").iterdir()} == {"first"}
    path = own.place("runs", "abc") / "0"
    with pytest.raises(TypeError):
        own.replace_file(path, "no bytes")
    assert path.read_text() == "first" and not list(own.folder.glob(f"**/{SCRATCH}-*"))
    own.replace_file(path, b"third")
    assert path.read_text() == "third"


@pytest.mark.parametrize("key", ["", "..", "a/b", "../a", "a.b", "a\0", "a b", "x" * 65])
def test_keys_are_never_paths(own, key):
    with pytest.raises(ValueError, match="not a key"):
        own.place("runs", key)


WRITER = """
import itertools, sys
from unlearn_core.runs.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
for n in itertools.count():
    with store.writing("runs", "abc") as folder:
        for i in range(30):
            (folder / str(i)).write_text(str(n))
    store.replace_file(store.place("runs", "abc") / "evidence", str(n).encode() * 20000)
    if n % 3 == 2:
        store.delete("abc")
"""


def test_kill_in_mid_write_leaves_nothing_or_something_complete(own):
    chance, seen = random.Random(0), set()
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(own.folder)], cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.15 * chance.random())
        writer.kill()
        writer.wait()
        place = own.place("runs", "abc")
        seen.add(place.exists())
        if place.exists():
            texts = {int(path.name): path.read_text() for path in place.iterdir() if path.name.isdigit()}
            assert sorted(texts) == list(range(30)) and len(set(texts.values())) == 1
            if (place / "evidence").exists():
                content = (place / "evidence").read_text()
                assert content and content == texts[0] * 20000
        own.sweep()
        assert not [path for path in own.folder.glob(f"**/{SCRATCH}-*") if path.parent == own.folder / "runs"]
    assert True in seen
    fill(own, "abc", "after")  # and the store goes on working
    assert (own.place("runs", "abc") / "19").read_text() == "after"


def test_sweep_takes_only_what_dead_processes_left(own):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (own.folder / "runs" / "abc").mkdir(parents=True)
    left = [
        own.folder / "runs" / f"{SCRATCH}-{dead.pid}-x",
        own.folder / f"{SCRATCH}-{dead.pid}-worker.json",
        own.folder / "runs" / "abc" / f"{SCRATCH}-{dead.pid}-e",
    ]
    left[0].mkdir()
    (left[0] / "half").write_text("half")
    for path in left[1:]:
        path.write_text("half")
    with own.writing("runs", "def") as folder:
        (folder / "a").write_text("a")
        own.sweep()
        assert (folder / "a").exists()
    assert not any(path.exists() for path in left)
    assert (own.place("runs", "def") / "a").exists() and (own.folder / "runs" / "abc").exists()


def test_many_threads_may_write_the_same_result(own):
    def write(n):
        for _ in range(15):
            fill(own, "abc", str(n), 5)
            own.replace_file(own.folder / "worker.json", str(n).encode() * 500)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len({path.read_text() for path in own.place("runs", "abc").iterdir()}) == 1
    assert len(set((own.folder / "worker.json").read_text())) == 1
    assert not list(own.folder.glob(f"**/{SCRATCH}-*"))


def test_a_store_can_be_opened_by_many_at_once(tmp_path):
    for n in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(lambda _, n=n: Store(tmp_path / str(n)).jobs(), range(8)))) == 8


def test_a_folder_that_cannot_hold_results_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.sqlite").write_text("this is no database " * 100)
    for folder in ("file", "file/below", "broken"):
        with pytest.raises(BadInput) as caught:
            Store(tmp_path / folder)
        assert caught.value.field == "store"


def test_arrays_and_their_description_come_back():
    arrays = {"a/b": np.arange(6).reshape(2, 3), "text": np.array(["ü", "x"]), "empty": np.zeros((0, 2), np.float32)}
    meta, back = unpack(pack({"x": [1, None, "∇"]}, arrays))
    assert meta == {"x": [1, None, "∇"]} and back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())
    with pytest.raises(ValueError):
        unpack(pack({}, {"object": np.array([{}], dtype=object)}))


# the queue -----------------------------------------------------------------------------------------------


def test_the_same_key_is_queued_once_even_by_many_threads(own):
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda n: own.submit("abc", "run", {"n": n}, f"title {n}"), range(24)))
    assert len(own.jobs()) == 1
    assert {(job.status, job.created, job.title) for job in jobs} == {("queued", own.job("abc").created, own.job("abc").title)}


def test_every_job_is_claimed_by_exactly_one(own):
    for n in range(20):
        own.submit(f"k{n}", "run", {})
    with ThreadPoolExecutor(6) as pool:
        claimed = [job.key for job in pool.map(lambda n: own.claim(n), range(26)) if job]
    assert sorted(claimed) == sorted(f"k{n}" for n in range(20))


def test_urgent_work_comes_first_then_the_oldest(own):
    for key, priority in [("b1", BACKGROUND), ("u1", URGENT), ("b2", BACKGROUND), ("u2", URGENT)]:
        own.submit(key, "run", {}, priority=priority)
    assert own.waiting(above=BACKGROUND) and not own.waiting(above=URGENT)
    assert [own.claim(1).key for _ in range(4)] == ["u1", "u2", "b1", "b2"]
    assert own.claim(1) is None and not own.waiting(above=BACKGROUND)


def test_a_job_lives_from_queued_to_its_end(own):
    job = own.submit("abc", "run", {"forget": [1]}, "a title")
    assert (job.status, job.spec, job.title, job.ended) == ("queued", {"forget": [1]}, "a title", False)
    job = own.claim(77)
    assert (job.status, job.worker) == ("running", 77) and job.started
    own.report("abc", "training", 0.4)
    assert (own.job("abc").stage, own.job("abc").fraction) == ("training", 0.4)
    own.requeue("abc", "evidence", BACKGROUND)
    job = own.job("abc")
    assert (job.status, job.kind, job.priority, job.worker) == ("queued", "evidence", BACKGROUND, None)
    own.claim(78)
    own.finish("abc", "done")
    own.finish("abc", "failed", "too late")
    job = own.job("abc")
    assert (job.status, job.cause, job.fraction, job.ended, job.worker) == ("done", "", 1.0, True, None)
    assert own.submit("abc", "run", {}).status == "done" and own.claim(1) is None


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_failed_or_was_cancelled_can_start_again(own, end):
    own.submit("abc", "run", {})
    own.claim(1)
    own.cancel("abc")
    own.finish("abc", end, "cause", "details")
    job = own.submit("abc", "run", {})
    assert (job.status, job.cause, job.details, job.cancel, job.fraction, job.finished) == ("queued", "", "", None, 0, None)


def test_cancel(own):
    own.submit("waits", "run", {})
    own.cancel("waits")
    assert own.job("waits").status == "cancelled"
    own.submit("runs", "run", {})
    own.claim(1)
    own.cancel("runs")
    asked = own.job("runs").cancel
    assert own.job("runs").status == "running" and asked
    own.cancel("runs")
    assert own.job("runs").cancel == asked  # patience counts from the first request
    own.finish("runs", "done")
    own.cancel("runs")
    own.cancel("nothing")
    assert own.job("runs").status == "done"


def test_jobs_of_dead_workers_end(own):
    for key in ("mine", "dead", "cancelled"):
        own.submit(key, "run", {})
        own.claim(5 if key == "mine" else 6)
    own.cancel("cancelled")
    assert sorted(own.fail_orphans(5, "it died")) == ["cancelled", "dead"]
    assert {key: (own.job(key).status, own.job(key).cause) for key in ("mine", "dead", "cancelled")} == {
        "mine": ("running", ""), "dead": ("failed", "it died"), "cancelled": ("cancelled", ""),
    }  # fmt: skip
    assert own.fail_orphans(None, "all") == ["mine"]


def test_delete_removes_row_files_and_curves(own):
    own.submit("abc", "run", {})
    own.claim(1)
    fill(own, "abc", "x")
    write_curves(own, "abc", [{"fraction": 0.1}])
    own.delete("abc")
    assert own.job("abc") is None and not own.place("runs", "abc").exists() and read_curves(own, "abc") == []
    with pytest.raises(Cancelled):
        StoreReporter(own, "abc", yields=False).show("training", 0.5, {})
    own.delete("abc")  # twice is no error


# reporting -----------------------------------------------------------------------------------------------


def test_reporter_hears_cancel_and_more_urgent_work(own):
    own.submit("abc", "evidence", {}, priority=BACKGROUND)
    own.claim(1)
    reporter = StoreReporter(own, "abc", yields=True)
    progress = reporter.stage("retraining 1 of 3", 0.0, 0.5)
    assert own.job("abc").stage == "retraining 1 of 3"
    reporter.looked = 0.0
    progress(0.5, loss=0.25)
    assert own.job("abc").fraction == 0.25
    assert read_curves(own, "abc") == [{"stage": "retraining 1 of 3", "fraction": 0.25, "loss": 0.25}]
    own.submit("more", "run", {})
    reporter.looked = 0.0
    with pytest.raises(Preempted):
        progress(0.6)
    StoreReporter(own, "abc", yields=False).show("x", 0.6, {})
    own.cancel("abc")
    reporter.looked = 0.0
    with pytest.raises(Cancelled):
        progress(0.7)


def test_what_is_merely_looked_at_comes_first_but_costs_no_work(own):
    own.submit("abc", "evidence", {}, priority=BACKGROUND)
    own.claim(1)
    reporter = StoreReporter(own, "abc", yields=True)
    progress = reporter.stage("retraining 1 of 3", 0.0, 0.3)
    own.submit("other", "pool", {}, priority=BACKGROUND)
    own.submit("looked", "attribution", {}, priority=LOOKED)
    reporter.looked = 0.0
    progress(0.9)  # goes on: this model would have to be trained again
    with pytest.raises(Preempted):
        reporter.stage("retraining 2 of 3", 0.3, 0.6)
    own.requeue("abc", "evidence", BACKGROUND)
    assert own.claim(1).key == "looked"
    own.finish("looked", "done")
    own.finish("abc", "done")
    assert own.claim(1).key == "other"
    own.submit("more", "attribution", {}, priority=LOOKED)
    StoreReporter(own, "other", yields=True).stage("training 8 shadow models")  # its stages are not all kept


def test_curves_survive_a_torn_line_and_what_is_written_after_it(own):
    write_curves(own, "abc", [{"fraction": 0.1}, {"fraction": 0.2}])
    with open(own.curves_path("abc"), "a", encoding="utf-8") as out:
        out.write('{"fraction": 0.3, "lo')
    assert [point["fraction"] for point in read_curves(own, "abc")] == [0.1, 0.2]
    write_curves(own, "abc", [{"fraction": 0.4}])
    assert [point["fraction"] for point in read_curves(own, "abc")] == [0.1, 0.2, 0.4]
    assert read_curves(own, "nothing") == []
    with open(own.curves_path("abc"), "ab") as out:
        out.write(b"\xff\x00\nnull\n")
    assert [point["fraction"] for point in read_curves(own, "abc")] == [0.1, 0.2, 0.4]


# forget sets ---------------------------------------------------------------------------------------------


def test_forget_sets_and_drafts(own):
    own.save_forget_set("t1", "orig", "", "draft")
    own.save_forget_set("t2", "orig", "sevens", json.dumps({"a": "ü"}))
    own.save_forget_set("t3", "other", "nines", "x")
    time.sleep(0.01)
    own.save_forget_set("t4", "orig", "'; DROP TABLE forget_sets; --", "y")
    assert [row["token"] for row in own.forget_sets("orig")] == ["t4", "t2"]  # newest first, no drafts
    assert own.forget_set("t1")["content"] == "draft" and own.forget_set("t9") is None
    own.save_forget_set("t1", "orig", "", "changed")
    assert own.forget_set("t1")["content"] == "changed"
    own.delete_forget_set("t2")
    assert [row["token"] for row in own.forget_sets("orig")] == ["t4"]
    assert Store(own.folder).forget_set("t1")["content"] == "changed"


def test_the_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path / "there"))
    assert Store().folder == tmp_path / "there"
    assert (tmp_path / "there" / "index.sqlite").exists()
