"""What a person takes away."""

import csv
import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from models import samples
from safetensors.numpy import load, load_file

from unlearn_core import report
from unlearn_core.data.parts import column_spans
from unlearn_core.evidence.base import Measure, missing, retrained_band
from unlearn_core.runs import api
from unlearn_core.runs.originals import Original
from unlearn_core.runs.store import Store


@pytest.mark.parametrize(
    "model, params, method, withheld",
    [
        ("sisa", {"shards": 2, "slices": 2, "width": 4, "epochs": 2}, "finetune", "checkpoints"),
        ("convex", {}, "certified", "noise"),
        ("mlp", {"width": 4, "epochs": 2}, "finetune", None),
    ],
)
def test_a_download_holds_the_weights_without_what_tells_about_the_forgotten(tmp_path, model, params, method, withheld):
    run = api.run("wine", "random:2", method, model, model_params=params, retrains=0, device="cpu", store=Store(tmp_path))
    stored, given = load_file(run.model_path), load(report.weights(run))
    assert set(stored) - set(given) == ({withheld} if withheld else set())
    assert all(np.array_equal(stored[name], value) for name, value in given.items())
    with zipfile.ZipFile(io.BytesIO(report.bundle(run))) as archive:
        assert set(load(archive.read("model.safetensors"))) == set(given)


@pytest.mark.parametrize(("name", "said"), [("words", "text"), ("mixed", "column: kind")])
def test_what_was_forgotten_as_people_see_it(name, said):
    dataset = samples.load(name)
    ids = dataset.splits.train
    arrays = {"ids": ids, "label": dataset.labels[ids], "predicted": 1 - dataset.labels[ids], "loss": np.full(len(ids), 0.25, np.float32)}
    meta = {"class_names": list(dataset.class_names), "modality": dataset.modality, "feature_names": list(dataset.feature_names)}
    found = Original("k", None, Path("nowhere"), meta, arrays)
    found.__dict__["texts"] = [dataset.words(int(i)) for i in ids]
    gone = tuple(ids[[3, 5]].tolist())
    zipped = report.forgotten(SimpleNamespace(spec=SimpleNamespace(gone=gone)), found, picture=None)
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        assert archive.namelist() == ["instances.csv"]
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("instances.csv"), encoding="utf-8")))
    for row, i in zip(rows, gone, strict=True):
        assert (int(row["id"]), row["label"], row["loss"]) == (i, dataset.class_names[dataset.labels[i]], "0.25")
        assert row["predicted"] != row["label"]
        assert row[said] == (dataset.texts[i] if name == "words" else "abcd"[int(dataset.inputs[i, 1])])


@pytest.mark.parametrize(
    ("meta", "arrays", "said"),
    [
        (
            {"task": "labels", "target_names": ["x", "y"]},
            {"target": np.array([[1, 1], [0, 0]], bool), "answer": np.array([[0, 1], [1, 1]], bool)},
            [("x + y", "y"), ("none", "x + y")],
        ),
        (
            {"task": "number", "target_names": ["z"]},
            {"target": np.array([[151.0], [2.5]], np.float32), "answer": np.array([[7.26], [-3.0]], np.float32)},
            [("151", "7.3"), ("2.5", "-3")],
        ),
    ],
)
def test_what_was_forgotten_says_what_was_learned_and_not_the_group(meta, arrays, said):
    about = {"class_names": ["group a", "group b"], "modality": "text", "feature_names": []}
    rows = {"ids": np.array([4, 7]), "label": np.array([0, 1]), "loss": np.zeros(2, np.float32)}
    found = Original("k", None, Path("nowhere"), about | meta, rows | arrays)
    found.__dict__["texts"] = ["one", "two"]
    with zipfile.ZipFile(io.BytesIO(report.forgotten(SimpleNamespace(spec=SimpleNamespace(gone=(7, 4))), found, picture=None))) as archive:
        table = list(csv.DictReader(io.TextIOWrapper(archive.open("instances.csv"), encoding="utf-8")))
    assert [(row["id"], row["label"], row["predicted"], row["text"]) for row in table] == [("7", *said[1], "two"), ("4", *said[0], "one")]


@pytest.mark.parametrize(
    ("family", "original", "said"),
    [
        (
            "utility.accuracy",
            0.5,
            "accuracy differs from the retrained models' by more than their seeds do on test instances (50.0%, retrained 8",
        ),
        ("utility.exact", 0.5, "share of instances with all labels right differs from"),
        (
            "utility.error",
            7.0,
            "mean absolute error differs from the retrained models' by more than their seeds do on test instances (7, retrained 0.8",
        ),
        ("utility.error", 0.9, "is as accurate as the retrained ones on the instances that stay and on test instances."),
    ],
)
def test_given_weights_of_every_task_are_held_against_the_recipe(family, original, said):
    retrained = retrained_band([0.9, 0.91, 0.89])
    measures = [Measure(f"{family}.{group}", group, value, 0.9, retrained) for group, value in (("retain", 0.9), ("test", original))]
    if family != "utility.accuracy":
        measures.append(missing("utility.accuracy", "all", "needs one class"))
    run = SimpleNamespace(spec=SimpleNamespace(original=SimpleNamespace(weights="w")), measures=measures)
    assert said in report.baseline(run)[0]


@pytest.mark.parametrize("family", ["utility.accuracy", "utility.exact"])
def test_a_method_that_aims_at_wrong_answers_is_said_to(family):
    measure = Measure(f"{family}.forget", "forget", 1.0, 0.0, retrained_band([0.9, 0.91, 0.89]))
    run = SimpleNamespace(spec=SimpleNamespace(parent=None, method="neggrad"), measures=[measure])
    assert "drives accuracy on the points down (100% before, 0% now); models trained without them score 90%" in report.goal(run)[0]


def test_pictures_of_what_was_forgotten(stored_digits):
    run, found = stored_digits
    with zipfile.ZipFile(io.BytesIO(report.forgotten(run, found, lambda i: f"picture {i}".encode()))) as archive:
        assert set(archive.namelist()) == {"instances.csv", *(f"pictures/{i}.png" for i in run.spec.gone)}
        assert archive.read(f"pictures/{run.spec.gone[0]}.png") == f"picture {run.spec.gone[0]}".encode()
        assert archive.read("instances.csv").decode().startswith("id,label,predicted,loss,picture\n")


@pytest.fixture
def stored_digits(tmp_path):
    """A made-up run on made-up pictures."""
    (tmp_path / "sprite.png").write_bytes(b"")
    arrays = {"ids": np.array([4, 7, 9]), "label": np.array([0, 1, 0]), "predicted": np.array([0, 1, 1]), "loss": np.zeros(3, np.float32)}
    found = Original("k", None, tmp_path, {"class_names": ["a", "b"], "modality": "image", "feature_names": []}, arrays)
    return SimpleNamespace(spec=SimpleNamespace(gone=(7, 9))), found


def test_columns_are_found_where_a_name_also_begins_another_value():
    text = "age 3, average age 4, job a, age 9, city x"
    names = ["age", "average age", "job", "gone", "city"]
    found = [None if place is None else text[slice(*place)] for place in column_spans(text, names)]
    assert found == ["age 3", "average age 4", "job a, age 9", None, "city x"]
