"""One's own file, from the upload to the open dataset; and nothing is lost by a bad one."""

import gc
import json
import shutil
import time
import weakref

import numpy as np
import pytest
from data.test_bad_files import BAD
from data.test_importing import LABELS, TABLE, csv, folders, grey, npy, npz, packed, parquet
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from pages.parts import mapping, opening
from pages.parts.backend import backend, original
from pages.parts.importing import desk, giving
from pages.parts.plain import plain
from ui.conftest import App, server
from unlearn_core.data import importing, own
from unlearn_core.data.importing import Options
from unlearn_core.runs.demo import default_spec
from unlearn_core.runs.originals import prepare
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.reading import Reading
from unlearn_core.runs.spec import OriginalSpec

POINTS = np.random.default_rng(0).normal(size=(60, 2))
TEXTS = "\n".join(json.dumps({"body": f"a mail with the number {i}", "label": "ab"[i % 2]}) for i in range(60)).encode()
# kind of file: (content, name, what to choose, the dataset that it becomes, its instances)
GOOD = {
    "csv": (csv(), "people.csv", {}, "own_table", 120),
    "tsv": (csv(sep="\t"), "people.tsv", {}, "own_table", 120),
    "parquet": (parquet(TABLE.rename(columns={"label": "result"})), "people.parquet", {"target": "result"}, "own_table", 120),
    "jsonl": (TEXTS, "mails.jsonl", {}, "own_texts", 60),
    "csv of texts": (csv(TABLE.assign(story=[f"once upon a time {i}" for i in range(120)])), "t.csv", {"text": "story"}, "own_texts", 120),
    "npz": (npz(x=POINTS, y=LABELS), "p.npz", {}, "own_points", 60),
    "npz with other names": (npz(x=np.hstack([POINTS] * 2), kind=LABELS), "p.npz", {"target": "kind"}, "own_table", 60),
    "npy": (npy(np.column_stack([LABELS, POINTS, POINTS])), "p.npy", {"target": "0"}, "own_table", 60),
    "zip": (packed(folders()), "pets.zip", {"side": 28}, "own_images", 24),
}


@pytest.fixture(autouse=True)
def empty(tmp_path):
    """The app on a store of its own."""
    with server(tmp_path) as handle:
        yield handle


def dialog(app=None):
    return (app or App("studio")).set(open__kind=opening.OWN).press("import.begin")


def upload(app, content, name):
    if "import.another" in app.keys:
        app.press("import.another")
    return settled(app.set(**{key(app, "file"): (name, content, "application/octet-stream")}))


def settled(app):
    """The app once its reader has answered; a browser looks again by itself."""
    until = time.monotonic() + 60
    while "import.cancel" in app.keys:
        assert time.monotonic() < until
        time.sleep(0.05)
        app.run()
    return app


def change(app, **values):
    return settled(app.set(**{key(app, end): value for end, value in values.items()}))


def press(app, name):
    return settled(app.press(name))


def point(app, path):
    if "import.another" in app.keys:
        app.press("import.another")
    return change(app, path=path)


def key(app, end):
    """The widget of the current file whose key ends so."""
    return next(k for k in app.keys if k.startswith("import.") and end in k.split("."))


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_file_is_read_kept_and_opened(kind):
    content, name, chosen, dataset, count = GOOD[kind]
    app = App("studio").set(random__count=3).press("random.add")
    before = app.state.spec
    upload(dialog(app), content, name)
    for end, value in chosen.items():
        change(app, **{end: value})
    change(app, title=f"From {kind}")
    assert not app.at.error and f"{count:,} " in app.texts() and not own.kept()
    press(app, "import.keep")
    (kept,) = own.kept()
    assert (kept.name, kept.title, kept.instances) == (dataset, f"From {kind}", count)
    assert app.state.spec == OriginalSpec.make(dataset, None, {"key": kept.key}) and not app.forget
    job = backend().store.job(app.state.spec.key)
    assert job.kind == "original" and f"From {kind}" in job.title
    assert not [k for k in app.keys if k.startswith("import.") and k != "import.begin"]  # the dialog is closed
    assert [place.name for place in own.folder().iterdir()] == [kept.key]  # and the upload is gone
    assert app.widget("open.own").options == [f"From {kind}"] and app.widget("open.kind").value == opening.OWN
    (row,) = backend().store.forget_sets(before.key)  # what was chosen before is kept
    assert len(json.loads(row["content"])["instances"]) == 3


