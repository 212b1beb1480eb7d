"""A method's card: its equation and what its declaration says about goal, strength, data, cost, limits and source."""

from __future__ import annotations

import streamlit as st

from unlearn_core import cards
from unlearn_core.methods import Method


def card(method: Method) -> None:
    """A fold with what is to know about `method` before running it, beside its summary."""
    with st.expander("About this method", icon=":material/menu_book:"):
        if method.equation:
            equation(method)
        st.markdown("\n".join(f"- **{name}**: {words}" for name, words in cards.facts(method).items()))


def equation(method: Method) -> None:
    """The equation, in a line that breaks where the column ends (st.latex would cut it off), and what its symbols mean."""
    st.markdown(rf"$\displaystyle {method.equation}$")
    st.caption(cards.legend(method))
