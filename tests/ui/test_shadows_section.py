"""Shadow models on the pages: asking for a pool and an audit, what an audit shows, and choosing and colouring by a pool."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pages.parts import mapping
from pages.parts.backend import backend, original
from ui.conftest import App, server
from unlearn_core import evidence, report
from unlearn_core.data.forget import ForgetSet
from unlearn_core.evidence.shadows import ATTACKS, EVIDENCE, NO_POOL
from unlearn_core.runs import api, pools
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import AuditSpec, PoolSpec
from unlearn_core.runs.store import BACKGROUND, Store

MEMBERS = 64
COLOURS = {"memorisation": "memorisation", "difficulty": "expected difficulty", "exposure": "exposure"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The app on a store with a run whose original has a pool, audited with U-LiRA, and one whose original has none."""
    store = Store(tmp_path_factory.mktemp("shadows"))
    given = {"dataset": "moons", "method": "finetune", "params": {"epochs": 1}, "device": "cpu", "store": store}
    small = {"dataset_params": {"instances": 160, "mislabelled": 0.1}, "model_params": {"width": 8, "epochs": 8}}
    found = {
        "audited": api.run(forget="random:0.1", retrains=8, pool=MEMBERS, u_lira=True, **given, **small),
        "bare": api.run(forget="random:0.1", retrains=5, **given, **small | {"model_params": {"width": 9, "epochs": 8}}),
    }
    with server(store.folder):
        yield found


def opened(found, section="Shadows"):
    return App("studio", run=found.key).set(section=section)


@pytest.fixture(scope="module")
def shown(runs):
    """A session with the audited run's shadows on screen; tests only look."""
    return opened(runs["audited"])


def pool_of(run, members=MEMBERS):
    return PoolSpec.make(run.spec.original, run.spec.dataset_hash, members)


def definitions(app):
    return {d.id for d in EVIDENCE.definitions if d.title in app.texts() and d.text in app.texts()}


def tables(app, column):
    return [d.value for d in app.at.dataframe if column in d.value.columns]


def charts(app):
    """The figures on screen by their accessible names."""
    return {chart.proto.alt: json.loads(chart.proto.spec) for chart in app.at.get("plotly_chart")}


# without an audit --------------------------------------------------------------------------------------------


def test_without_an_audit_it_says_why_and_what_it_would_show(runs):
    app = opened(runs["bare"])
    assert f"audit.{runs['bare'].key}" in app.keys and not [alt for alt in charts(app) if "shadow" in alt or "ROC" in alt]
    assert NO_POOL in app.texts() and definitions(app) == {d.id for d in EVIDENCE.definitions}
    assert app.widget(f"audit.members.{runs['bare'].key}").value == MEMBERS
    assert "64 models are trained once and serve every later question" in app.texts()


@pytest.mark.parametrize("u_lira", [False, True])
def test_the_button_queues_the_audit_that_was_asked_for(runs, u_lira):
    key, store = runs["bare"].key, backend().store
    app = opened(runs["bare"])
    app.at.checkbox(key=f"audit.u_lira.{key}").set_value(u_lira)
    app.set(**{f"audit.members.{key}": 32}).press(f"audit.{key}")
    wanted = AuditSpec(runs["bare"].spec, pool_of(runs["bare"], 32), u_lira)
    job = store.job(wanted.key)
    assert (job.kind, job.status, job.priority) == ("audit", "queued", BACKGROUND)
    assert AuditSpec.from_dict(job.spec) == wanted
    assert f"audit.{key}" not in app.keys and f"cancel.{wanted.key}" in app.keys
    app.press(f"cancel.{wanted.key}")
    assert "Cancelled: the audit with shadow models" in app.run().texts()
    app.press(f"again.{wanted.key}")
    assert store.job(wanted.key).status == "queued"
    store.delete(wanted.key)
    assert f"audit.{key}" in app.run().keys


def test_a_failed_audit_says_why(runs):
    store, spec = backend().store, AuditSpec(runs["bare"].spec, pool_of(runs["bare"]))
    api.submit_audit(store, spec)
    store.finish(spec.key, "failed", "method: it did not work. Try another.")
    app = opened(runs["bare"])
    assert "it did not work. Try another." in app.texts() and f"again.{spec.key}" in app.keys
    store.delete(spec.key)


# with an audit -----------------------------------------------------------------------------------------------


