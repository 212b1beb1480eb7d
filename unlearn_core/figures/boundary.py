"""Charts of the boundary: margin arrows, exact regions and slices, the path between instances, the overview map."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from unlearn_core.evidence.base import Measure
from unlearn_core.evidence.slices import shares
from unlearn_core.figures.base import figure, triples
from unlearn_core.figures.palette import GREY, MODEL_COLOURS, MODEL_SYMBOLS, ORANGE, SYMBOLS, VERMILLION, YELLOW, class_style
from unlearn_core.figures.regions import boundary_lines, overlay, rgba, shading
from unlearn_core.figures.utility import bounded_axis, share_axis

RING = {"symbol": "circle-open", "size": 15, "color": MODEL_COLOURS["unlearned"], "line": {"width": 2.5}}
DOT = {"symbol": "circle", "size": 8, "color": "white", "line": {"width": 2.5, "color": MODEL_COLOURS["unlearned"]}}  # seen on any heat
GROUP_NAMES = {"forget": "Forgotten", "neighbours": "Neighbours", "retain": "Retained", "test": "Test", "plane": "Slice"}


def closeness(measures: list[Measure], family: str) -> go.Figure:
    """Triples of "boundary.agreement", "boundary.js", "boundary.flips" … by group, with the span of two retrained models as a bracket."""
    found = [m for group in GROUP_NAMES for m in measures if m.family == family and m.group == group]
    x = {
        "boundary.agreement": "same answer as a retrained model",
        "boundary.js": "divergence from a retrained model (bits)",
        "boundary.flips": "predictions that differ from the original's",
        "boundary.margin": "mean margin",
    }.get(family, family.split(".")[-1])
    fig = triples(found, [f"{GROUP_NAMES[m.group]}<br>n = {m.n:,}" for m in found], x=x)
    for row, m in zip(range(len(found))[::-1], found, strict=True):
        if m.null:
            fig.add_shape(
                type="rect",
                x0=m.null[0],
                x1=m.null[1],
                y0=row - 0.38,
                y1=row + 0.38,
                fillcolor="rgba(0,0,0,0)",
                line={"width": 1, "dash": "dot", "color": MODEL_COLOURS["retrained"]},
            )
    return fig if family == "boundary.margin" else bounded_axis(fig, 0.0, 1.0) if family == "boundary.js" else share_axis(fig)


def margin_arrows(view: dict[str, np.ndarray], class_names: tuple[str, ...], most: int = 40) -> go.Figure:
    """One row an instance, from the margin before (ring) to the margin after (arrow head), retrained models as ticks, boundary at 0.

    view: "margins". most: rows drawn of each group, spread evenly over the margins when there are more.
    """
    rows, titles, gap = [], [], 1.5
    for forgotten, title in ((False, "Nearest retained"), (True, "Forgotten")):
        chosen = np.flatnonzero(view["forgotten"] == forgotten)
        chosen = chosen[np.argsort(view["original"][chosen], kind="stable")[::-1]]
        drawn = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int))] if len(chosen) else chosen
        start = rows[-1][1] + gap if rows else 0.0
        rows += [(i, start + k) for k, i in enumerate(drawn)]
        if len(drawn):
            titles.append((start + len(drawn) - 0.4, title if len(drawn) == len(chosen) else f"{title}: {len(drawn)} of {len(chosen)}"))
    index, y = np.array([i for i, _ in rows], dtype=int), np.array([at for _, at in rows])
    before, after = view["original"][index], view.get("unlearned", view["original"])[index]
    fig = figure(x="margin of the given label (model's score units)", height=int(120 + 13 * len(rows)))
    seen = np.concatenate([before, after, view["retrained"][:, index].ravel(), [0.0]])
    low, high = seen.min() - 0.04 * np.ptp(seen) - 1e-9, seen.max() + 0.04 * np.ptp(seen) + 1e-9
    fig.update_xaxes(range=[low, high], zeroline=False)
    fig.add_vrect(x0=low, x1=0, fillcolor=GREY, opacity=0.10, line_width=0)
    fig.add_vline(x=0, line={"color": GREY, "width": 2})
    if len(view["retrained"]):
        k = len(view["retrained"])
        marker = {"symbol": "line-ns-open", "size": 9, "color": MODEL_COLOURS["retrained"], "line": {"width": 2}}
        fig.add_scatter(
            x=view["retrained"][:, index].ravel(),
            y=np.tile(y, k),
            mode="markers",
            name="Retrained",
            marker=marker,
            hovertemplate="%{x:.2f}",
        )
    names = [f"{view['ids'][i]}, labelled {class_names[view['label'][i]]}" for i in index]
    marker = {"symbol": MODEL_SYMBOLS["original"], "size": 8, "color": MODEL_COLOURS["original"], "line": {"width": 2}}
    fig.add_scatter(x=before, y=y, mode="markers", name="Original", marker=marker, text=names, hovertemplate="%{text}: %{x:.2f}")
    if "unlearned" in view:
        blank = np.full(len(y), np.nan)
        colour = MODEL_COLOURS["unlearned"]
        fig.add_scatter(
            x=np.stack([before, after, blank], -1).ravel(),
            y=np.stack([y, y, blank], -1).ravel(),
            mode="lines+markers",
            name="Unlearned",
            line={"color": colour, "width": 1.6},
            text=np.repeat(names, 3),
            hovertemplate="%{text}: %{x:.2f}",
            marker={"symbol": "arrow", "angleref": "previous", "size": np.tile([0, 11, 0], len(y)), "color": colour, "opacity": 1},
        )
    for at, title in titles:
        fig.add_annotation(text=f"<b>{title}</b>", xref="paper", x=0.005, y=at, xanchor="left", yanchor="bottom", showarrow=False)
    fig.add_annotation(text="not predicted as labelled ◂", x=0, y=-1.0, xanchor="right", xshift=-4, yanchor="top", showarrow=False)
    fig.add_annotation(text="▸ predicted as labelled", x=0, y=-1.0, xanchor="left", xshift=4, yanchor="top", showarrow=False)
    return fig.update_yaxes(visible=False, range=[-2.6, (y.max() if len(y) else 0) + 1.8])


def panels(view: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Title, labels and top probabilities of the models of a grid view: original, unlearned, first retrained."""
    found = [(who.capitalize(), view[who], view[f"{who}_p"]) for who in ("original", "unlearned") if who in view]
    if len(view["retrained"]):
        found.append((f"Retrained (1 of {len(view['retrained'])})", view["retrained"][0], view["retrained_p"][0]))
    return found


