"""Figures of privacy draw the numbers that they are given."""

import json

import numpy as np
import pytest

from unlearn_core.evidence import attacks
from unlearn_core.evidence.base import Measure, retrained_band
from unlearn_core.figures import privacy as figures

RNG = np.random.default_rng(0)
SCORES = {
    f"{group}.{who}": RNG.normal(loc, 1, (*((3,) if who == "retrained" else ()), n))
    for group, loc, n in (("forget", 1, 30), ("test", 0, 100))
    for who in ("original", "unlearned", "retrained")
}
ROC = (
    {"fpr": np.linspace(0, 1, 101)}
    | {who: attacks.roc(SCORES[f"forget.{who}"], SCORES[f"test.{who}"]) for who in ("original", "unlearned")}
    | {"retrained": np.stack([attacks.roc(f, t) for f, t in zip(SCORES["forget.retrained"], SCORES["test.retrained"], strict=True)])}
)
SPLITS = {"original": RNG.uniform(0.4, 0.8, 10), "unlearned": RNG.uniform(0.4, 0.8, 10), "retrained": RNG.uniform(0.4, 0.8, (3, 10))}
AUC = Measure("privacy.auc.forget", "forget", 0.7, 0.6, retrained_band([0.5, 0.52, 0.55]), ci=(0.5, 0.7), null=(0.45, 0.55))


def test_histograms_show_the_whole_of_every_group_on_common_bins():
    fig = figures.score_histograms(SCORES)
    assert len(fig.data) == 6 and len({tuple(bar.x) for bar in fig.data}) == 1
    for bar in fig.data:
        assert sum(bar.y) == pytest.approx(1.0)  # instances beyond the axis are in the outermost bars
    assert {bar.marker.pattern.shape for bar in fig.data} == {"/", None}  # not told apart by colour alone


def test_histogram_titles_count_what_lies_above_the_threshold():
    fig = figures.score_histograms(SCORES, 0.5)
    titles = [a.text for a in fig.layout.annotations]
    for who, title in zip(("original", "unlearned", "retrained"), titles, strict=True):
        found, accused = (np.mean(SCORES[f"{group}.{who}"] > 0.5) for group in ("forget", "test"))
        assert f"{found:.0%} found, {accused:.0%} false alarms" in title
    assert len(fig.layout.shapes) == 3 and all(shape.x0 == shape.x1 == 0.5 for shape in fig.layout.shapes)
    moved = figures.score_histograms(SCORES, 1.5)
    assert [a.text for a in moved.layout.annotations] != titles
    assert not figures.score_histograms(SCORES).layout.shapes


def test_histograms_leave_out_models_that_are_not_there():
    early = {k: v for k, v in SCORES.items() if not k.endswith("unlearned")}
    early |= {"forget.retrained": np.zeros((0, 30)), "test.retrained": np.zeros((0, 100))}
    assert [a.text for a in figures.score_histograms(early).layout.annotations] == ["Original"]


def test_auc_rows_show_the_chance_band_and_hold_all_marks():
    fig = figures.auc_rows([AUC], ["Forgotten"])
    assert any((s.x0, s.x1) == (0.45, 0.55) for s in fig.layout.shapes) and any(t.name == "chance" for t in fig.data)
    low, high = fig.layout.xaxis.range
    assert low < 0.45 and high > 0.7
    extreme = figures.auc_rows([Measure("privacy.auc.forget", "forget", 0.99, 0.01)], ["Forgotten"]).layout.xaxis.range
    assert extreme[0] < 0.01 and extreme[1] > 0.99


def test_no_axis_speaks_in_abbreviations():
    drawn = (figures.score_histograms(SCORES, 0.5), figures.roc_curves(ROC), figures.roc_curves(ROC, log=True))
    assert not any(word in fig.to_json() for fig in drawn for word in ("TPR", "FPR", "positive rate"))
    assert "balanced accuracy" in figures.auc_rows([AUC], [""], x="balanced accuracy").layout.xaxis.title.text


def test_split_dots_show_each_split_and_each_mean():
    fig = figures.split_dots(SPLITS, Measure("privacy.lr_attack.forget", "forget", null=(0.4, 0.6)))
    dots = [t for t in fig.data if t.x is not None and len(t.x) == 10]
    assert len(dots) == 5
    np.testing.assert_allclose(dots[1].x, SPLITS["unlearned"])
    means = [t.x[0] for t in fig.data if t.x is not None and len(t.x) == 1 and t.x[0] is not None]
    np.testing.assert_allclose(means, [SPLITS["original"].mean(), SPLITS["unlearned"].mean(), *SPLITS["retrained"].mean(axis=1)])
    assert list(fig.layout.yaxis.ticktext) == ["Original", "Unlearned", "Retrained 1", "Retrained 2", "Retrained 3"]


@pytest.mark.parametrize("log", [False, True])
def test_roc_draws_steps_over_a_chance_diagonal(log):
    fig = figures.roc_curves(ROC, log=log)
    named = {}
    for trace in fig.data:
        named.setdefault(trace.name, []).append(trace)
    assert len(named["Retrained"]) == 3 and all(t.line.shape == "hv" for t in named["Unlearned"])
    assert tuple(named["chance"][0].x) == tuple(named["chance"][0].y)
    np.testing.assert_allclose(named["Unlearned"][0].y, ROC["unlearned"][int(log) :])
    assert (min(named["Unlearned"][0].x) > 0) == log


def test_backgrounds_are_transparent_and_figures_serialise():
    rows = figures.auc_rows([AUC], ["a"])
    drawn = (figures.score_histograms(SCORES, 0.0), rows, figures.roc_curves(ROC), figures.split_dots(SPLITS, AUC))
    for fig in drawn:
        assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert json.loads(fig.to_json())["data"]