def test_every_family_of_an_audit_is_shown(shown, runs):
    assert definitions(shown) == {d.id for d in EVIDENCE.definitions}
    for m in runs["audited"].measures:
        if m.family.startswith("shadows.") and m.unlearned is None:
            assert m.reason in shown.texts(), m.id


def test_every_chart_has_an_accessible_name(shown):
    names = charts(shown)
    assert all(names) and len(names) == shown.charts()
    assert "Area under the ROC curve of each attack with shadow models" in names
    for family in ("told_apart", "over_forgotten", "u_lira", "u_lira_retrain", "looks_forgotten", "forgetting_quality"):
        assert f"{evidence.definition(f'shadows.{family}').title}: original, unlearned and retrained values" in names


def test_the_attacks_are_drawn_with_their_numbers(shown, runs):
    fig = charts(shown)["Area under the ROC curve of each attack with shadow models"]
    drawn = {round(x, 9) for trace in fig["data"] for x in np.ravel(trace["x"]).tolist() if isinstance(x, float)}
    for name in ATTACKS:
        m = runs["audited"].measure(f"shadows.{name}.forget")
        assert {round(m.original, 9), round(m.unlearned, 9)} <= drawn
    assert any(
        set(table["unlearned"]) == {runs["audited"].measure(f"shadows.{n}.forget").unlearned for n in ATTACKS}
        for table in tables(shown, "retrained_mean")
    )


def test_each_attack_has_its_roc_curves(runs):
    app = opened(runs["audited"])
    assert list(app.widget("shadow.roc").options) == list(ATTACKS.values())
    for name, title in ATTACKS.items():
        app.set(shadow__roc=name)
        assert f"ROC curves of {title}, both axes logarithmic" in charts(app)


def test_the_pools_own_calibration_stands_above_its_verdicts(shown, runs):
    text = runs["audited"].views["shadow_check"]["text"].item()
    assert text.startswith("Checked on 8 exact retrains") and f"{text}. The section Instances" in shown.texts()


def test_the_table_has_every_instance_with_its_verdict_and_a_csv(shown, runs):
    view = runs["audited"].views["shadow_instances"]
    (table,) = tables(shown, "verdict_original")
    assert table["id"].tolist() == view["ids"].tolist() == list(runs["audited"].spec.forget)
    for name in ("verdict", "verdict_original", "unlearned", "saw.mean", "p", "memorisation", "difficulty", "exposure"):
        np.testing.assert_array_equal(table[name], view[name])
    found = original(runs["audited"].spec.original.key)
    assert table["label"].tolist() == [found.meta["class_names"][label] for label in view["label"]]
    assert "shadow.csv" in {b.key for b in shown.at.download_button}


def test_the_summary_names_what_the_audit_adds(shown, runs):
    run = runs["audited"]
    attack = run.measure("shadows.u_lira.forget")
    assert f"with an AUC of {attack.unlearned:.2f} (0.50 after exact retraining" in shown.texts()
    # Verdicts by exact retraining are there, so those of the pool are left out; without them they count.
    assert "Shadow models still tell apart" not in shown.texts()
    alone = replace(run, views={name: view for name, view in run.views.items() if name != "instances"})
    share = run.measure("shadows.told_apart.forget")
    said = " ".join(report.summary(alone).sure)
    if share.refused:
        assert "hadow models" not in said
    elif share.original > share.retrained.mean:
        assert f"tell apart {share.unlearned * share.n:.0f} of the {share.n} forgotten instances that they can judge" in said
    else:
        assert "cannot judge single instances of this set" in said


def test_a_stored_audit_without_u_lira_says_how_to_get_it(runs):
    run, store = runs["audited"], backend().store
    app = opened(run)
    box = app.at.checkbox(key=f"audit.u_lira.{run.key}")
    assert box.value  # the audit that is there had it
    box.set_value(False)
    assert f"audit.{run.key}" in app.run().keys and "The 64 shadow models are there already" in app.texts()
    Pipeline(store).audit(AuditSpec(run.spec, pool_of(run)), Reporter())
    try:
        text = app.run().texts()
        assert f"audit.{run.key}" not in app.keys and "tick the box above to run the method on the shadows" in text
        assert definitions(app) == {d.id for d in EVIDENCE.definitions}
    finally:
        store.discard("audits", AuditSpec(run.spec, pool_of(run)).key)


