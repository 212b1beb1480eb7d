"""Figures of privacy: what the model says about forgotten and never-seen instances, and how well attacks tell them apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from unlearn_core.evidence.base import Measure
from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import GREEN, GREY, MODEL_COLOURS, MODEL_SYMBOLS, ORANGE, PURPLE, SKY
from unlearn_core.figures.structure import measure_rows

PANELS = {"original": "Original", "unlearned": "Unlearned", "retrained": "Retrained (mean)"}
GROUPS = {  # colour, hatch (filled without), name
    "forget": (ORANGE, "/", "Forgotten"),
    "test": (SKY, "", "Test (never seen)"),
    "retain": (PURPLE, "x", "Retained"),
}


def score_histograms(
    view: Mapping[str, np.ndarray],
    threshold: float | None = None,
    *,
    groups: tuple[str, str] = ("forget", "test"),
    x: str = "logit-scaled confidence (φ)",
    bins: int = 24,
) -> go.Figure:
    """Overlapping histograms of two groups for the original, the unlearned and the mean of the retrained models.

    view: "scores" or "confidence" of the privacy evidence. threshold: a line; each panel then says which
    share of either group lies above it (for the retrained models on average). groups: members first, then non-members.
    """
    panels = [who for who in PANELS if f"{groups[0]}.{who}" in view and np.size(view[f"{groups[0]}.{who}"])]
    values = {(who, group): np.atleast_2d(view[f"{group}.{who}"]) for who in panels for group in groups}
    edges = np.linspace(*_range(np.concatenate([v.ravel() for v in values.values()])), bins + 1)
    titles = [PANELS[who] + _rates(values, who, groups, threshold) for who in panels]
    fig = make_subplots(1, len(panels), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03)
    fig.update_layout(figure(height=350).layout, barmode="overlay", bargap=0, margin={"l": 8, "r": 8, "t": 92, "b": 8}, legend={"y": 1.2})
    for column, who in enumerate(panels, start=1):
        for group in groups[::-1]:
            colour, hatch, name = GROUPS[group]
            inside = np.clip(values[who, group], edges[0], edges[-1])  # the outermost bars also hold what lies beyond
            share = np.mean([np.histogram(row, edges)[0] / max(len(row), 1) for row in inside], axis=0)
            fig.add_bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=share,
                width=np.diff(edges),
                name=name,
                legendgroup=group,
                showlegend=column == 1,
                row=1,
                col=column,
                hovertemplate="about %{x:.2f}: %{y:.1%}",
                marker=_bar(colour, hatch),
            )
        if threshold is not None:
            at = float(np.clip(threshold, edges[0], edges[-1]))
            fig.add_vline(x=at, line={"color": GREY, "width": 2, "dash": "dot"}, row=1, col=column)
    fig.update_xaxes(range=[edges[0], edges[-1]])
    fig.update_xaxes(title=x, col=(len(panels) + 1) // 2)
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(title="share of the group", col=1)
    return fig


def auc_rows(measures: list[Measure], labels: list[str], *, x: str = "AUC (0.5 = cannot be told apart)") -> go.Figure:
    """AUCs or balanced accuracies with their chance band, the interval of the unlearned value and a tick for every retrained model.

    measures: such as privacy.auc.forget and privacy.exposure_shift.retain, top to bottom; labels: their names.
    """
    fig = measure_rows(measures, labels, x=x, null="chance")
    fig.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dash"}, layer="below")
    shown = [0.35, 0.65]
    for m in measures:
        shown += [m.original, m.unlearned, *(m.ci or ()), *(m.null or ()), *(m.retrained.values if m.retrained else ())]
    drawn = np.array([value for value in shown if value is not None])
    fig.update_xaxes(range=[max(drawn.min() - 0.03, -0.01), min(drawn.max() + 0.03, 1.01)])
    return fig


def split_dots(view: Mapping[str, np.ndarray], measure: Measure) -> go.Figure:
    """The starting-kit attack: accuracy of each of its ten splits as a dot, their mean as a bar, one row a model.

    view: "lr_attack" of the privacy evidence: original, unlearned [s], retrained [k, s]. measure: privacy.lr_attack.forget.
    """
    rows = {"Original": ("original", view["original"])}
    if "unlearned" in view:
        rows["Unlearned"] = ("unlearned", view["unlearned"])
    rows |= {f"Retrained {k + 1}": ("retrained", splits) for k, splits in enumerate(view["retrained"])}
    fig = figure(x="accuracy of the attack (0.5 = a coin)", height=84 + 40 * len(rows))
    if measure.null:
        fig.add_vrect(*measure.null, fillcolor=GREEN, opacity=0.1, line_width=0, layer="below")
        fig.add_bar(x=[None], y=[None], name="chance", marker={"color": GREEN, "opacity": 0.25}, hoverinfo="skip")
    fig.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dash"}, layer="below")
    for row, (who, splits) in enumerate(rows.values()):
        at = len(rows) - 1 - row
        first = [name for name, (kind, _) in rows.items() if kind == who][0] == list(rows)[row]
        spread = np.linspace(-0.22, 0.22, len(splits))  # split by split, so that equal accuracies stay apart
        fig.add_scatter(
            x=splits,
            y=at + spread,
            mode="markers",
            legendgroup=who,
            showlegend=False,
            marker={"symbol": "circle", "size": 6, "color": MODEL_COLOURS[who], "opacity": 0.55},
            hovertemplate="one split: %{x:.2f}<extra></extra>",
        )
        fig.add_scatter(
            x=[splits.mean()],
            y=[at],
            mode="markers",
            name=who.capitalize(),
            legendgroup=who,
            showlegend=first,
            marker={
                "symbol": MODEL_SYMBOLS[who],
                "size": 20 if who == "retrained" else 14,
                "color": MODEL_COLOURS[who],
                "line": {"width": 2.5, "color": MODEL_COLOURS[who]},
            },
            hovertemplate="mean: %{x:.3f}",
        )
    fig.update_yaxes(tickmode="array", tickvals=list(range(len(rows)))[::-1], ticktext=list(rows), range=[-0.6, len(rows) - 0.4])
    fig.update_xaxes(range=[-0.02, 1.02])
    return fig


def roc_curves(view: Mapping[str, np.ndarray], *, log: bool = False) -> go.Figure:
    """Members found against false alarms (ROC curves) of the confidence threshold as steps, with the chance diagonal.

    view: "roc" of the privacy evidence: fpr [j], original, unlearned [j], retrained [k, j]. log: logarithmic axes, for
    the region of few false alarms; points without any are then left out.
    """
    fig = figure(x="share of false alarms (test)", y="share of members found (forgotten)", height=400)
    fpr, least = view["fpr"], view["fpr"][view["fpr"] > 0].min()
    chosen = fpr > 0 if log else np.ones(len(fpr), dtype=bool)
    diagonal = np.geomspace(least, 1, 50) if log else np.array([0.0, 1.0])
    fig.add_scatter(x=diagonal, y=diagonal, mode="lines", name="chance", line={"color": GREY, "width": 1, "dash": "dash"}, hoverinfo="skip")
    curves = [("retrained", values) for values in view["retrained"]]
    curves += [(who, view[who]) for who in ("original", "unlearned") if who in view]
    for at, (who, values) in enumerate(curves):
        style = {"original": {"width": 2, "dash": "dash"}, "unlearned": {"width": 2.5}, "retrained": {"width": 1.5}}[who]
        fig.add_scatter(
            x=fpr[chosen],
            y=values[chosen],
            mode="lines",
            name=who.capitalize(),
            legendgroup=who,
            showlegend=who != "retrained" or at == 0,
            line={"color": MODEL_COLOURS[who], "shape": "hv", **style},
            hovertemplate="false alarms %{x:.1%}, found %{y:.1%}",
        )
    if log:
        low = float(np.log10(least))
        fig.update_xaxes(type="log", dtick=1, range=[low, 0.02])
        fig.update_yaxes(type="log", dtick=1, range=[low, 0.02])
    else:
        fig.update_xaxes(range=[-0.01, 1.01], constrain="domain")
        fig.update_yaxes(range=[-0.01, 1.01], scaleanchor="x", constrain="domain")
    return fig


def _range(values: np.ndarray) -> tuple[float, float]:
    """Axis range of almost all values; the few beyond are drawn at its ends."""
    low, high = np.quantile(values, [0.005, 0.995])
    pad = 0.02 * (high - low) or 0.5
    return float(low - pad), float(high + pad)


def _rates(values: Mapping[tuple[str, str], np.ndarray], who: str, groups: tuple[str, str], threshold: float | None) -> str:
    if threshold is None:
        return ""
    found, accused = (np.mean(values[who, group] > threshold) for group in groups)
    return f"<br><sub>{found:.0%} found, {accused:.0%} false alarms</sub>"


def _bar(colour: str, hatch: str) -> dict:
    """Filled bars, or hatched outlines that leave the bars behind them visible."""
    if not hatch:
        return {"color": colour, "opacity": 0.6, "line": {"width": 0}}
    pattern = {"shape": hatch, "size": 6, "solidity": 0.3, "bgcolor": "rgba(0,0,0,0)", "fgcolor": colour}
    return {"color": "rgba(0,0,0,0)", "line": {"width": 1.5, "color": colour}, "pattern": pattern}