def panel_height(x: np.ndarray, y: np.ndarray, count: int) -> int:
    """Height in pixels at which `count` panels of equal scales fill a page about 1,100 pixels wide, within reason."""
    return int(np.clip(1060 / count * np.ptp(y) / np.ptp(x), 180, 460)) + 100


def grid_panels(view: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, classes: int) -> go.Figure:
    """Shaded regions of each model side by side on the same axes, the boundaries of all models over every panel."""
    shown = panels(view)
    fig = make_subplots(1, len(shown), subplot_titles=[title for title, *_ in shown], shared_yaxes=True, horizontal_spacing=0.02)
    house = figure(height=panel_height(x, y, len(shown))).layout.to_plotly_json()
    fig.update_layout(
        **{key: value for key, value in house.items() if key not in ("template", "xaxis", "yaxis")}
    )  # the template is there already
    lines = overlay(view, x, y)
    for column, (_, labels, top) in enumerate(shown, start=1):
        fig.add_trace(shading(labels, top, x, y, classes, view.get("fade")), row=1, col=column)
        for line in lines:
            fig.add_trace(go.Scatter(line).update(showlegend=column == 1), row=1, col=column)
    for column in range(1, len(shown) + 1):
        fig.update_xaxes(matches="x", showgrid=False, zeroline=False, range=[x[0], x[-1]], constrain="domain", row=1, col=column)
        anchor = "x" if column == 1 else f"x{column}"
        fig.update_yaxes(
            showgrid=False,
            zeroline=False,
            range=[y[0], y[-1]],
            scaleanchor=anchor,
            constrain="domain",
            constraintoward="top",
            row=1,
            col=column,
        )
    return fig.update_layout(legend={"y": -0.1, "yanchor": "top"}, margin={"t": 36})