def test_an_audit_by_a_smaller_pool_is_still_found(runs):
    run, store = runs["audited"], backend().store
    large = AuditSpec(run.spec, pool_of(run), True)
    small = replace(large, pool=pool_of(run, 32))
    aside = store.folder / "aside"
    Pipeline(store).audit(small, Reporter())
    store.place("audits", large.key).rename(aside)
    try:
        app = opened(run)
        assert app.widget(f"audit.members.{run.key}").value == 32 and "What each attack does" in str(app.at.expander)
        assert app.charts() > 2 and f"audit.{run.key}" not in app.keys
    finally:
        aside.rename(store.place("audits", large.key))
        store.discard("audits", small.key)
    assert opened(run).widget(f"audit.members.{run.key}").value == MEMBERS


# instances ---------------------------------------------------------------------------------------------------


def test_instances_show_what_the_audit_adds(runs):
    app, view = opened(runs["audited"], "Instances"), runs["audited"].views["shadow_instances"]
    (table,) = tables(app, "p_told_apart")
    at = [view["ids"].tolist().index(i) for i in table["id"]]
    np.testing.assert_array_equal(table["memorisation"], view["memorisation"][at])
    np.testing.assert_array_equal(table["difficulty"], view["difficulty"][at])
    (bells,) = [fig for alt, fig in charts(app).items() if "where models that never saw it stand" in alt]
    assert [trace for trace in bells["data"] if trace.get("name") == "saw it"]
    assert "comes with an audit by shadow models" not in app.texts()


def test_without_an_audit_instances_say_where_the_other_bell_comes_from(runs):
    app = opened(runs["bare"], "Instances")
    (table,) = tables(app, "p_told_apart")
    assert not {"memorisation", "difficulty"} & set(table.columns)
    (bells,) = [fig for alt, fig in charts(app).items() if "where models that never saw it stand" in alt]
    assert not [trace for trace in bells["data"] if trace.get("name") == "saw it"]
    assert "comes with an audit by shadow models (section Shadows)" in app.texts()


# choosing and colouring --------------------------------------------------------------------------------------


def test_exposed_without_a_pool_offers_to_train_one(runs):
    app, store = App("studio", run=runs["bare"].key).set(way="Exposed"), backend().store
    assert "exposed.add" not in app.keys and not set(COLOURS.values()) & set(map(str.lower, app.widget("colour").options))
    app.set(pool__members=32).press("pool.train")
    wanted = pool_of(runs["bare"], 32)
    job = store.job(wanted.key)
    assert (job.kind, job.status, job.priority) == ("pool", "queued", BACKGROUND) and PoolSpec.from_dict(job.spec) == wanted
    assert "pool.train" not in app.keys and f"cancel.{wanted.key}" in app.keys
    store.delete(wanted.key)


@pytest.mark.parametrize("what", COLOURS)
def test_exposed_adds_the_highest_and_names_the_pool(runs, what):
    run = runs["audited"]
    table = pools.load(backend().store, pool_of(run).key)
    app = App("studio", run=run.key).set(way="Exposed")
    app.state.choose(ForgetSet())
    app.run().set(exposed__what=what, exposed__count=7).press("exposed.add")
    highest = sorted(zip(-table.arrays[what], range(len(table.arrays[what])), table.arrays["ids"].tolist(), strict=True))
    assert list(app.forget.ids) == [i for *_, i in highest[:7]]
    assert set(app.forget.provenance) == {f"7 highest in {COLOURS[what]}, pool of 64"}
    assert "From 32 shadow models that will not judge what they chose" in app.texts()


@pytest.mark.parametrize(("what", "chosen"), product(COLOURS, [(), (0, 1)]))
def test_the_map_can_be_coloured_by_the_pool(runs, what, chosen):
    run = runs["audited"]
    found = original(run.spec.original.key)
    app = App("studio", run=run.key)
    assert set(COLOURS.values()) <= set(map(str.lower, app.widget("colour").options))
    before = app.forget
    app.set(colour=COLOURS[what])
    assert app.forget == before
    value = pools.load(backend().store, pool_of(run).key).arrays[what]
    forget = ForgetSet().add([int(found.ids[k]) for k in chosen], "clicked")
    points = mapping.points(found, "input", COLOURS[what], forget)
    assert points.ids.tolist() == found.ids.tolist() and points.title == COLOURS[what].capitalize()
    np.testing.assert_array_equal(points.value, np.where(np.isnan(value), np.nanmin(value), value))


def test_another_original_without_a_pool_draws_although_its_colours_were_chosen(runs):
    app = App("studio", run=runs["audited"].key).set(colour="exposure")
    app.go("studio", run=runs["bare"].key)
    app.state.switch_to(runs["bare"].key)
    app.run()
    assert app.widget("colour").value == "class"
