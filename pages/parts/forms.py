"""Widgets from declarations: one parameter, one widget, wherever it is declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from unlearn_core.params import AUTO, Param


def fields(params: Iterable[Param], key: str, advanced: str = "More settings") -> dict[str, Any]:
    """Draw a widget for each parameter and return the chosen values; advanced ones go behind a fold."""
    params = list(params)
    values = {param.name: field(param, f"{key}.{param.name}") for param in params if not param.advanced}
    hidden = [param for param in params if param.advanced]
    if hidden:
        with st.expander(advanced):
            values |= {param.name: field(param, f"{key}.{param.name}") for param in hidden}
    return values


def field(param: Param, key: str) -> Any:
    """The widget of one parameter; returns its value, "auto" where that was chosen."""
    if param.auto is None:
        return _plain(param, param.label, key, param.default)
    automatic = st.toggle(f"{param.label}: automatic", value=param.default == AUTO, key=f"{key}.auto", help=f"Automatic means: {param.auto}.")
    if automatic:
        return AUTO
    start = param.default if param.default != AUTO else param.low or 0
    if param.kind == "float" and param.default == AUTO and param.high is not None and param.high <= 1:
        start = (param.low + param.high) / 2
    return _plain(param, param.label, key, start)


def _plain(param: Param, label: str, key: str, start: Any) -> Any:
    if param.kind == "choice":
        return st.selectbox(label, param.choices, index=param.choices.index(start), key=key, help=param.help)
    if param.kind == "bool":
        return st.toggle(label, value=bool(start), key=key, help=param.help)
    if param.kind == "float" and param.high is not None and param.high <= 1 and (param.low or 0) >= 0 and param.name not in ("lr", "weight_decay"):
        return st.slider(label, float(param.low or 0), float(param.high), float(start), step=0.01, key=key, help=param.help)
    number = int if param.kind == "int" else float
    low, high = (None if bound is None else number(bound) for bound in (param.low, param.high))
    shape = "%d" if param.kind == "int" else "%.6g"
    step = 1 if param.kind == "int" else max(float(start) / 10, 1e-6)
    return st.number_input(label, low, high, number(start), step=step, format=shape, key=key, help=param.help)