@pytest.mark.parametrize("case", ["pickle", "pickle called csv", "empty", "utf-16", "too long a row", "infinity", "one class", "cut parquet",
                                  "nested", "objects in npz", "not a number", "npz bomb", "zip bomb", "climbing path"])  # fmt: skip
def test_a_bad_file_is_one_sentence_and_loses_nothing(case):
    content, name, options, field = BAD[case]
    assert not options
    app = App("studio").set(random__count=3).press("random.add")
    spec, forget = app.state.spec, app.forget
    upload(dialog(app), content, name)
    (error,) = app.at.error
    assert error.value.startswith(plain(f"{field}:")) and len(error.value) < 300
    assert "import.keep" not in app.keys and not own.kept()
    assert app.state.spec == spec and app.forget == forget and app.charts()
    upload(app, csv(), "good.csv")  # and the next file is welcome
    assert not app.at.error and "import.keep" in app.keys


def test_the_columns_are_described_and_the_target_is_asked_for():
    frame = TABLE.rename(columns={"label": "result"})
    app = upload(dialog(), csv(frame), "people.csv")
    shown = next(f.value for f in app.at.dataframe if "holds" in f.value)
    assert list(shown["column"]) == list(frame.columns)
    assert shown.set_index("column").loc[["age", "town", "record", "same"], "holds"].tolist() == [
        "numbers", "categories", "names of records", "one value only"]  # fmt: skip
    assert "Say which column holds the classes" in app.texts() and "import.keep" not in app.keys
    change(app, target="record")  # a bad choice is a sentence too
    assert len(app.at.error) == 1
    change(app, target="result")
    first = next(f.value for f in app.at.dataframe if "class" in f.value and "age" in f.value)
    assert first["class"].tolist() == frame.result[:5].tolist() and first.age.tolist() == frame.age[:5].tolist()
    assert first.town.tolist() == frame.town[:5].tolist() and "record" not in first
    counts = next(f.value for f in app.at.dataframe if list(f.value) == ["class", "instances"])
    assert dict(counts.values.tolist()) == frame.result.value_counts().to_dict()


def test_what_is_missing_and_what_is_twice_is_said_before_anything_is_kept():
    frame = TABLE.assign(age=TABLE.age.where(np.arange(120) % 7 != 0), record=0)
    twice = frame.loc[[*range(120), *range(30)]]
    app = upload(dialog(), csv(twice), "people.csv")
    assert "missing values were set to the median" in app.texts()
    assert f"{plain('Instances that equal an earlier one: 30.')}" in app.texts() and "exact twin" in app.texts()
    assert "150 rows" in app.texts()
    press(app, "import.drop")  # which turns the switch on
    assert "120 rows" in app.texts() and "exact twin" not in app.texts() and not own.kept()
    assert app.widget(key(app, "duplicates")).value and "import.drop" not in app.keys
    press(app, "import.keep")
    assert own.kept()[0].instances == 120


def test_protected_columns_and_columns_to_leave_out():
    app = upload(dialog(), csv(), "people.csv")
    change(app, protected=["sex"])
    press(change(app, leave_out=["sex"]), "import.keep")
    found = own.open_kept(own.kept()[0].key)
    assert found.groups["sex"].names == ("f", "m") and [column.name for column in found.columns] == ["age", "town", "income"]


def test_too_small_classes_can_be_left_out():
    app = upload(dialog(), csv(TABLE.assign(label=["few"] * 9 + ["yes", "no", "no"] * 37)), "people.csv")
    assert "few has fewer than 10" in app.at.error[0].value
    change(app, small=True)
    assert not app.at.error and "111 rows" in app.texts()


