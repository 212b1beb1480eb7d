"""Widgets from declarations: one parameter, one widget, wherever it is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from unlearn_core.errors import BadInput
from unlearn_core.params import AUTO, Param


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
    """The widget of one parameter; returns its value, "auto" where that was chosen."""
    if param.auto is None:
        return _plain(param, key, start)
    automatic = st.toggle(f"{param.label}: automatic", value=start == AUTO, key=f"{key}.auto", help=f"Automatic means: {param.auto}.")
    if automatic:
        return AUTO
    by_hand = (value for value in (start, param.manual, param.default, param.low, 0) if value is not None and value != AUTO)
    return _plain(param, key, next(by_hand))


def _start(param: Param, values: Mapping[str, Any]) -> Any:
    try:
        return param.parse(values.get(param.name, param.default))
    except BadInput:  # from a version that declared it differently
        return param.default


def _plain(param: Param, key: str, start: Any) -> Any:
    if param.kind == "choice":
        return st.selectbox(param.label, param.choices, index=param.choices.index(start), key=key, help=param.help)
    if param.kind == "bool":
        return st.toggle(param.label, value=bool(start), key=key, help=param.help)
    if (
        param.kind == "float"
        and param.high is not None
        and param.high <= 1
        and (param.low or 0) >= 0
        and param.name not in ("lr", "weight_decay")
    ):
        return st.slider(param.label, float(param.low or 0), float(param.high), float(start), step=0.01, key=key, help=param.help)
    number = int if param.kind == "int" else float
    low, high = (None if bound is None else number(bound) for bound in (param.low, param.high))
    shape = "%d" if param.kind == "int" else "%.6g"
    step = 1 if param.kind == "int" else max(float(start) / 10, 1e-6)
    return st.number_input(param.label, low, high, number(start), step=step, format=shape, key=key, help=param.help)
