"""Stored runs are drawn in every section, whatever is missing in them; runs are listed, compared and deleted."""

import pytest

from pages.parts.backend import backend
from pages.parts.sections import KNOWN_ONLY, SECTIONS
from ui.conftest import App
from unlearn_core import evidence
from unlearn_core.runs import api
from unlearn_core.runs.demo import example_key

NAMES = ("moons", "wine", "digits", "three", "bare")


def shown(app, section):
    return app.set(section=section)


@pytest.fixture(scope="module")
def opened(runs):
    """One session for each stored run, with that run on screen."""
    return {name: App("studio", run=runs[name].key) for name in NAMES}


SINGLE = [name for name in SECTIONS if name not in ("Requests", *KNOWN_ONLY)]  # others: test_requests, test_scenarios


@pytest.mark.parametrize("section", SINGLE)
@pytest.mark.parametrize("name", NAMES)
def test_every_section_draws(opened, runs, name, section):
    app = shown(opened[name], section)
    assert app.state.run == runs[name].key
    if section == "Files":
        assert {"file.model", "file.csv", "file.zip"} <= {b.key for b in app.at.download_button}
        return
    if section == "Shadows":
        assert f"audit.{runs[name].key}" in app.keys and "LiRA" in app.texts()
        return
    if section == "Instances" and runs[name].retrained < 5:
        assert "verdicts on single instances need 5 retrained models" in app.texts() or "no retrained models were asked for" in app.texts()
        return
    assert app.charts() > 0
    families = {m.family for m in runs[name].measures if m.family.startswith(section.lower())}
    drawn = [f for f in families if evidence.definition(f).text in app.texts()]
    assert drawn


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_computed_says_why(opened, runs, name):
    for section in SINGLE:
        app = shown(opened[name], section)
        families = {
            m.family
            for m in runs[name].measures
            if m.family.startswith(section.lower()) and evidence.definition(m.family).title in app.texts()
        }
        for m in runs[name].measures:
            if m.family in families and m.unlearned is None and m.reason:
                assert m.reason in app.texts(), m.id


@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_somewhere(opened, runs, name):
    """No measure is computed and then never shown."""
    text = "".join(shown(opened[name], section).texts() for section in SECTIONS)
    hidden = {m.family for m in runs[name].measures if evidence.definition(m.family).title not in text}
    assert not hidden


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_has_an_accessible_name(opened, name):
    for section in SINGLE:
        for chart in shown(opened[name], section).at.get("plotly_chart"):
            assert chart.proto.alt or getattr(chart.proto, "accessible_name", ""), section


def test_the_summary_comes_first(opened):
    text = opened["wine"].run().texts()
    for part in ("What was asked", "What it cost", "How sure we are", "What this does not prove"):
        assert part in text


def test_without_retrained_models_there_is_no_verdict(opened):
    text = opened["bare"].run().texts()
    assert "No retrained models were asked for" in text
    assert "prediction interval from" not in text


def test_too_few_points_are_no_verdict(opened, runs):
    app = shown(opened["three"], "Privacy")
    attack = runs["three"].measure("privacy.lr_attack.forget")
    assert attack.unlearned is None
    assert attack.reason in app.texts()


def test_switches_inside_the_sections(opened):
    app = shown(opened["wine"], "Utility").set(per_class__group="retain")
    app = shown(opened["wine"], "Privacy").set(privacy__score="confidence")
    assert app.charts() > 1
    app = shown(opened["digits"], "Boundary")
    if "overview.layer" in app.keys:
        for layer in ("delta_retrained", "delta_noise", "delta"):
            app.set(overview__layer=layer)


def test_a_chosen_plane_is_asked_for(opened, runs):
    app = shown(opened["digits"], "Boundary")
    key, ids = runs["digits"].key, sorted(app.state.forget.ids)[:3]
    app.set(**{f"plane.{key}.{k}": ids[k] for k in range(3)}).press("plane.draw")
    assert any(job.kind == "plane" and job.spec["triplet"] == ids for job in backend().store.jobs("plane"))
    app.set(**{f"plane.{key}.1": ids[0]}).press("plane.draw")
    assert "two of them are the same" in app.texts()
    app.set(**{f"plane.{key}.1": outside(app)}).press("plane.draw")
    assert "not a training instance" in app.texts()
    app.at.session_state["plane.wanted"] = None


