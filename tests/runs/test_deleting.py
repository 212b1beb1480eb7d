"""Deleting one's own data with everything made from it: afterwards no file of the store holds any of it."""

import gc
import io
import json
import sqlite3
import weakref
import zipfile

import numpy as np
import pytest
from data.test_importing import csv, packed, picture
from PIL import Image

from unlearn_core import data, projection, run
from unlearn_core.data import importing, own
from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.models.pretrained_features import features_of
from unlearn_core.runs import api, deleting, loading, originals, pools
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter, write_curves
from unlearn_core.runs.spec import PoolSpec
from unlearn_core.runs.store import Store

MARK = "QZXMARKERQZX"
TEXTS = "\n".join(json.dumps({"text": f"{MARK} mail number {i} of many words", "label": "ab"[i % 2]}) for i in range(120)).encode()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path))
    monkeypatch.setattr(projection, "lay_out", lambda name, features, *rest: features[:, :2])  # no waiting for UMAP to compile
    return Store(tmp_path)


def contents(path):
    """Every byte that a file holds, also those that are packed in it."""
    raw = path.read_bytes()
    yield raw
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    if path.suffix == ".png":
        yield np.asarray(Image.open(io.BytesIO(raw))).tobytes()


def holding(store, *marks):
    return sorted(
        str(path.relative_to(store.folder))
        for path in store.folder.rglob("*")
        if path.is_file() and any(mark in raw for raw in contents(path) for mark in marks)
    )


def worked_with(store, kept, pool=0, **params):
    """An import with an original, two requests in a row, retrained models, a pool, an audit, a plane, live curves and a saved set."""
    given = {
        "dataset": kept.name, "dataset_params": {"key": kept.key, **params}, "model_params": {"epochs": 2}, "device": "cpu", "store": store,
        "method": "finetune", "params": {"epochs": 1},
    }  # fmt: skip
    first = run(forget="random:4", retrains=3, pool=pool, **given)
    second = run(forget="random:3", retrains=1, parent=first, **given)
    original = originals.load(store, first.spec.original.key)
    Pipeline(store).plane(first.spec, tuple(original.ids[:3].tolist()), Reporter())
    store.record(original.key, "original", json.loads(json.dumps(first.spec.original.__dict__)), title=kept.title)
    write_curves(store, first.key, [{"stage": "x", "fraction": 1.0}])
    store.save_forget_set(f"of-{kept.key}", original.key, f"of {kept.title}", json.dumps({"about": kept.title}))
    return first, second


def test_nothing_of_it_is_left_anywhere(store):
    mine = own.save(importing.read(TEXTS, "mails.jsonl", Options(text="text", target="label", title=f"{MARK} mails")))
    others = own.save(importing.read(csv(), "people.csv", Options(title="Others")))
    first, second = worked_with(store, mine, 8, buckets=256, length=16)
    theirs, _ = worked_with(store, others)
    before = {path for path in store.folder.glob("*/*") if path.parent.name != "data"}
    marks = MARK.encode(), mine.key.encode(), first.key.encode(), first.spec.original.key.encode()
    found = holding(store, *marks)
    assert {path.split("/")[0] for path in found} >= {"data", "index.sqlite", "originals", "runs", "pools", "audits"}
    made = deleting.made_from(store, mine.key)
    assert (
        made.counts == {"originals": 1, "runs": 2, "retrained": 4, "shadows": 8, "features": 0, "sets": 1}
        and made.kept == mine
        and not made.busy
    )
    assert str(made) == "1 model with its map, 2 runs, 4 retrained models, 8 shadow models and 1 saved selection"
    assert made.size > 10_000
    there = deleting.made_from(store, others.key)
    deleting.delete(store, mine.key)
    assert holding(store, *marks) == [] and not list(store.folder.glob(".writing-*"))
    assert own.kept() == [others]
    after = deleting.made_from(store, others.key)  # and nothing else went
    assert {*after.folders, *after.files} == {*there.folders, *there.files} and after.jobs == there.jobs and after.sets == there.sets
    left = {path for path in store.folder.glob("*/*") if path.parent.name != "data"}
    assert before - left == {*made.folders, *made.files} and left == {*there.folders, *there.files}
    assert api.load_run(store, theirs.key).retrained == 3 and store.forget_set(f"of-{others.key}")
    with pytest.raises(BadInput, match="nothing here comes from"):
        deleting.delete(store, mine.key)


