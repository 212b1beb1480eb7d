"""Figures of collateral draw the numbers that they are given."""

import json

import numpy as np
import pytest

from unlearn_core.figures.collateral import damage_curve, damage_scatter
from unlearn_core.figures.palette import MODEL_COLOURS

RNG = np.random.default_rng(0)
CURVE = {
    "start": np.array([0.0, 0.2, 0.4]), "end": np.array([0.1, 0.3, 0.9]), "distance": np.array([0.05, 0.25, 0.6]), "count": np.array([9, 8, 8]),
    "original": np.array([0.3, 0.1, 0.0]), "unlearned": np.array([1.0, 0.5, 0.1]), "unlearned_low": np.array([0.4, 0.2, -0.2]),
    "unlearned_high": np.array([1.5, 0.9, 0.4]), "retrained": RNG.normal(size=(3, 3)), "low": np.full(3, -0.5), "high": np.full(3, 0.5),
}  # fmt: skip
EACH = {
    "ids": np.arange(20) * 2, "nearest": np.arange(20) % 3, "distance": RNG.uniform(size=20), "near": np.arange(20) < 5,
    "damage_original": RNG.normal(size=20), "damage_unlearned": RNG.normal(size=20),
}  # fmt: skip


def named(fig):
    return {trace.name: trace for trace in fig.data if trace.name}


def test_the_curve_shows_every_model_its_spread_and_the_band():
    fig = damage_curve(CURVE)
    drawn = named(fig)
    assert tuple(drawn["Unlearned"].y) == tuple(CURVE["unlearned"]) and tuple(drawn["Original"].y) == tuple(CURVE["original"])
    np.testing.assert_allclose(drawn["Unlearned"].error_y.array, [0.5, 0.4, 0.3])
    np.testing.assert_allclose(drawn["Unlearned"].error_y.arrayminus, [0.6, 0.3, 0.3])
    assert [tuple(t.y) for t in fig.data if t.name == "Retrained"] == [tuple(row) for row in CURVE["retrained"]]
    assert all(t.marker.color == MODEL_COLOURS["retrained"] for t in fig.data if t.name == "Retrained")
    assert tuple(drawn["one more retrained (95 %)"].y) == (-0.5,) * 3
    assert "9 instances, distance 0 to 0.1" in drawn["Unlearned"].customdata[0]
    assert list(fig.layout.xaxis.ticktext) == ["nearest", "2", "farthest"]


def test_the_curve_without_interval_or_unlearned_model():
    fig = damage_curve(
        {k: v for k, v in CURVE.items() if not k.startswith("unlearned")} | {"low": np.full(3, np.nan), "retrained": CURVE["retrained"][:0]}
    )
    assert set(named(fig)) == {"Original"}


def test_every_instance_is_in_the_scatter_with_its_ids():
    fig = damage_scatter(EACH)
    drawn = named(fig)
    near, others = drawn["Unlearned, neighbours"], drawn["Unlearned, others"]
    np.testing.assert_allclose(near.y, EACH["damage_unlearned"][:5])
    np.testing.assert_allclose(others.x, EACH["distance"][5:])
    assert near.customdata.tolist() == [[2 * i, i % 3] for i in range(5)] and "customdata[0]" in near.hovertemplate
    assert drawn["Original"].visible == "legendonly" and len(drawn["Original"].x) == 20
    assert set(named(damage_scatter({k: v for k, v in EACH.items() if k != "damage_unlearned"}))) == {"Original"}


@pytest.mark.parametrize("fig", [damage_curve(CURVE), damage_scatter(EACH)])
def test_backgrounds_are_transparent_and_figures_serialise(fig):
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert json.loads(fig.to_json())["data"]
