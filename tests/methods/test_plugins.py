"""A package of somebody else adds a method by an entry point, and a broken one takes nothing away."""

import shutil
import sys
from pathlib import Path

import pytest
from methods.support import apply, original

from unlearn_core import data, methods
from unlearn_core.models import training
from unlearn_core.registry import plugged

EXAMPLE = Path(__file__).parent / "plugin"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder on the import path that holds the example as an installed package."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("shift_plugin", None)
    plugged.cache_clear()
    yield tmp_path
    sys.modules.pop("shift_plugin", None)
    plugged.cache_clear()


def test_a_plug_in_is_a_method_like_any_other(installed):
    wine = data.load("wine")
    trained = original(wine, "softmax", epochs=2)
    assert list(methods.registry())[-1] == "shift_bias" and methods.info("shift_bias").title == "Shift of the biases"
    model = apply(trained, wine, wine.splits.train[:5], "shift_bias", strength=3)[0]
    before, after = (training.predict(m, wine.inputs, "cpu") for m in (trained[0], model))
    assert (abs(after - before - 3) < 1e-4).all()


def test_without_the_package_there_is_no_such_method():
    plugged.cache_clear()
    assert "shift_bias" not in methods.registry()


def test_a_broken_plug_in_is_left_out_and_said(installed):
    points = installed / "shift_plugin-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "broken = no_such_module:METHOD\n")
    plugged.cache_clear()
    with pytest.warns(UserWarning, match="no_such_module.*cannot be loaded.*ModuleNotFoundError"):
        assert "shift_bias" in methods.registry()


def test_a_plug_in_cannot_take_the_place_of_a_method_of_ours(installed):
    source = installed / "shift_plugin.py"
    source.write_text(source.read_text().replace('"shift_bias"', '"retrain"'))
    plugged.cache_clear()
    assert plugged(methods.GROUP)["retrain"].title == "Shift of the biases"
    with pytest.warns(UserWarning, match="retrain .*is left out"):
        assert methods.info("retrain").title != "Shift of the biases"
