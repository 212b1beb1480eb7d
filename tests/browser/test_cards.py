"""Every equation is typeset by the browser as it is meant, and none is refused."""

import pytest

from browser.conftest import start

APP = """
import streamlit as st
from pages.parts.cards import equation
from unlearn_core import methods
for method in methods.registry().values():
    equation(method)
st.text("the end")
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    app = tmp_path_factory.mktemp("cards") / "app.py"
    app.write_text(APP, encoding="utf-8")
    process, address = start(app)
    yield address
    process.terminate()
    process.wait(10)


def test_all_equations_are_typeset(page, address):
    from unlearn_core import methods

    page.goto(address)
    page.get_by_text("the end").wait_for()
    blocks = page.locator("[data-testid=stMarkdownContainer]")
    page.wait_for_function("() => document.querySelector('[data-testid=stMarkdownContainer] .katex, .katex-error')")
    # What KaTeX cannot read is drawn in red instead, with the reason; what nobody took for mathematics keeps its dollar signs.
    assert page.locator(".katex-error").all_inner_texts() == []
    for drawn in (blocks, page.locator("[data-testid=stCaptionContainer]")):
        assert drawn.filter(has=page.locator(".katex")).count() == len(methods.registry())
        assert not [text for text in drawn.all_inner_texts() if "$" in text]
