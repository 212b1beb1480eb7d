"""Below a run whose α was searched for stands how it was found; below others nothing does."""

from ui.conftest import App


def test_a_searched_alpha_is_explained_below_the_run(runs, stocked):
    from unlearn_core import run

    store, others = stocked
    found = run("wine", others["bare"].spec.forget, "neggrad_plus", alpha="search", retrains=0, device="cpu", store=store)
    app = App("studio", run=found.key)
    title = next(e.label for e in app.at.expander if e.label.startswith("How α"))
    assert title.startswith(f"How α = {found.chosen['alpha']:.3g} was found: 7 values tried in ")
    assert found.chosen["search"]["rule"] in app.texts() and "made before any retrained model is looked at" in app.texts()
    numbers = [frame.value for frame in app.at.dataframe if "alpha" in frame.value]
    assert numbers[0]["alpha"].tolist() == [trial["alpha"] for trial in found.chosen["search"]["trials"]]
    plain = App("studio", run=others["wine"].key)
    assert plain.charts() and not [e for e in plain.at.expander if e.label.startswith("How α")]