def regions(
    view: dict[str, np.ndarray],
    inputs: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    forget: np.ndarray,
    class_names: tuple[str, ...],
    mislabelled: np.ndarray | None = None,
) -> go.Figure:
    """Exact regions of 2-D data: Original | Unlearned | Retrained, with training points, the forgotten ones ringed.

    view: "regions". inputs: [N, 2], labels: [N] of the whole dataset. ids: points to draw (training). forget, mislabelled: ids.
    """
    fig = grid_panels(view, view["x"], view["y"], len(class_names))
    trace = go.Scattergl if len(ids) > 1000 else go.Scatter
    for column in range(1, len(panels(view)) + 1):
        first = column == 1
        for c, name in enumerate(class_names):
            rows = ids[labels[ids] == c]
            colour, shape = class_style(c)
            marker = {"color": colour, "symbol": SYMBOLS[shape % len(SYMBOLS)], "size": 6, "line": {"width": 0.8, "color": "white"}}
            fig.add_trace(
                trace(
                    x=inputs[rows, 0],
                    y=inputs[rows, 1],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=first,
                    marker=marker,
                    text=rows,
                    hovertemplate="%{text}",
                ),
                row=1,
                col=column,
            )
        rings = [("Forgotten", forget, RING)]
        if mislabelled is not None and len(mislabelled):
            cross = {"symbol": "x-thin-open", "size": 11, "color": GREY, "line": {"width": 2, "color": "black"}}
            rings.append(("Wrong label", mislabelled, cross))
        for name, marked, marker in rings:
            fig.add_trace(
                trace(
                    x=inputs[marked, 0],
                    y=inputs[marked, 1],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=first,
                    marker=marker,
                    hoverinfo="skip",
                ),
                row=1,
                col=column,
            )
    return fig


def plane(
    view: dict[str, np.ndarray],
    class_names: tuple[str, ...],
    thumbnails: list[str] | None = None,
    words: Sequence[str] | None = None,
) -> go.Figure:
    """The plane through three instances: Original | Unlearned | Retrained, fading away from the instances.

    view: "plane". thumbnails: data URIs of the three instances, drawn at their corners. words: what a person reads of them, shown on hover.
    """
    fig = grid_panels(view, view["a"], view["b"], len(class_names)).update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)
    corners, names = view["corners"], [f"{i} ({class_names[c]})" for i, c in zip(view["corner_ids"], view["corner_labels"], strict=True)]
    told = [name + (f"<br>{lines(text)}" if text else "") for name, text in zip(names, words or [""] * 3, strict=True)]
    if "mixed" in view:
        _say_mixes(fig, view, class_names)
    reach = 0.13 * max(np.ptp(view["a"]), np.ptp(view["b"]))
    for column in range(1, len(panels(view)) + 1):
        marker = {
            "size": 11,
            "symbol": ["star", "circle", "square"],
            "color": [MODEL_COLOURS["unlearned"], "white", "white"],
            "line": {"width": 2, "color": "black"},
        }
        fig.add_trace(
            go.Scatter(
                x=corners[:, 0],
                y=corners[:, 1],
                mode="markers",
                marker=marker,
                text=told,
                hovertemplate="%{text}<extra></extra>" if words else "%{text}",
                name="Forgotten (star), two retained",
                showlegend=column == 1,
                legendgroup="corners",
            ),
            row=1,
            col=column,
        )
        suffix = "" if column == 1 else str(column)
        for (a, b), name, image in zip(corners, names, thumbnails or [None] * 3, strict=True):
            if image:
                fig.add_layout_image(
                    source=image,
                    xref=f"x{suffix}",
                    yref=f"y{suffix}",
                    x=a,
                    y=b - reach * 0.12,
                    sizex=reach,
                    sizey=reach,
                    xanchor="center",
                    yanchor="top",
                    layer="above",
                )
            fig.add_annotation(text=name, x=a, y=b, xref=f"x{suffix}", yref=f"y{suffix}", yshift=15, showarrow=False)
    present = np.unique(np.concatenate([grid.ravel() for _, grid, _ in panels(view)]))
    for c in present:  # the key of the shading
        marker = {"symbol": "square", "size": 12, "color": class_style(int(c))[0], "opacity": 0.6}
        fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=class_names[c]), row=1, col=1)
    return fig