def test_a_path_on_this_machine(tmp_path, monkeypatch):
    for name, content in folders().items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    app = dialog()
    for wrong in (str(tmp_path / "none.csv"), "~nobody-here/x.csv", "\0", "x" * 5000, str(tmp_path)):
        point(app, wrong)
        assert len(app.at.error) == 1 and "import.keep" not in app.keys, wrong
    assert app.press("import.another").widget(key(app, "path")).value == str(tmp_path)  # to be corrected
    point(app, str(tmp_path / "pets"))
    assert "24 pictures of 2 classes" in app.texts() and "cat (12)" in app.texts()
    (tmp_path / "pets" / "cat" / "more.png").write_bytes(grey(250))
    press(app, "import.keep")
    assert own.kept()[0].title == "pets"
    monkeypatch.setattr(giving, "HERE", ())  # a server that others reach
    assert not [k for k in dialog(app).keys if k.startswith("import.path")]


def test_a_file_is_read_once_however_often_the_page_runs(monkeypatch):
    asks = []
    ask = Reading.ask
    monkeypatch.setattr(Reading, "ask", lambda *given: asks.append(given[1]) or ask(*given))
    app = upload(dialog(), csv(), "people.csv").run().set(random__count=2).press("random.add")
    assert asks == ["preview", "check"] and "import.keep" in app.keys  # and the dialog is still there
    change(app, title="Another title")
    assert asks == ["preview", "check"]
    change(app, duplicates=True)
    assert asks == ["preview", "check", "check"]


def test_data_that_cannot_be_kept_is_said_and_loses_nothing(monkeypatch):
    app = upload(dialog(), csv(), "people.csv")
    change(app, title="Mine")
    spec = app.state.spec
    target = own.folder() / own.save(importing.read(csv(), "people.csv", Options(title="Mine"))).key
    shutil.rmtree(target)
    target.write_text("in the way")  # as a full or broken disk would be
    press(app, "import.keep")
    assert "cannot be read or kept" in app.at.error[0].value and app.state.spec == spec
    app.run()
    assert "Nothing was changed" in app.at.error[0].value and app.widget(key(app, "title")).value == "Mine"
    target.unlink()
    press(app, "import.keep")
    assert own.kept() and app.state.spec.dataset == "own_table"


def test_names_from_a_file_are_never_markup():
    name = "![x](mail@a.example) :red[c].csv"
    app = press(upload(dialog(), csv(TABLE.assign(**{"$a$": np.nan})), name), "import.keep")
    assert "![x](mail" not in app.texts() and "![x](mail" not in "".join(b.label for b in app.at.button)
    assert own.kept()[0].title == name.removesuffix(".csv")


def test_types_can_be_corrected():
    rows = np.arange(120)
    spoilt = [f"{1000 + i},5" if i % 4 else "unknown" for i in rows]
    app = upload(dialog(), csv(TABLE.assign(area=rows % 5 * 1000 + 3012, rent=spoilt)), "people.csv")
    assert "rent was left out" in app.texts()  # nearly as many values as rows
    change(app, categories=["area"])
    change(app, numbers=["rent"])
    shown = next(f.value for f in app.at.dataframe if "holds" in f.value).set_index("column").holds
    assert shown["area"] == "categories" and shown["rent"] == "numbers"
    assert plain("rent: 30 values that are no numbers count as missing") in app.texts()
    press(app, "import.keep")
    columns = {column.name: column for column in own.open_kept(own.kept()[0].key).columns}
    assert columns["area"].categories == ("3012", "4012", "5012", "6012", "7012") and columns["area"].values.tolist() == (rows % 5).tolist()
    assert np.array_equal(columns["rent"].values, np.where(rows % 4, 1000.5 + rows, np.nan), equal_nan=True)


def test_reading_can_be_cancelled_and_taken_up_again(monkeypatch):
    monkeypatch.setattr(desk, "GRACE", 0.0)
    monkeypatch.setattr(desk.Desk.answer, "__defaults__", (None, 0.0))
    app = dialog()
    change_key = key(app, "file")
    app.set(**{change_key: ("people.csv", csv(), "text/csv")})
    assert "import.cancel" in app.keys and "import.keep" not in app.keys
    app.press("import.cancel")
    assert "Cancelled" in app.texts() and "import.cancel" not in app.keys and "people" in app.texts()
    app.run()
    assert "Cancelled" in app.texts()
    press(app, "import.again")
    assert "120 rows" in app.texts()


def test_the_page_lets_go_of_an_upload(monkeypatch):
    gone = []
    monkeypatch.setattr(MemoryUploadedFileManager, "remove_file", lambda self, session, file: gone.append(file))
    upload(dialog(), csv(), "people.csv")
    assert len(gone) == 1