def test_pictures_go_with_their_sprites(store):
    rng = np.random.default_rng(0)
    mark = rng.integers(0, 255, (16, 16), np.uint8)
    entries = {f"{'ab'[i % 2]}/{i}.png": picture(rng.integers(0, 255, (16, 16), np.uint8)) for i in range(60)}
    entries |= {f"a/m{i}.png": picture(np.roll(mark, i, axis=0)) for i in range(12)}
    kept = own.save(importing.read(packed(entries), "p.zip"))
    run(
        kept.name,
        "random:3",
        "finetune",
        dataset_params={"key": kept.key},
        model_params={"epochs": 1},
        retrains=0,
        device="cpu",
        store=store,
    )
    rows = [row.tobytes() for row in mark]
    assert {path.split("/")[0] for path in holding(store, *rows)} == {"data", "originals"}
    deleting.delete(store, kept.key)
    assert holding(store, *rows) == []


def test_what_stays_of_a_deleted_run_or_an_unfinished_pool_goes_too(store):
    kept, done = small(store)
    pool = PoolSpec.make(done.spec.original, done.spec.dataset_hash, 8, share=0.4)

    class Stopped(Reporter):
        def stage(self, words, start=0.0, stop=1.0):
            def progress(share):
                if list(store.folder.glob("shadows/*")):
                    raise Cancelled

            return progress

    with pytest.raises(Cancelled):
        pools.prepare(store, pool, Stopped())
    store.delete(done.key)
    store.discard("originals", done.spec.original.key)
    made = deleting.made_from(store, kept.key)
    assert made.counts["retrained"] == 1 and made.counts["shadows"] >= 1 and made.counts["runs"] == 0
    deleting.delete(store, kept.key)
    assert not list(store.folder.glob("retrained/*")) and not list(store.folder.glob("shadows/*"))


def encoded(kept, folder, name="a"):
    """The features of an import as a frozen encoder's, here the length of each text."""
    source = data.load(kept.name, {"key": kept.key})
    return features_of(
        source, {"encoder": name}, folder / loading.FOLDER, lambda: lambda texts, _: np.array([[len(t)] for t in texts]), print
    )


def test_features_go_with_the_data_that_they_were_computed_from(store):
    mine, others = (own.save(importing.read(TEXTS, "m.jsonl", Options(text="text", target="label", title=title))) for title in "ab")
    for kept, name in ((mine, "a"), (others, "b")):
        encoded(kept, store.folder, name)
    (store.folder / loading.FOLDER / ".writing-999999999-x").write_bytes(b"half of some features")
    made = deleting.made_from(store, mine.key)
    assert made.counts["features"] == 1 and str(made) == "1 file of features"
    deleting.delete_data_only(store, mine.key)
    assert [left.key for left in deleting.leftovers(store)] == [mine.key]
    deleting.delete(store, mine.key)
    assert len(list(store.folder.glob("features/[!.]*"))) == 1 and deleting.made_from(store, others.key).counts["features"] == 1
    store.sweep()
    assert not list(store.folder.glob("features/.*"))


def test_half_of_a_result_that_is_being_written_is_not_read(store):
    kept, _ = small(store)
    with store.writing("runs", "c" * 20) as folder, store.writing("originals", "c" * 20) as other:
        (folder / "spec.json").write_text('{"orig')
        (other / "table.npz").write_bytes(b"PK")
        assert deleting.made_from(store, kept.key).counts["runs"] == 1


def test_deleting_only_the_data_leaves_no_half_of_it(store, monkeypatch):
    kept = own.save(importing.read(csv(), "people.csv"))
    monkeypatch.setattr(own.shutil, "rmtree", lambda *given, **how: None)  # ended before anything is erased
    deleting.delete_data_only(store, kept.key)
    monkeypatch.undo()
    assert not (store.folder / "data" / kept.key).exists() and own.save(importing.read(csv(), "people.csv")) == kept


def test_what_was_removed_before_leaves_the_index_too(store):
    store.save_forget_set("old", "0" * 20, MARK, MARK * 50)
    store.record("1" * 20, "original", {"name": MARK})
    with sqlite3.connect(store.folder / "index.sqlite") as plain:  # some builds of SQLite overwrite by themselves
        plain.execute("PRAGMA secure_delete=OFF")
        plain.execute("DELETE FROM jobs")
        plain.execute("DELETE FROM forget_sets")
    plain.close()
    assert holding(store, MARK.encode())
    store.compact()
    assert holding(store, MARK.encode()) == []


def test_an_index_that_is_never_let_go_is_said(store):
    reader = sqlite3.connect(store.folder / "index.sqlite", isolation_level=None)
    store.record("1" * 20, "original", {})
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM jobs").fetchall()
    store.record("2" * 20, "original", {})
    try:
        with pytest.MonkeyPatch.context() as patch:
            real = sqlite3.connect
            patch.setattr(sqlite3, "connect", lambda *given, **how: real(*given, **how | {"timeout": 0.1}))
            with pytest.raises(BadInput, match="another program reads the index"):
                store.compact(patience=0.3)
    finally:
        reader.close()
    store.compact()


