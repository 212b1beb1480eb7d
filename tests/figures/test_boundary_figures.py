"""The charts of the boundary: lines lie where classes tie, arrows run from before to after, nothing depends on retrains."""

import numpy as np
import pytest
from evidence.subjects import make_subject

from unlearn_core.evidence import boundary
from unlearn_core.figures import boundary as charts
from unlearn_core.figures.regions import boundary_lines, shading


@pytest.fixture(scope="module", params=["moons", "digits"])
def case(request):
    subject = make_subject(request.param, unlearned="retrain")
    return subject, boundary.compute(subject)


def named(fig, name):
    return [trace for trace in fig.data if trace.name == name]


def test_boundary_line_of_a_linear_rule_is_exact():
    x, y = np.linspace(0, 1, 31), np.linspace(0, 2, 41)
    score = (x[None] + 0.3 * y[:, None]) - 0.72
    xs, ys = boundary_lines((score > 0).astype(np.uint8), np.abs(score), x, y)
    there = ~np.isnan(xs)
    assert xs[there] + 0.3 * ys[there] == pytest.approx(0.72)
    assert (~there).sum() == 1  # one connected piece, so dashes run through
    assert ys[there].min() == 0 and ys[there].max() == 2


def test_boundary_line_around_a_disc_is_closed_and_three_classes_meet_in_a_point():
    x = np.linspace(-1, 1, 60)
    radius = np.hypot(x[None], x[:, None]) - 0.6
    xs, ys = boundary_lines((radius > 0).astype(np.uint8), np.abs(radius), x, x)
    assert (xs[0], ys[0]) == (xs[-2], ys[-2]) and np.isnan(xs).sum() == 1
    assert np.hypot(xs[:-1], ys[:-1]) == pytest.approx(np.full(len(xs) - 1, 0.6), abs=2e-3)
    angle = ((np.arctan2(x[:, None], x[None]) + np.pi) / (2 * np.pi / 3)).astype(int).clip(0, 2)
    xs, ys = boundary_lines(angle, np.ones(angle.shape), x, x)
    assert np.nanmin(np.hypot(xs, ys)) < 0.05 and np.isnan(xs).sum() == 3  # one piece an arm
    empty = boundary_lines(np.zeros((5, 5)), np.ones((5, 5)), x[:5], x[:5])
    assert len(empty[0]) == 0


def test_shading_tells_classes_and_confidence_apart():
    labels, top = np.array([[0, 1], [0, 1]]), np.array([[0.5, 0.5], [1.0, 1.0]])
    heat = shading(labels, top, np.arange(2), np.arange(2), 2)
    assert len(np.unique(heat.z)) == 4 and heat.z.max() < heat.zmax
    faded = shading(labels, top, np.arange(2), np.arange(2), 2, fade=np.zeros((2, 2)))
    assert len(np.unique(faded.z)) == 2


def test_arrows_run_from_before_to_after(case):
    subject, findings = case
    view = findings.views["margins"]
    fig = charts.margin_arrows(view, subject.class_names)
    arrows = np.asarray(named(fig, "Unlearned")[0].x).reshape(-1, 3)
    expected = {(round(a, 9), round(b, 9)) for a, b in zip(view["original"], view["unlearned"], strict=True)}
    assert {(round(a, 9), round(b, 9)) for a, b, _ in arrows} == expected and np.isnan(arrows[:, 2]).all()
    assert len(named(fig, "Retrained")[0].x) == 3 * len(view["ids"])
    assert any(shape.x0 == shape.x1 == 0 for shape in fig.layout.shapes)  # the boundary itself
    assert fig.data[-1].marker.symbol == "arrow"


def test_many_rows_are_thinned_and_say_so(case):
    subject, findings = case
    fig = charts.margin_arrows(findings.views["margins"], subject.class_names, most=5)
    assert len(named(fig, "Original")[0].x) == 10
    assert any("5 of 12" in a.text for a in fig.layout.annotations)


def test_panels_share_axes_and_carry_every_boundary(case):
    subject, findings = case
    if subject.modality == "points":
        view = findings.views["regions"]
        fig = charts.regions(
            view, subject.inputs, subject.labels, subject.splits.train, subject.forget, subject.class_names, subject.forget
        )
        assert len(named(fig, "Forgotten")) == len(named(fig, "Wrong label")) == 3
        assert list(named(fig, "Forgotten")[0].x) == list(subject.inputs[subject.forget, 0])
    else:
        fig = charts.plane(findings.views["plane"], subject.class_names, ["data:image/png;base64,AAAA"] * 3)
        assert len(fig.layout.images) == 9
    assert [a.text for a in fig.layout.annotations][:3] == ["Original", "Unlearned", "Retrained (1 of 3)"]
    for who in ("original", "unlearned", "retrained"):
        assert len(named(fig, f"Boundary: {who}")) == 3
    ranges = {tuple(fig.layout[axis].range) for axis in ("xaxis", "xaxis2", "xaxis3")}
    assert len(ranges) == 1 and fig.layout.xaxis2.matches == fig.layout.xaxis3.matches == "x"
    dashes = {named(fig, f"Boundary: {who}")[0].line.dash for who in ("original", "unlearned", "retrained")}
    widths = {named(fig, f"Boundary: {who}")[0].line.width for who in ("original", "unlearned")}
    assert "dash" in dashes and len(widths) == 2  # colour is not the only cue