def lines(text: str, width: int = 60, most: int = 8) -> str:
    """A text that a person gave, in lines for a hover."""
    found = wrap(text, width)
    return "<br>".join(map(escape, found[:most])) + (" …" if len(found) > most else "")


def _say_mixes(fig: go.Figure, view: dict[str, np.ndarray], class_names: tuple[str, ...]) -> None:
    """The triangle in which every share is 0 to 100 %, and the shares of each place on hover."""
    grid = len(view["a"])
    at = np.stack(np.meshgrid(view["a"], view["b"]), axis=-1).reshape(-1, 2)
    mix = np.round(100 * shares(at, view["corners"])).astype(np.int16).reshape(grid, grid, 3)
    mixture = " + ".join(f"%{{customdata[{k}]}} % of {i}" for k, i in enumerate(view["corner_ids"]))
    around = np.concatenate([view["corners"], view["corners"][:1]])
    for column, (heat, (_, labels, _)) in enumerate(zip(list(fig.select_traces({"type": "heatmap"})), panels(view), strict=True), start=1):
        heat.update(
            customdata=mix,
            text=np.array(class_names, dtype=object)[labels],
            hoverinfo=None,
            hovertemplate=f"%{{text}}<br>{mixture}<extra></extra>",
        )
        outline = go.Scatter(
            x=around[:, 0],
            y=around[:, 1],
            mode="lines",
            line={"color": GREY, "width": 1, "dash": "dot"},
            name="Inside: shares of 0 to 100 %",
            legendgroup="triangle",
            showlegend=column == 1,
            hoverinfo="skip",
        )
        fig.add_trace(outline, row=1, col=column)


def _mixture(t: float, ids: np.ndarray) -> str:
    """The shares at `t` of view "segment" in words."""
    share = round(100 * abs(float(t)))
    other = ids[1] if t < 0 else ids[2]
    return " + ".join(f"{part} % of {i}" for part, i in ((100 - share, ids[0]), (share, other)) if part)


def segment(view: dict[str, np.ndarray], class_names: tuple[str, ...]) -> go.Figure:
    """Probability of the given label on the straight way from a like instance over the forgotten one to a rival. view: "segment"."""
    told = {"hovertemplate": "%{y:.1%}"}
    if "mixed" in view:
        told = {"hovertemplate": "%{y:.1%} at %{text}", "text": [_mixture(t, view["ids"]) for t in view["t"]]}
    fig = figure(x="", y=f"probability of “{class_names[int(view['label'][0])]}”", height=320)
    for k, curve in enumerate(view["retrained"]):
        fig.add_scatter(
            x=view["t"],
            y=curve,
            mode="lines",
            name="Retrained",
            legendgroup="r",
            showlegend=k == 0,
            line={"color": MODEL_COLOURS["retrained"], "width": 1.5, "dash": "dash"},
            **told,
        )
    for who, width in (("original", 2), ("unlearned", 3)):
        if who in view:
            fig.add_scatter(
                x=view["t"],
                y=view[who],
                mode="lines",
                name=who.capitalize(),
                line={"color": MODEL_COLOURS[who], "width": width},
                **told,
            )
    fig.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    for at, anchor, kind, id, label in zip(
        (0, -1, 1), ("center", "left", "right"), ("forgotten", "retained", "retained"), view["ids"], view["labels"], strict=True
    ):
        fig.add_annotation(
            x=at,
            y=0,
            yref="paper",
            xanchor=anchor,
            yanchor="top",
            yshift=-4,
            showarrow=False,
            text=f"{kind} {id}<br>labelled “{class_names[label]}”",
            align=anchor,
        )
    fig.update_xaxes(showticklabels=False, range=[-1.02, 1.02], zeroline=False)
    fig.update_layout(margin={"b": 48})
    return fig.update_yaxes(tickformat=".0%", range=[-0.02, 1.02])