def test_deleting_again_empties_an_index_that_was_not_let_go(store, monkeypatch):
    kept, _ = small(store)

    def busy(self):
        raise BadInput("store", "another program reads the index all the time.", "Close it, and delete again.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "compact", busy)
        with pytest.raises(BadInput, match="delete again"):
            deleting.delete(store, kept.key)
    done = []
    monkeypatch.setattr(Store, "compact", lambda self: done.append(1))
    with pytest.raises(BadInput, match="nothing here comes from"):
        deleting.delete(store, kept.key)
    assert done


def small(store, name="people.csv"):
    kept = own.save(importing.read(csv(), name))
    given = {"dataset_params": {"key": kept.key}, "model_params": {"epochs": 1}, "params": {"epochs": 1}, "device": "cpu"}
    return kept, run(kept.name, "random:3", "finetune", retrains=1, store=store, **given)


def test_refused_while_a_job_needs_it(store):
    kept, done = small(store)
    before = sorted(store.folder.rglob("*"))
    store.submit("a" * 20, "pool", {"original": done.spec.to_dict()["original"], "members": 8})
    for attempt in (deleting.delete, deleting.delete_data_only):
        with pytest.raises(BadInput, match="a job that needs it is waiting or under way"):
            attempt(store, kept.key)
    assert [path for path in before if not path.exists() and "sqlite" not in path.name] == [] and own.kept() == [kept]
    store.finish("a" * 20, "cancelled")
    deleting.delete(store, kept.key)
    assert own.kept() == [] and store.jobs() == []


def test_the_pipeline_lets_deleted_data_go_and_keeps_the_rest(store):
    kept, done = small(store)
    other = run("wine", "random:3", "finetune", retrains=0, device="cpu", store=store)
    pipeline = Pipeline(store)
    for spec in (done.spec, other.spec):
        pipeline.add_retrained(spec, Reporter())
    pipeline.attribution(done.spec.original, list(done.spec.forget), Reporter())
    pipeline.let_go()
    held = weakref.ref(pipeline.light[1]), weakref.ref(pipeline.runs[done.spec.key].dataset)
    assert all(one() is not None for one in held) and len(pipeline.originals) == 2
    deleting.delete(store, kept.key)
    pipeline.let_go()
    gc.collect()
    assert [one() for one in held] == [None, None] and pipeline.light is None
    assert list(pipeline.runs) == [other.spec.key] and len(pipeline.originals) == 1


def test_interrupted_it_can_be_done_again(store, monkeypatch):
    kept, done = small(store)
    moved = []

    def broken(place, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(place)
        place.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(deleting, "_move", broken)
        with pytest.raises(KeyboardInterrupt):
            deleting.delete(store, kept.key)
    assert own.kept() == [kept] and store.job(done.key) and len(moved) == 2
    deleting.delete(store, kept.key)
    assert holding(store, kept.key.encode(), done.key.encode()) == [] and own.kept() == []


def test_what_cannot_be_moved_is_said_and_the_rest_is_still_listed(store, monkeypatch):
    kept, _ = small(store)

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.folder), "replace", refuse)
        with pytest.raises(BadInput, match="cannot be removed .Permission denied"):
            deleting.delete(store, kept.key)
    assert own.kept() == [kept] and len(store.jobs()) == 1


def test_only_the_data_and_then_the_rest(store):
    kept, done = small(store)
    deleting.delete_data_only(store, kept.key)
    assert own.kept() == [] and api.load_run(store, done.key)
    (left,) = deleting.leftovers(store)
    assert left.key == kept.key and left.kept is None and left.counts["runs"] == 1
    with pytest.raises(BadInput, match="no imported data"):
        deleting.delete_data_only(store, kept.key)
    deleting.delete(store, kept.key)
    assert deleting.leftovers(store) == [] and api.load_run(store, done.key) is None


def test_results_without_a_job_and_jobs_of_another_version_go_too(store):
    kept, done = small(store)
    store.delete(done.key)  # the row and the run's folder; original and retrained model stay
    store.record("b" * 20, "run", {"strange": {"dataset_params": {"key": kept.key}}})
    with store.writing("runs", "b" * 20) as folder:
        (folder / "spec.json").write_text(json.dumps({"strange": {"dataset_params": {"key": kept.key}}}))
    made = deleting.made_from(store, kept.key)
    assert made.counts["originals"] == made.counts["runs"] == 1 and [job.key for job in made.jobs] == ["b" * 20]
    deleting.delete(store, kept.key)
    assert not list((store.folder / "runs").iterdir()) and not list((store.folder / "originals").iterdir())