def kept_and_idle():
    app = press(upload(dialog(), csv(), "people.csv"), "import.keep").run()
    backend().store.finish(app.state.spec.key, "cancelled")
    return app.run()


def test_deleting_waits_for_jobs():
    app = press(upload(dialog(), csv(), "people.csv"), "import.keep").run()
    app.press("own.delete.ask")
    assert app.widget("own.delete").disabled and "waiting or under way" in app.texts()
    backend().store.finish(app.state.spec.key, "cancelled")
    assert not app.run().widget("own.delete").disabled


def test_deleting_takes_everything_that_was_made_from_it():
    app = kept_and_idle()
    store, spec = backend().store, app.state.spec
    with store.writing("originals", spec.key) as folder:
        (folder / "sprite.png").write_bytes(b"the person's picture")
    app.press("own.delete.ask")
    assert "Made from it: 1 model with its map" in app.texts()
    app.press("own.delete")
    assert not own.kept() and not store.place("originals", spec.key).exists() and store.job(spec.key) is None
    assert app.state.spec == default_spec() and "own.delete" not in app.keys


def test_deleting_only_the_data_says_what_stays_and_can_be_completed():
    app = kept_and_idle()
    store, spec = backend().store, app.state.spec
    with store.writing("originals", spec.key) as folder:
        (folder / "sprite.png").write_bytes(b"the person's picture")
    app.press("own.delete.ask").set(own__delete__with=False)
    assert "These stay in the store" in app.texts()
    app.press("own.delete")
    assert not own.kept() and store.place("originals", spec.key).exists()
    assert "was deleted" in app.texts() and app.widget("open.own").options == ["Your own table (deleted)"]
    app.press("own.delete.ask")
    assert "Made from it: 1 model with its map" in app.texts()
    app.press("own.delete")
    assert not store.place("originals", spec.key).exists() and app.state.spec == default_spec()
    app.set(open__kind=opening.OWN)
    assert "open.own" not in app.keys


def test_imports_of_the_same_title_are_told_apart():
    for label in ("a", "b"):
        own.save(importing.read(csv(TABLE.assign(label=[label, "no", "no"] * 40)), "people.csv"))
    app = App("studio").set(open__kind=opening.OWN)
    options = app.widget("open.own").options
    assert len(set(options)) == 2 and all(option.startswith("people (") for option in options)
    second = own.kept()[1]
    app.set(open__own=f"{second.name}.{second.key}")
    next(b for b in app.at.button if b.label == "Open people").click()
    app.run()
    assert app.state.spec.dataset_params["key"] == second.key


def test_a_cancel_that_comes_too_late_does_not_say_that_nothing_was_kept():
    work = desk.Desk()
    try:
        work.take(desk.Given(work.reading.receive(csv(), "people.csv"), "people.csv", "1"))
        options = Options(title="Late")
        work.answer("check", options, patience=60)
        work.keep(options)
        assert work.answer("keep", options, patience=0.0) is None
        until = time.monotonic() + 60
        while not own.kept() or work.reading._said.empty():
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.2)
        work.stop()
        assert work.stopped is None and work.keeping == options and work.answer("keep", options).title == "Late"
    finally:
        work.drop()


def laid_out():
    """An import on screen with a trained original, as the page of its author sees it."""
    app = kept_and_idle()
    prepare(backend().store, app.state.spec, Reporter(), layout=lambda features, *rest: features[:, :2])
    return app.run()


def test_what_pages_remember_goes_with_what_is_deleted():
    app = laid_out()
    seen = weakref.ref(original(app.state.spec.key))
    rows = mapping._rows(app.state.spec.key)
    assert rows and seen() is not None and mapping._rows(app.state.spec.key) is rows
    handle = backend()
    app.press("own.delete.ask").press("own.delete")
    gc.collect()
    assert seen() is None and backend() is handle  # and the worker was not ended


def test_another_tab_that_shows_deleted_data_goes_on():
    first = laid_out()
    second, spec = App("studio"), first.state.spec
    second.state.open(spec)
    assert second.run().state.spec == spec and "people" in second.texts()
    first.press("own.delete.ask").press("own.delete")
    second.run()
    assert not second.at.exception and "deleted" in second.texts()
