"""Cards come from the declarations, none lacks anything, and the stored page is never older than they are."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from unlearn_core import cards, methods
from unlearn_core.__main__ import main

PAGE = Path(__file__).resolve().parents[1] / "assets" / "docs" / "methods.md"
METHODS = methods.registry()


def test_the_stored_page_is_what_the_command_prints(capsys):
    assert main(["cards"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "make it anew: python -m unlearn_core cards > assets/docs/methods.md"
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_equation_a_source_a_cost_and_limits(name):
    method = METHODS[name]
    assert method.equation and method.paper and method.cost and method.limits
    assert "$" not in method.equation and method.where.count("$") % 2 == 0 and not method.where.endswith(".")
    text = cards.card(method)
    assert text.startswith(f"## {method.title}\n")
    for words in (method.summary, method.equation, method.paper, method.cost, method.limits, cards.GOALS[method.goal]):
        assert words in text
    assert (f"**α**: {method.alpha}" if method.alpha else "**α**: none") in text
    assert all(cards.NEEDS[need] in text for need in method.needs)
    assert bool(method.alpha) == bool(re.search(r"\\alpha", method.equation))


def letters(latex):
    """The symbols of an equation: letters with what hangs below or above them, and Greek ones."""
    latex = re.sub(r"\\(text|mathrm|operatorname)\{[^{}]*\}", " ", latex)
    return set(re.findall(r"\\(?:mathcal|tilde|bar|hat) ?\w|\\(?:" + "|".join(GREEK) + r")|(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", latex))


GREEK = ["theta", "alpha", "beta", "sigma", "lambda", "eta", "ell", "Delta", "Omega", "varepsilon", "delta"]
BOUND = {"i", "j", "k", "t", "T", "x", "e", "I", "o", "f", "r", "v"}  # indices, steps, inputs, Euler's number, the identity, subscripts


@pytest.mark.parametrize("name", METHODS)
def test_every_symbol_of_an_equation_is_explained(name):
    method = METHODS[name]
    said = letters(" ".join(re.findall(r"\$([^$]*)\$", cards.legend(method))))
    assert letters(method.equation) - said - BOUND - {r"\mathcal N"} <= set()


def test_an_equation_with_a_symbol_that_nobody_explains_is_noticed():
    method = replace(METHODS["retrain"], equation=r"\theta = Q + \Omega")
    assert letters(method.equation) - letters(cards.legend(method)) - BOUND >= {"Q", r"\Omega"}


def test_the_longest_symbol_is_the_one_that_is_explained():
    method = replace(METHODS["retrain"], equation=r"L_f(\theta) + p_{\theta_o}", where="$x$ this")
    assert cards.legend(method) == (
        r"$\theta$ weights; $L_f$ mean cross-entropy on the forget set; $p_{\theta_o}$ the original's prediction; $x$ this."
    )
    assert cards.legend(replace(method, equation="", where="")) == ""


def test_the_table_links_to_the_cards_and_has_a_row_for_each():
    text = cards.page(METHODS.values())
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert len(rows) == len(METHODS) and all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert links == [cards.anchor(method.title) for method in METHODS.values()] and len(set(links)) == len(links)
    assert cards.anchor("Structure-faithful undo, without the retain set") == "structure-faithful-undo-without-the-retain-set"
    assert cards.anchor("SCRUB (+R)") == "scrub-r"


def shown():
    import streamlit as st

    from pages.parts.cards import card
    from unlearn_core import methods

    card(methods.info(st.session_state.method))


@pytest.mark.parametrize("name", METHODS)
def test_the_card_on_screen(name):
    at = AppTest.from_function(shown)
    at.session_state.method = name
    at.run()
    assert not at.exception
    method, fold = METHODS[name], at.expander[0]
    assert fold.label == "About this method"
    assert fold.markdown[0].value == rf"$\displaystyle {method.equation}$"
    text = "\n".join(markdown.value for markdown in fold.markdown)
    for words in (method.cost, method.limits, method.paper, cards.GOALS[method.goal], cards.needs(method)):
        assert words in text
    assert fold.caption[0].value == cards.legend(method)


def test_a_plug_in_without_an_equation_has_a_card_too():
    bare = replace(METHODS["retrain"], equation="", where="", models=("convex",))
    assert "```" not in cards.card(bare) and "**Works on**: Convex regression with noise." in cards.card(bare)
