"""The form of a method comes from its declaration, and what it submits is what was declared."""

import pytest

from pages.parts import opening
from pages.parts.backend import backend
from ui.conftest import App
from unlearn_core import data, methods, models
from unlearn_core.data import own
from unlearn_core.runs.originals import prepare
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, RunSpec

METHODS = methods.suited("mlp")


@pytest.mark.parametrize("name", METHODS)
def test_every_declared_parameter_has_a_widget(empty, name):
    app = App("studio").set(method=name)
    keys, method = app.keys, METHODS[name]
    for param in method.params:
        key = f"method.{name}.{param.name}"
        assert {key, f"{key}.auto", f"{key}.way"} & keys, param.name
    others = {key for key in keys if key.startswith("method.") and not key.startswith(f"method.{name}.")}
    assert not others
    assert method.summary in app.texts()
    assert method.paper in app.texts()
    assert ("α values of different methods" in app.texts()) == bool(method.alpha)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if any(p.auto for p in method.params)])
def test_an_automatic_value_can_be_replaced(empty, name):
    app = App("studio").set(method=name)
    for param in (p for p in METHODS[name].params if p.auto):
        key = f"method.{name}.{param.name}"
        app.set(**({f"{key}.way": "by hand"} if param.trials else {f"{key}.auto": False}))
        assert key in app.keys
        assert param.parse(app.widget(key).value) == app.widget(key).value


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.alpha])
def test_alpha_is_set_by_its_rule_by_a_search_or_by_hand(empty, name):
    param = next(param for param in METHODS[name].params if param.name == "alpha")
    key = f"method.{name}.alpha"
    app = App("studio").set(random__count=5, random__seed=21).press("random.add").set(method=name)
    way = app.widget(f"{key}.way")
    assert way.options == [*(["Automatic"] if param.auto else []), "Short search", "By hand"]
    assert way.value == ("auto" if param.auto else "by hand") and (key in app.keys) == (not param.auto)
    assert f"costs {len(param.trials)} runs" in way.help and "never at retrained models" in way.help
    assert (f"Automatic**: {param.auto}" in way.help) == bool(param.auto)
    app.set(**{f"{key}.way": "search"})
    assert key not in app.keys
    app.press("unlearn")
    spec = RunSpec.from_dict(backend().store.job(app.state.run).spec)
    assert spec.params["alpha"] == "search"
    assert app.run().widget(f"method.{spec.key}.{name}.alpha.way").value == "search"  # what the run on screen was asked to do
    backend().store.cancel(spec.key)


@pytest.mark.parametrize("name", [name for name in data.registry() if name not in own.NAMES.values()])
def test_every_dataset_has_its_settings(empty, name):
    info = data.info(name)
    kind = opening.PUBLIC if info.files else opening.BUILT_IN
    app = App("studio").set(open__kind=kind).set(**{opening.OF_KIND[kind]: name})
    assert info.description in app.texts()
    for param in info.params:
        key = f"open.{app.state.spec.key}.{name}.{param.name}"
        assert {key, f"{key}.auto"} & app.keys
    assert app.widget(f"open.model.{name}").options == [m.title for m in models.suited(info).values()]


def test_nothing_can_be_unlearned_without_a_choice(empty):
    app = App("studio")
    assert app.widget("unlearn").disabled
    app.set(random__count=1).press("random.add")
    assert not app.widget("unlearn").disabled
    assert app.widget("unlearn").label == "Unlearn 1 instance"


@pytest.mark.parametrize("name", METHODS)
def test_the_button_submits_what_the_form_says(empty, name):
    app = App("studio").set(random__count=5, random__seed=11).press("random.add")
    app.set(method=name, retrains=4, seed=7).press("unlearn")
    spec = RunSpec.from_dict(backend().store.job(app.state.run).spec)
    assert (spec.method, spec.retrains, spec.seed) == (name, 4, 7)
    assert spec.forget == tuple(sorted(app.forget.ids))
    assert spec.params.keys() == {p.name for p in METHODS[name].params}
    assert app.address("run") == spec.key
    assert "waiting for its turn" in "".join(bar.proto.text for bar in app.at.get("progress"))
    app.press(f"cancel.{spec.key}")
    assert backend().store.job(spec.key).status == "cancelled"
    app.run().press(f"again.{spec.key}")
    assert backend().store.job(spec.key).status == "queued"
    backend().store.cancel(spec.key)


def test_a_job_that_failed_says_why(empty):
    app = App("studio").set(random__count=6, random__seed=12).press("random.add").press("unlearn")
    key = app.state.run
    backend().store.finish(key, "failed", "The reason in plain words.")
    app.run()
    assert "The reason in plain words." in app.texts()
    app.press(f"again.{key}")
    assert backend().store.job(key).status == "queued"


def test_a_new_original_is_prepared_with_progress(empty):
    app = App("studio").set(open__dataset="circles")
    next(b for b in app.at.button if b.label.startswith("Open ")).click()
    app.run()
    job = backend().store.job(app.state.spec.key)
    assert job.kind == "original"
    assert f"cancel.{job.key}" in app.keys
    backend().store.cancel(job.key)
    assert f"again.{job.key}" in app.run().keys


def test_a_method_says_before_it_runs_what_it_costs_and_is_offered_only_where_it_works(empty):
    spec = OriginalSpec.make("moons", "sisa", {"instances": 160}, {"width": 8, "epochs": 5})
    prepare(empty.store, spec, Reporter())
    app = App("studio")
    usual = app.state.spec
    assert METHODS.keys() == methods.suited(usual.model).keys() and METHODS["retrain"].title in app.widget("method").options
    app.state.open(spec)
    app.run().set(method="sisa")
    assert "must be redone" not in app.texts()
    app.set(random__count=1).press("random.add")
    assert "Touches 1 of 5 shards; about" in app.texts()
    assert "must be redone" not in app.set(method="finetune").texts()
    app.set(method="sisa").state.open(usual)
    app.run()
    assert methods.info("sisa").title not in app.widget("method").options and "must be redone" not in app.texts()
