"""Figures of structure draw the numbers that they are given."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unlearn_core.evidence.base import Measure, retrained_band
from unlearn_core.figures import structure as figures
from unlearn_core.figures.palette import MODEL_COLOURS

RNG = np.random.default_rng(0)
KEPT = {
    "ids": np.arange(60),
    "group": np.repeat([0, 1, 2], 20).astype(np.int8),
    "unlearned": RNG.uniform(size=60),
    "retrained": RNG.uniform(size=(3, 60)),
}
RELATIONS = {
    "classes": np.array([0, 2, 3]),
    "original": np.eye(3),
    "unlearned": np.eye(3) + 0.04 * (1 - np.eye(3)),
    "retrained": np.zeros((0, 3, 3)),
}
CKA = {
    "layers": np.array(["one", "two"]),
    "unlearned": np.array([0.9, 0.8]),
    "retrained": np.array([[0.7, 0.6], [0.72, 0.65]]),
    "null": np.array([[0.75, 0.7]]),
}


def measure(**changes):
    values = {"original": 1.0, "unlearned": 0.6, "retrained": retrained_band([0.4, 0.45, 0.5]), "null": (0.41, 0.47), "ci": (0.55, 0.66)}
    return Measure("structure.knn_overlap.forget", "forget", **(values | changes))


def test_kept_neighbours_draw_models_null_and_interval():
    fig = figures.kept_neighbours([measure(), measure(unlearned=None, ci=None)], ["first", "second"])
    named = {trace.name: trace for trace in fig.data if trace.name}
    assert named["Retrained"].x == (0.4, 0.45, 0.5) * 2 and named["Unlearned"].x == (0.6,)
    frames = [shape for shape in fig.layout.shapes if shape.line.dash == "dot"]
    assert [(f.x0, f.x1) for f in frames] == [(0.41, 0.47)] * 2 and "two retrained models" in named
    bar = next(trace for trace in fig.data if trace.error_x.array is not None)
    assert bar.error_x.array[0] == pytest.approx(0.06) and bar.error_x.arrayminus[0] == pytest.approx(0.05)
    assert list(fig.layout.yaxis.ticktext) == ["first", "second"]


def test_measures_without_values_leave_their_rows_empty():
    empty = Measure("structure.knn_overlap.forget", "forget", reason="none")
    fig = figures.kept_neighbours([empty], ["row"])
    assert sum(len(trace.x or ()) for trace in fig.data) == 0


def test_violins_hold_every_instance_of_their_group_and_no_other():
    fig = figures.kept_by_group(KEPT)
    drawn = {(trace.name, trace.x[0]): trace for trace in fig.data}
    assert len(drawn) == 6
    np.testing.assert_allclose(sorted(drawn["Unlearned", "Forgotten"].y), sorted(KEPT["unlearned"][40:]))
    np.testing.assert_allclose(sorted(drawn["Retrained", "Forgotten"].y), sorted(KEPT["retrained"][:, 40:].ravel()))
    assert drawn["Unlearned", "Forgotten"].customdata.tolist() == list(range(40, 60))
    assert {trace.side for trace in fig.data} == {"negative", "positive"}


def test_drift_violins_hold_the_drift_and_no_range_of_shares():
    fig = figures.drift_by_group(KEPT | {"unlearned": KEPT["unlearned"] * 1.9})
    found = next(trace for trace in fig.data if trace.name == "Unlearned" and trace.x[0] == "Other retained")
    np.testing.assert_allclose(sorted(found.y), sorted(1.9 * KEPT["unlearned"][:20]))
    assert fig.layout.yaxis.range is None and found.spanmode == "hard"


def test_rows_by_layer_end_with_the_features_and_leave_out_what_was_not_computed():
    def row(group, **changes):
        return replace(measure(**changes), id=f"structure.preservation.{group}", group=group, n=7)

    given = [row("retain"), row("layer:first"), row("layer:second", unlearned=None)]
    fig = figures.layer_rows(given, x="score", null="two retrained models")
    assert list(fig.layout.yaxis.ticktext) == ["first<br>n = 7", "features<br>n = 7"]
    assert next(trace for trace in fig.data if trace.name == "Unlearned").x == (0.6, 0.6)
    pairs = [row("layer:features:retain"), row("layer:features:forget"), row("layer:first:forget")]
    fig = figures.layer_rows(pairs, x="drift", null="two retrained models")
    assert list(fig.layout.yaxis.ticktext) == ["first, forgotten<br>n = 7", "features, retained<br>n = 7", "features, forgotten<br>n = 7"]


def test_violins_work_without_retrained_models():
    fig = figures.kept_by_group(KEPT | {"retrained": np.zeros((0, 60))})
    assert {trace.name for trace in fig.data if len(trace.y)} == {"Unlearned"}


def test_relations_share_one_scale_and_the_difference_is_not_blown_up():
    fig = figures.class_relations(RELATIONS, ["cat", "dog", "cow", "hen"])
    before, after, change = fig.data
    assert list(before.x) == ["cat", "cow", "hen"] and before.coloraxis == after.coloraxis != change.coloraxis
    np.testing.assert_allclose(change.z, RELATIONS["unlearned"] - RELATIONS["original"])
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-1, 1)
    assert (fig.layout.coloraxis2.cmin, fig.layout.coloraxis2.cmax) == (-0.1, 0.1)  # 0.04 is drawn pale
    assert before.text[0][0] == "1" and before.text[0][1] == ""


def test_cell_text_is_short_and_signed():
    assert figures._short(np.array([[0.34, -0.34, 0.96, -1.0, 0.02]])) == [[".3", "−.3", "1", "−1", ""]]


def test_layers_draw_every_model_and_the_band():
    fig = figures.layer_similarity(CKA)
    assert [tuple(t.y) for t in fig.data if t.name == "Retrained"] == [(0.7, 0.6), (0.72, 0.65)]
    assert all(t.marker.color == MODEL_COLOURS["retrained"] for t in fig.data if t.name == "Retrained")
    assert sum(t.fill == "tonexty" for t in fig.data) == 1
    alone = figures.layer_similarity(CKA | {"retrained": np.zeros((0, 2)), "null": np.zeros((0, 2))})
    assert [t.name for t in alone.data] == ["Unlearned"]


@pytest.mark.parametrize("fig", [figures.kept_by_group(KEPT), figures.class_relations(RELATIONS, "abcd"), figures.layer_similarity(CKA)])
def test_backgrounds_are_transparent_and_figures_serialise(fig):
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert json.loads(fig.to_json())["data"]