def overview(view: dict[str, np.ndarray], class_names: tuple[str, ...], layer: str = "delta", highest: float | None = None) -> go.Figure:
    """Where predictions changed on the fixed layout: an average of nearby instances, real flips drawn as glyphs, fidelity in words.

    view: "overview". layer: "delta", "delta_retrained" or "delta_noise". highest: top of the colour scale in bits, for equal scales.
    """
    fig = figure(height=520)
    x, y, region = view["x"], view["y"], view["region_original"]
    if layer in view:
        top = (
            highest
            or max(float(np.nanmax(view[name], initial=0.0)) for name in ("delta", "delta_retrained", "delta_noise") if name in view)
            or 1.0
        )
        scale = [[0, rgba(GREY, 0.12)], [0.15, rgba(YELLOW, 0.35)], [0.5, rgba(ORANGE, 0.75)], [1, rgba(VERMILLION, 1.0)]]
        fig.add_heatmap(
            x=x,
            y=y,
            z=view[layer],
            zmin=0,
            zmax=top,
            colorscale=scale,
            hoverongaps=False,
            hovertemplate="%{z:.3f} bits",
            name="",
            colorbar={"title": "change<br>(bits)", "thickness": 10, "len": 0.6},
        )
    lines = boundary_lines(np.where(region < 0, -1, region), np.ones(region.shape), x, y)
    fig.add_scatter(
        x=lines[0], y=lines[1], mode="lines", line={"color": GREY, "width": 0.8}, name="Original's classes (map)", hoverinfo="skip"
    )
    for c in np.unique(region[region >= 0]):
        rows, columns = np.nonzero(region == c)
        middle = np.argmin(np.square(rows - np.median(rows)) + np.square(columns - np.median(columns)))
        fig.add_annotation(x=x[columns[middle]], y=y[rows[middle]], text=class_names[c], showarrow=False, font={"color": GREY, "size": 13})
    draw = go.Scattergl if len(view["flip_ids"]) > 1000 else go.Scatter
    for c in np.unique(view["flip_to"]):
        rows = np.flatnonzero(view["flip_to"] == c)
        colour, shape = class_style(int(c))
        text = [f"{view['flip_ids'][i]}: {class_names[view['flip_from'][i]]} → {class_names[c]}" for i in rows]
        marker = {"color": colour, "symbol": SYMBOLS[shape % len(SYMBOLS)], "size": 9, "line": {"width": 1.2, "color": "white"}}
        fig.add_trace(
            draw(
                x=view["flip_xy"][rows, 0],
                y=view["flip_xy"][rows, 1],
                mode="markers",
                marker=marker,
                text=text,
                hovertemplate="%{text}",
                name=f"now {class_names[c]}",
            )
        )
    fig.add_trace(
        draw(
            x=view["forget_xy"][:, 0],
            y=view["forget_xy"][:, 1],
            mode="markers",
            marker=DOT,
            name="Forgotten",
            text=view["forget_ids"],
            hovertemplate="%{text}",
        )
    )
    told = [
        f"{name} {value:.0%} of {n:,}"
        for name, value, n in zip(("retained", "forgotten", "changed"), view["fidelity"], view["fidelity_n"], strict=True)
        if n
    ]
    fig.add_annotation(
        text="Approximate. The map shows the true prediction of: " + ", ".join(told),
        xref="paper",
        yref="paper",
        x=0,
        y=-0.02,
        xanchor="left",
        yanchor="top",
        showarrow=False,
    )
    fig.update_layout(margin={"b": 36})
    fig.update_xaxes(visible=False)
    return fig.update_yaxes(visible=False, scaleanchor="x")
