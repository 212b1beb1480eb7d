"""One's own file, from the upload to the open dataset; and nothing is lost by a bad one."""

import errno
import json

import numpy as np
import pytest
from data.test_bad_files import BAD
from data.test_importing import LABELS, TABLE, csv, folders, grey, npy, npz, packed, parquet

from pages.parts import importing as page
from pages.parts import opening
from pages.parts.backend import backend
from pages.parts.plain import plain
from ui.conftest import App, server
from unlearn_core.data import importing, own
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
    return app.set(import__file=(name, content, "application/octet-stream"))


def key(app, end):
    """The widget of the current file whose key ends so."""
    return next(k for k in app.keys if k.startswith("import.") and k.endswith(f".{end}"))


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_file_is_read_kept_and_opened(kind):
    content, name, chosen, dataset, count = GOOD[kind]
    app = App("studio").set(random__count=3).press("random.add")
    before = app.state.spec
    upload(dialog(app), content, name)
    for end, value in chosen.items():
        app.set(**{key(app, end): value})
    app.set(**{key(app, "title"): f"From {kind}"})
    assert not app.at.error and f"{count:,} " in app.texts() and not own.kept()
    app.press("import.keep")
    (kept,) = own.kept()
    assert (kept.name, kept.title, kept.instances) == (dataset, f"From {kind}", count)
    assert app.state.spec == OriginalSpec.make(dataset, None, {"key": kept.key}) and not app.forget
    job = backend().store.job(app.state.spec.key)
    assert job.kind == "original" and f"From {kind}" in job.title
    assert "import.file" not in app.keys  # the dialog is closed
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
    app.set(**{key(app, "target"): "record"})  # a bad choice is a sentence too
    assert len(app.at.error) == 1
    app.set(**{key(app, "target"): "result"})
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
    app.set(**{key(app, "duplicates"): True})
    assert "120 rows" in app.texts() and "exact twin" not in app.texts() and not own.kept()
    app.press("import.keep")
    assert own.kept()[0].instances == 120


def test_protected_columns_and_columns_to_leave_out():
    app = upload(dialog(), csv(), "people.csv")
    app.set(**{key(app, "protected"): ["sex"]}).set(**{key(app, "leave_out"): ["sex"]}).press("import.keep")
    found = own.open_kept(own.kept()[0].key)
    assert found.groups["sex"].names == ("f", "m") and [column.name for column in found.columns] == ["age", "town", "income"]


def test_too_small_classes_can_be_left_out():
    app = upload(dialog(), csv(TABLE.assign(label=["few"] * 9 + ["yes", "no", "no"] * 37)), "people.csv")
    assert "few has fewer than 10" in app.at.error[0].value
    app.set(**{key(app, "small"): True})
    assert not app.at.error and "111 rows" in app.texts()


def test_a_path_on_this_machine(tmp_path, monkeypatch):
    for name, content in folders().items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    app = dialog()
    for wrong in (str(tmp_path / "none.csv"), "~nobody-here/x.csv", "\0", "x" * 5000, str(tmp_path)):
        app.set(import__path=wrong)
        assert len(app.at.error) == 1 and "import.keep" not in app.keys
    app.set(import__path=str(tmp_path / "pets"))
    assert "24 pictures of 2 classes" in app.texts() and "cat (12)" in app.texts()
    (tmp_path / "pets" / "cat" / "more.png").write_bytes(grey(250))
    app.press("import.keep")
    assert own.kept()[0].title == "pets"
    monkeypatch.setattr(page, "HERE", ())  # a server that others reach
    assert "import.path" not in dialog(app).keys


def test_a_file_is_read_once_however_often_the_page_runs(monkeypatch):
    reads = []
    read = importing.read
    monkeypatch.setattr(importing, "read", lambda *given: reads.append(given) or read(*given))
    app = upload(dialog(), csv(), "people.csv").run().set(random__count=2).press("random.add")
    assert len(reads) == 1 and "import.keep" in app.keys  # and the dialog is still there
    app.set(**{key(app, "duplicates"): True})
    assert len(reads) == 2


def test_a_full_disk_is_said_and_loses_nothing(monkeypatch):
    def full(imported):
        raise OSError(errno.ENOSPC, "No space left on device")

    app = upload(dialog(), csv(), "people.csv")
    spec = app.state.spec
    with monkeypatch.context() as patch:
        patch.setattr(own, "save", full)
        app.press("import.keep")
    assert "No space left on device" in app.at.error[0].value and app.state.spec == spec
    app.press("import.keep")
    assert own.kept() and app.state.spec.dataset == "own_table"


def test_names_from_a_file_are_never_markup():
    name = "![x](mail@a.example) :red[c].csv"
    app = upload(dialog(), csv(TABLE.assign(**{"$a$": np.nan})), name).press("import.keep")
    assert "![x](mail" not in app.texts() and "![x](mail" not in "".join(b.label for b in app.at.button)
    assert own.kept()[0].title == name.removesuffix(".csv")


def test_deleting_waits_for_jobs_and_says_what_stays():
    app = upload(dialog(), csv(), "people.csv").press("import.keep").run()
    spec, store = app.state.spec, backend().store
    assert app.widget("own.delete").disabled and "waiting or under way" in app.texts()
    store.finish(spec.key, "cancelled")
    app.run()
    assert not app.widget("own.delete").disabled and "The models and maps made from it stay" in app.texts()
    app.press("own.delete")
    assert not own.kept() and "own.delete" not in app.keys
    assert "was deleted" in app.texts() and app.widget("open.own").options == ["Your own table (deleted)"]
    app.set(open__kind=opening.BUILT_IN).set(open__dataset="moons")
    next(b for b in app.at.button if b.label == "Open Two moons").click()
    app.run().set(open__kind=opening.OWN)
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
