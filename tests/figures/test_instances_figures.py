"""Forgotten instances drawn: needles in their bands, verdicts as cells, the bell of one instance, p-values of all."""

import numpy as np
import pytest
from scipy import stats

from unlearn_core.evidence.verdicts import FEW, NAMES, NOT, OVER, STILL
from unlearn_core.figures.instances import CELLS, MOST, STYLES, bells, needles, qq, waffle


def view(n, k=5):
    rng = np.random.default_rng(0)
    unlearned = rng.normal(0, 3, n)
    verdict = np.select([unlearned > 2, unlearned < -2], ["still told apart", "over-forgotten"], "not told apart")
    return {
        "ids": np.arange(n) * 3, "original": unlearned + 2, "unlearned": unlearned, "retrained": rng.normal(0, 1, (k, n)),
        "low": np.full(n, -2.0), "high": np.full(n, 2.0), "verdict": verdict,
    }  # fmt: skip


def test_rows_are_sorted_and_bands_and_marks_stand_where_the_view_says():
    shown = view(12)
    fig = needles(shown)
    band = fig.data[0]
    assert np.allclose(band.base, -2) and np.allclose(band.x, 4)
    like, flagged = fig.data[3], fig.data[4]
    assert len(like.x) + len(flagged.x) == 12
    assert (np.abs(like.x) <= 2).all() and (np.abs(flagged.x) > 2).all()
    ids = [int(text) for text in fig.layout.yaxis.ticktext]
    assert ids == shown["ids"][np.argsort(shown["unlearned"])].tolist()


def test_many_instances_show_both_extremes():
    shown = view(200)
    drawn = [int(text) for text in needles(shown).layout.yaxis.ticktext]
    order = shown["ids"][np.argsort(shown["unlearned"])].tolist()
    assert len(drawn) == MOST and drawn[0] == order[0] and drawn[-1] == order[-1]


# the waffle


def judged(n, k=6, seed=1):
    """A view with verdicts drawn at random."""
    rng = np.random.default_rng(seed)
    names = np.array(NAMES[:3])
    codes = rng.choice(3, (k, n), p=[0.1, 0.8, 0.1]).astype(np.int8)
    return {
        "ids": np.arange(n) * 3, "retrained": np.zeros((k, n)), "verdict": rng.choice(names, n), "verdict_original": rng.choice(names, n),
        "verdict_controlled": np.full(n, NOT), "verdict_retrained": codes, "controlled_retrained": codes,
    }  # fmt: skip


def cells(panel):
    """Verdict of each cell and its hover text, row by row."""
    codes = np.ravel(panel.z)
    there = np.isfinite(codes)
    return [list(STYLES)[int(code)] for code in codes[there]], np.ravel(panel.customdata)[there].tolist()


def test_each_instance_is_one_cell_of_its_verdict_and_the_same_one_in_both_panels():
    shown = judged(37)
    unlearned, original, retrained = waffle(shown).data[:3]
    for panel, names in ((unlearned, shown["verdict"]), (original, shown["verdict_original"])):
        drawn, hover = cells(panel)
        assert {name: drawn.count(name) for name in NAMES} == {name: (names == name).sum() for name in NAMES}
        said = dict(zip(shown["ids"].tolist(), names, strict=True))
        assert all(
            text == f"{i}: {said[i]}" == f"{i}: {name}" for text, name in zip(hover, drawn, strict=True) for i in [int(text.split(":")[0])]
        )
    assert [t.split(":")[0] for t in cells(unlearned)[1]] == [t.split(":")[0] for t in cells(original)[1]]
    drawn, hover = cells(retrained)
    mean = {name: (shown["verdict_retrained"] == at).sum(axis=1).mean() for at, name in enumerate(NAMES)}
    assert len(drawn) == 37 and all(abs(drawn.count(name) - mean[name]) < 1 for name in NAMES)
    assert hover[0] == f"{NOT}: {mean[NOT]:.1f} of 37"


def test_verdicts_differ_in_sign_and_marker_not_by_colour_alone():
    assert len({sign for _, sign, _, _ in STYLES.values()}) == len({marker for _, _, marker, _ in STYLES.values()}) == 4
    fig = waffle(judged(12))
    assert {trace.name: trace.marker.symbol for trace in fig.data[3:]} == {NOT: "circle", STILL: "triangle-up", OVER: "triangle-down"}
    drawn, _ = cells(fig.data[0])
    assert [sign for sign in np.ravel(fig.data[0].text) if sign] == [STYLES[name][1] for name in drawn]