def test_closeness_shows_the_span_of_two_retrained_models(case):
    _, findings = case
    for family in ("boundary.agreement", "boundary.js"):
        fig = charts.closeness(findings.measures, family)
        rows = [m for m in findings.measures if m.family == family]
        dotted = [(s.x0, s.x1) for s in fig.layout.shapes if s.line.dash == "dot"]
        assert sorted(dotted) == sorted(m.null for m in rows)
        assert list(named(fig, "Unlearned")[0].x) == [next(m for m in rows if m.group == g).unlearned for g in ("forget", "retain", "test")]


def test_overview_draws_real_flips_and_says_how_far_to_trust_it(case):
    subject, findings = case
    view = findings.views["overview"]
    fig = charts.overview(view, subject.class_names)
    flips = [trace for trace in fig.data if trace.name.startswith("now ")]
    assert sum(len(trace.x) for trace in flips) == len(view["flip_ids"])
    assert fig.data[0].zmin == 0 and fig.data[0].zmax == pytest.approx(
        max(np.nanmax(view[k]) for k in ("delta", "delta_retrained", "delta_noise"))
    )
    words = fig.layout.annotations[-1].text
    assert words.startswith("Approximate") and f"{view['fidelity'][0]:.0%}" in words
    other = charts.overview(view, subject.class_names, layer="delta_noise")
    assert other.data[0].zmax == fig.data[0].zmax  # the same scale, so layers can be compared


def test_charts_work_before_unlearning_and_before_retraining():
    for kind in ("moons", "digits"):
        subject = make_subject(kind, retrains=0, unlearned=None)
        views = boundary.compute(subject).views
        charts.margin_arrows(views["margins"], subject.class_names)
        charts.overview(views["overview"], subject.class_names)
        assert [t.name for t in charts.segment(views["segment"], subject.class_names).data] == ["Original"]
        fig = (
            charts.plane(views["plane"], subject.class_names)
            if kind == "digits"
            else charts.regions(views["regions"], subject.inputs, subject.labels, subject.splits.train, subject.forget, subject.class_names)
        )
        assert [t.name for t in fig.data if "Boundary" in (t.name or "")] == ["Boundary: original"]


def test_many_points_use_webgl(case):
    subject, findings = case
    if subject.modality == "points":
        ids = np.tile(subject.splits.train, 5)
        fig = charts.regions(findings.views["regions"], subject.inputs, subject.labels, ids, subject.forget, subject.class_names)
        assert {t.type for t in fig.data if t.name in subject.class_names} == {"scattergl"}


# Slices through mixes of words or categories


@pytest.fixture(scope="module")
def mixed():
    subject = make_subject("digits", unlearned="retrain")
    views = {
        name: view | {"mixed": np.array(True)} for name, view in boundary.compute(subject).views.items() if name in ("plane", "segment")
    }
    return views, subject.class_names


def test_every_place_of_a_mixed_slice_says_its_shares(mixed):
    view, names = mixed[0]["plane"], mixed[1]
    fig = charts.plane(view, names, words=["a < b", "long " * 200, ""])
    heats = list(fig.select_traces({"type": "heatmap"}))
    assert len(heats) == 3 and all(str(i) in heats[0].hovertemplate for i in view["corner_ids"])
    told = np.asarray(heats[0].customdata)
    assert told.shape == (60, 60, 3) and np.abs(told.sum(axis=-1) - 100).max() <= 2 and told.min() < 0
    r, c = 20, 33
    place = np.array([view["a"][c], view["b"][r]])
    assert told[r, c] / 100 @ view["corners"] == pytest.approx(place, abs=0.015 * np.abs(view["corners"]).max())
    assert heats[1].text[r][c] == names[view["unlearned"][r, c]]
    triangle = named(fig, "Inside: shares of 0 to 100 %")
    assert len(triangle) == 3 and np.allclose(triangle[0].x, view["corners"][[0, 1, 2, 0], 0])
    corner = named(fig, "Forgotten (star), two retained")[0].text
    assert corner[0].endswith("<br>a &lt; b") and corner[1].endswith(" …") and len(corner[1]) < 600 and "<br>" not in corner[2]


def test_inputs_that_blend_are_drawn_as_before(mixed):
    view = {name: array for name, array in mixed[0]["plane"].items() if name != "mixed"}
    fig = charts.plane(view, mixed[1])
    assert all(heat.hoverinfo == "skip" for heat in fig.select_traces({"type": "heatmap"})) and not named(
        fig, "Inside: shares of 0 to 100 %"
    )


def test_the_way_through_mixes_says_its_shares(mixed):
    view, names = mixed[0]["segment"], mixed[1]
    first, second, third = view["ids"]
    text = charts.segment(view, names).data[-1].text
    assert text[40] == f"100 % of {first}" and text[0] == f"100 % of {second}" and text[80] == f"100 % of {third}"
    assert text[50] == f"75 % of {first} + 25 % of {third}" and text[20] == f"50 % of {first} + 50 % of {second}"
