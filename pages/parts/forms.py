"""Widgets from declarations: one parameter, one widget, wherever it is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from unlearn_core.errors import BadInput
from unlearn_core.params import AUTO, SEARCH, Param

BY_HAND = "by hand"
WAYS = {AUTO: "Automatic", SEARCH: "Short search", BY_HAND: "By hand"}


def fields(params: Iterable[Param], key: str, values: Mapping[str, Any] | None = None, advanced: str = "More settings") -> dict[str, Any]:
    """Draw a widget for each parameter and return the chosen values; advanced ones go behind a fold.

    values: what the widgets start from, instead of the declared defaults. Widgets keep what they show as
    long as `key` stays the same, so other values need another key.
    """
    params, values = list(params), values or {}
    chosen = {param.name: field(param, f"{key}.{param.name}", _start(param, values)) for param in params if not param.advanced}
    hidden = [param for param in params if param.advanced]
    if hidden:
        with st.expander(advanced):
            chosen |= {param.name: field(param, f"{key}.{param.name}", _start(param, values)) for param in hidden}
    return chosen


def field(param: Param, key: str, start: Any) -> Any:
    """The widget of one parameter; returns its value, "auto" or "search" where that was chosen."""
    by_hand = param.usual if start in (AUTO, SEARCH) else start
    if param.trials:
        return _strength(param, key, start, by_hand)
    if param.auto is None:
        return _plain(param, key, start)
    automatic = st.toggle(f"{param.label}: automatic", value=start == AUTO, key=f"{key}.auto", help=f"Automatic means: {param.auto}.")
    return AUTO if automatic else _plain(param, key, by_hand)


def _strength(param: Param, key: str, start: Any, by_hand: Any) -> Any:
    """α: by its rule where it has one, by a short search, or by hand."""
    ways = [way for way in WAYS if way != AUTO or param.auto]
    told = [f"**{WAYS[AUTO]}**: {param.auto}."] if param.auto else []
    told.append(
        f"**{WAYS[SEARCH]}**: runs the method once for each of {len(param.trials)} values from {param.trials[0]:g} to {param.trials[-1]:g}, so it "
        f"costs {len(param.trials)} runs, and keeps the best. It looks at the instances to forget, at those that stay and at the tuning part of "
        "validation; never at retrained models or test instances, which only judge what came out."
    )
    told.append(f"**{WAYS[BY_HAND]}**: one value for this run, {param.usual:g} to start from.")
    way = st.segmented_control(
        f"How {param.label} is set",
        ways,
        format_func=WAYS.get,
        default=start if start in ways else BY_HAND,
        key=f"{key}.way",
        help="\n\n".join(told),
        required=True,
    )
    return _plain(param, key, by_hand) if way == BY_HAND else way


def _start(param: Param, values: Mapping[str, Any]) -> Any:
    try:
        return param.parse(values.get(param.name, param.default))
    except BadInput:  # from a version that declared it differently
        return param.default


def _plain(param: Param, key: str, start: Any) -> Any:
    if param.kind == "text":
        return st.text_input(param.label, value=start, key=key, help=param.help)
    if param.kind == "choice":
        return st.selectbox(param.label, param.choices, index=param.choices.index(start), key=key, help=param.help)
    if param.kind == "bool":
        return st.toggle(param.label, value=bool(start), key=key, help=param.help)
    if (
        param.kind == "float"
        and param.high is not None
        and param.high <= 1
        and (param.low or 0) >= 0
        and param.name not in ("lr", "weight_decay", "delta")
    ):
        return st.slider(param.label, float(param.low or 0), float(param.high), float(start), step=0.01, key=key, help=param.help)
    number = int if param.kind == "int" else float
    low, high = (None if bound is None else number(bound) for bound in (param.low, param.high))
    shape = "%d" if param.kind == "int" else "%.6g"
    step = 1 if param.kind == "int" else max(float(start) / 10, 1e-6)
    return st.number_input(param.label, low, high, number(start), step=step, format=shape, key=key, help=param.help)