def test_of_many_instances_a_cell_is_one_percent():
    shown = judged(CELLS + 50)
    for panel, names in zip(waffle(shown).data, (shown["verdict"], shown["verdict_original"]), strict=False):
        drawn, hover = cells(panel)
        assert len(drawn) == 100
        for name in (NOT, STILL, OVER):
            assert abs(drawn.count(name) - 100 * np.mean(names == name)) < 1
        assert hover[0] == f"{NOT}: {np.mean(names == NOT):.0%}"


def test_instances_without_enough_models_are_a_verdict_of_their_own():
    shown = judged(5)
    shown["verdict"] = np.array([FEW, NOT, NOT, NOT, NOT])
    fig = waffle(shown)
    assert cells(fig.data[0])[0].count(FEW) == 1 and FEW in [trace.name for trace in fig.data[3:]]


# the bells


NEVER = {"mean": -2.0, "scale": 0.7, "dof": 5.0}
SAW = {"mean": 5.0, "scale": 0.4, "dof": float("inf")}
RETRAINED = np.array([-2.5, -1.6, -2.1, -2.9, -1.2, -1.7])


def drawn(fig, name):
    return next(trace for trace in fig.data if (trace.name or "").startswith(name))


@pytest.mark.parametrize("dof", [4.0, 11.0, float("inf")])
def test_the_bell_is_students_density(dof):
    fig = bells(NEVER | {"dof": dof}, None, 6.0, 0.0, RETRAINED)
    parts = [drawn(fig, name) for name in (OVER, "never saw it", STILL)]
    for part in parts:
        np.testing.assert_allclose(part.y, stats.t.pdf(part.x, dof, -2.0, 0.7), rtol=1e-9)
    areas = [np.trapezoid(part.y, part.x) for part in parts]
    assert areas[1] == pytest.approx(0.9, abs=1e-3)
    assert areas[0] == pytest.approx(0.05, abs=0.003) and areas[2] == pytest.approx(0.05, abs=0.003)
    assert sum(areas) == pytest.approx(1, abs=0.005)
    assert parts[1].x[0] == pytest.approx(stats.t.ppf(0.05, dof, -2.0, 0.7)) and parts[1].x[-1] == pytest.approx(
        stats.t.ppf(0.95, dof, -2.0, 0.7)
    )


def test_needles_and_ticks_stand_at_their_values_and_the_arrow_leads_from_the_original():
    fig = bells(NEVER, None, 6.0, 0.5, RETRAINED)
    assert drawn(fig, "Original").x == (6.0, 6.0) and drawn(fig, "Unlearned").x == (0.5, 0.5)
    assert np.allclose(drawn(fig, "Retrained").x, RETRAINED)
    (arrow,) = fig.layout.annotations
    assert (arrow.ax, arrow.x) == (6.0, 0.5)
    start, stop = fig.layout.xaxis.range
    assert start < RETRAINED.min() and stop > 6.0
    assert not bells(NEVER, None, 6.0, 6.0, RETRAINED).layout.annotations


def test_a_second_bell_is_drawn_where_it_is_known():
    assert "saw it" not in [trace.name for trace in bells(NEVER, None, 6.0, 0.5, RETRAINED).data]
    fig = bells(NEVER, SAW, 6.0, 0.5, RETRAINED)
    bell = drawn(fig, "saw it")
    np.testing.assert_allclose(bell.y, stats.norm.pdf(bell.x, 5.0, 0.4), rtol=1e-9)
    assert np.trapezoid(bell.y, bell.x) == pytest.approx(1, abs=1e-3)
    assert max(bell.y) < fig.layout.yaxis.range[1]


# all p-values


def test_the_qq_plot_holds_every_models_values():
    n, k = 30, 7
    rng = np.random.default_rng(2)
    shown = {"expected": (np.arange(n) + 0.5) / n, "low": np.zeros(n), "high": np.ones(n)}
    shown |= {who: np.sort(rng.random(n)) for who in ("original", "unlearned")} | {"retrained": np.sort(rng.random((k, n)))}
    fig = qq(shown)
    lines = [trace for trace in fig.data if trace.name == "Retrained"]
    assert len(lines) == k and sum(trace.showlegend for trace in lines) == 1
    np.testing.assert_allclose([trace.y for trace in lines], shown["retrained"])
    for who in ("original", "unlearned"):
        np.testing.assert_allclose(drawn(fig, who.capitalize()).y, shown[who])
