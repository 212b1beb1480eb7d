"""A package of somebody else adds an architecture by an entry point, and a broken one takes nothing away."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn_core import data, models
from unlearn_core.errors import BadInput
from unlearn_core.models import ensemble, training
from unlearn_core.params import resolve
from unlearn_core.registry import plugged
from unlearn_core.runs import api

EXAMPLE = Path(__file__).parent / "plugin"
FOLDER = "maxout_plugin-1.0.dist-info"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder on the import path that holds the example as an installed package."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("maxout_plugin", None)
    plugged.cache_clear()
    yield tmp_path
    sys.modules.pop("maxout_plugin", None)
    plugged.cache_clear()


def test_a_plug_in_is_an_architecture_like_any_other(installed, tmp_path):
    assert list(models.registry())[-1] == "maxout" and models.info("maxout").title == "Maxout layer"
    assert "maxout" in models.suited(data.info("moons")) and "maxout" not in models.suited(data.info("sst2"))
    small = {"model_params": {"width": 6, "epochs": 30}, "dataset_params": {"instances": 160}, "store": tmp_path / "store", "device": "cpu"}
    run = api.run("moons", "random:10", "finetune", "maxout", retrains=3, **small)
    assert run.retrained == 3 and run.measure("utility.accuracy.test").original > 0.8
    assert run.measure("boundary.js.forget").retrained is not None


def test_its_units_are_the_largest_of_their_pieces(installed):
    wine = data.load("wine")
    info = models.info("maxout")
    model = training.fresh(info, wine, resolve(info.params, {"width": 5, "pieces": 4}, "maxout"), 0, "cpu")
    x = torch.as_tensor(wine.inputs[:7])
    linear = model.stages["features"][1]
    by_hand = (x @ linear.weight.T + linear.bias).reshape(7, 5, 4).amax(2)
    assert torch.allclose(model.features(x), by_hand, rtol=1e-4, atol=1e-3)


def test_many_of_it_equal_those_trained_alone(installed):
    wine, info = data.load("wine"), models.info("maxout")
    params, ids = resolve(info.params, {"width": 5, "epochs": 3}, "maxout"), wine.splits.train
    together = ensemble.train_many(info, wine, params, [ids, ids[5:]], [3, 4], "cpu")
    alone = training.train(info, wine, params, ids[5:], 4, "cpu")
    assert np.allclose(training.predict(together[1], wine.inputs, "cpu"), training.predict(alone, wine.inputs, "cpu"), atol=1e-4)


def test_without_the_package_there_is_no_such_architecture():
    plugged.cache_clear()
    with pytest.raises(BadInput, match="no model called 'maxout'"):
        models.info("maxout")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('MODEL = ModelInfo(name="mlp"', "mlp .unlearn_core.models. is left out: there is a mlp already"),
        ("MODEL = dict(", "maxout .unlearn_core.models. declares no ModelInfo"),
        ("MODEL = undefined(", "maxout_plugin:MODEL .unlearn_core.models. cannot be loaded: NameError"),
    ],
    ids=["the name of one of ours", "no declaration", "cannot be imported"],
)
def test_a_bad_plug_in_is_left_out_and_said(installed, source, said):
    path = installed / "maxout_plugin.py"
    text = path.read_text()
    changed = text.replace('MODEL = ModelInfo(\n    name="maxout"' if "mlp" in source else "MODEL = ModelInfo(", source)
    assert changed != text
    path.write_text(changed)
    plugged.cache_clear()
    with pytest.warns(UserWarning, match=said):
        found = models.registry()
    assert "maxout" not in found and found["mlp"].title == "Multilayer perceptron"


def test_of_two_plug_ins_of_one_name_the_second_is_left_out_and_said(installed):
    points = installed / FOLDER / "entry_points.txt"
    points.write_text(points.read_text().rstrip() + "\nagain = maxout_plugin:AGAIN\n")
    path = installed / "maxout_plugin.py"
    path.write_text(path.read_text() + '\n\nAGAIN = ModelInfo(**{**vars(MODEL), "title": "Another"})\n')
    plugged.cache_clear()
    with pytest.warns(UserWarning, match="maxout_plugin:AGAIN .unlearn_core.models. is left out: another is called maxout"):
        found = models.registry()
    assert found["maxout"].title == "Maxout layer"