def outside(app):
    from pages.parts.backend import original

    known = original(app.state.spec.key).row_of
    return next(i for i in range(10_000) if i not in known)


def test_the_table_of_a_block_has_its_csv(opened, runs):
    app = shown(opened["wine"], "Utility")
    keys = {b.key for b in app.at.download_button}
    assert f"csv.{runs['wine'].key}.utility.accuracy" in keys
    tables = [d.value for d in app.at.dataframe if "retrained_mean" in d.value.columns]
    assert any(set(table["group"]) >= {"retain", "forget", "test"} for table in tables)


# the list of runs ------------------------------------------------------------------------------


def select(app, *keys):
    listed = [job.key for job in backend().store.jobs("run", "evidence")]
    app.at.session_state[f"runs.{hash(tuple(listed))}"] = {
        "selection": {"rows": [listed.index(key) for key in keys], "columns": [], "cells": []}
    }
    return app.run()


def test_all_runs_are_listed(runs):
    table = App("runs").at.dataframe[0].value
    assert set(table["key"]) == {run.key for run in runs.values()}
    assert set(table["state"]) == {"done"}


def test_a_run_is_reopened_from_the_list(runs):
    app = select(App("runs"), runs["wine"].key)
    next(b for b in app.at.button if b.label == "Reopen").click()
    app.run()
    assert app.state.run == runs["wine"].key
    assert app.address("run") == runs["wine"].key
    assert "What changed" in app.texts()


PAIRS = {
    ("wine", "bare"): None,
    ("wine", "three"): "forget different instances",
    ("wine", "moons"): "different originals",
    ("moons", "digits"): "different originals",
}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_runs_are_compared(runs, pair):
    app = select(App("runs"), *(runs[name].key for name in pair))
    assert app.charts() == 1
    warnings = " ".join(w.value for w in app.at.warning)
    assert (PAIRS[pair] in warnings) if PAIRS[pair] else not warnings
    assert any("verdict A" in d.value.columns and len(d.value) for d in app.at.dataframe)
    for family in app.widget("compare.family").options[1:]:
        app.widget("compare.family").select_index(app.widget("compare.family").options.index(family))
        app.run()


def test_the_address_leads_back_to_a_comparison(runs):
    first, second = runs["wine"].key, runs["bare"].key
    app = select(App("runs"), first, second)
    assert sorted(app.address("compare").split(",")) == sorted([first, second])
    linked = App("runs", compare=f"{second},{first}")
    assert linked.charts() == 1 and "link to this comparison" in linked.texts()
    assert App("runs", compare=f"{first},nosuchrun").charts() == 0


def test_three_runs_are_not_compared(runs):
    app = select(App("runs"), runs["wine"].key, runs["bare"].key, runs["three"].key)
    assert "Two runs at a time" in app.texts()
    assert app.charts() == 0


def test_a_run_without_a_result_is_listed_and_not_compared(runs):
    store = backend().store
    spec = api.RunSpec.from_dict(runs["wine"].spec.to_dict() | {"seed": 99})
    api.submit_run(store, spec)
    store.cancel(spec.key)
    app = select(App("runs"), runs["wine"].key, spec.key)
    assert "without a result" in app.texts()
    app = App("studio", run=spec.key)
    assert "Cancelled" in app.texts()
    store.delete(spec.key)


def test_deleting_a_run_takes_it_away_everywhere(runs):
    store = backend().store
    spec = runs["bare"].spec
    other = App("studio", run=spec.key)
    app = select(App("runs"), spec.key)
    app.press("delete.sure")
    assert store.job(spec.key) is None
    assert spec.key not in set(App("runs").at.dataframe[0].value["key"])
    other.run()  # a session that still has it on screen goes on
    assert "There is no run" in App("studio", run=spec.key).at.toast[0].value
    assert store.job(example_key()) is not None


def test_the_example_can_be_deleted(tmp_path):
    from ui.conftest import server

    with server(tmp_path):
        app = select(App("runs"), example_key())
        app.press("delete.sure")
        assert "No runs yet" in app.texts()
        assert not App().at.exception
