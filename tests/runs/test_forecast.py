"""What is expected to take how long: planted times whose law is known, other machines left out, nothing invented."""

import json
import math

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.models.base import epochs_for
from unlearn_core.runs import api, durations, forecast
from unlearn_core.runs.forecast import ROUGH, SAME, SCALED, TRIED, Forecast, Log, Step, duration
from unlearn_core.runs.progress import Mark, StoreReporter, read_curves, read_mark
from unlearn_core.runs.spec import OriginalSpec, RunSpec
from unlearn_core.runs.store import Job, Store

HERE, THERE = "this machine", "another machine"
DATA = "d" * 20


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def spec_of(model="mlp", **params):
    return OriginalSpec.make("digits", model, None, params)


def plant(store, what, seconds, spec=None, place=HERE, **facts):
    """One line of the log, as if it had been measured."""
    spec = spec or spec_of()
    known = {
        "dataset": durations.dataset_digest(spec),
        "data": DATA,
        "kind": durations.kind_digest(spec, DATA),
        "train": 1000,
        "total": 1800,
    }
    line = {"what": what, "where": place, "seconds": seconds} | known | facts
    with open(store.folder / durations.FILE, "a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def plant_training(store, instances, pace, what="training", spec=None, models=1, **rest):
    """A training that took `pace` seconds for each instance and epoch."""
    work = instances * epochs_for((spec or spec_of()).model_params, instances) * models
    plant(store, what, pace * work, spec, instances=instances, work=work, models=models, **rest)


def request(forget=20, method="finetune", params=None, retrains=3, train=1000, spec=None):
    ids = np.arange(train)
    return RunSpec.make(spec or spec_of(), "x", ids, 1800, ids[:forget], method, params, retrains=retrains), ids.tolist()


def plant_method(store, seconds, forget=20, method="finetune", params=None, instances=1000, trials=1, **rest):
    spec, _ = request(forget, method, params)
    work = durations.work(spec_of(), instances)
    plant(
        store, "method", seconds, instances=instances, work=work, method=[method, spec.method_version],
        settings=durations.settings(spec.params), forget=forget, trials=trials, **rest,
    )  # fmt: skip


# trainings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [7, 40])
@pytest.mark.parametrize(("measured", "wanted"), [(1000, 1000), (900, 1700), (1000, 500), (100, 60_000)])
def test_a_training_scales_by_instances_times_epochs(store, measured, wanted, epochs):
    spec = spec_of(epochs=3)
    plant_training(store, measured, 2e-5, spec=spec)
    other = spec_of(epochs=epochs)
    found = Log(store, HERE).training(other, wanted)
    assert found.seconds == pytest.approx(2e-5 * wanted * epochs, rel=1e-12)
    assert found.times == 1


def test_automatic_epochs_are_those_of_the_wanted_size(store):
    plant_training(store, 1000, 1e-5)
    wanted = 200_000
    assert Log(store, HERE).training(spec_of(), wanted).seconds == pytest.approx(1e-5 * wanted * epochs_for(spec_of().model_params, wanted))


def test_one_disturbed_training_moves_nothing(store):
    for pace in (1e-5, 1e-5, 5e-3, 1e-5, 1e-5):
        plant_training(store, 1000, pace)
    found = Log(store, HERE).training(spec_of(epochs=10), 1000)
    assert found.seconds == pytest.approx(1e-5 * 10_000) and found.times == 5


def test_times_of_another_machine_or_device_are_never_used(store):
    plant_training(store, 1000, 1e-5, place=THERE)
    plant(store, "evidence", 3.0, place=THERE, retrained=0, forget=20)
    plant_method(store, 1.0, place=THERE)
    log = Log(store, HERE)
    assert log.training(spec_of(), 1000) is None
    spec, ids = request()
    told = forecast.unlearning(store, spec, ids, HERE)
    assert told.seconds is None and set(told.parts.values()) == {None}
    assert Log(store, THERE).training(spec_of(), 1000) is not None
    assert durations.where("cpu", "2 cores") != durations.where("cuda", "2 cores")


def test_another_architecture_width_or_shape_of_data_says_nothing_of_a_training(store):
    plant_training(store, 1000, 1e-5)
    log = Log(store, HERE)
    assert log.training(spec_of(), 1000).grade == SAME
    assert log.training(spec_of(width=64), 1000) is None
    assert log.training(spec_of("cnn"), 1000) is None
    assert log.training(OriginalSpec.make("wine", "mlp"), 1000) is None


def test_a_real_training_of_this_size_comes_before_trial_steps_and_these_before_other_sizes(store):
    plant_training(store, 100, 1e-5)
    log = Log(store, HERE)
    assert (log.training(spec_of(), 1000).grade, log.training(spec_of(), 100).grade) == (SCALED, SAME)
    plant_training(store, 1000, 2e-5, what="trial")
    found = Log(store, HERE).training(spec_of(), 1000)
    assert found.grade == TRIED and found.seconds == pytest.approx(2e-5 * durations.work(spec_of(), 1000))
    plant_training(store, 1200, 3e-5)
    found = Log(store, HERE).training(spec_of(), 1000)
    assert found.grade == SAME and found.seconds == pytest.approx(3e-5 * durations.work(spec_of(), 1000))


def test_what_trains_in_a_way_of_its_own_scales_by_instances(store):
    spec = spec_of("convex")
    plant(store, "training", 2.0, spec, instances=1000, work=durations.work(spec, 1000), models=1)
    assert Log(store, HERE).training(spec, 1500).seconds == pytest.approx(3.0)


def test_models_trained_together_cost_at_most_one_after_another_until_measured(store):
    plant_training(store, 1000, 1e-5)
    one = Log(store, HERE).training(spec_of(), 1000).seconds
    told, most = Log(store, HERE).together(spec_of(), 1000, 10)
    assert told.seconds == pytest.approx(10 * one) and most
    plant_training(store, 1000, 2e-6, what="together", models=13)
    told, most = Log(store, HERE).together(spec_of(), 1000, 10)
    assert told.seconds == pytest.approx(2 * one) and not most


# methods -----------------------------------------------------------------------------------


def test_the_same_method_on_the_same_kind_is_the_median_and_scales_by_instances(store):
    plant_training(store, 1000, 1e-5)
    for seconds in (0.4, 0.5, 9.0):
        plant_method(store, seconds)
    spec, ids = request()
    found = Log(store, HERE).method(spec, ids)
    assert found.seconds == pytest.approx(0.5) and (found.grade, found.times) == (SAME, 3)
    spec, ids = request(train=1500)
    assert Log(store, HERE).method(spec, ids).seconds == pytest.approx(0.75)


def test_other_settings_are_second_best_and_strength_is_no_setting(store):
    plant_training(store, 1000, 1e-5)
    plant_method(store, 0.5, params={"epochs": 2})
    spec, ids = request()
    assert Log(store, HERE).method(spec, ids).grade == SCALED
    plant_method(store, 0.2, method="neggrad_plus", params={"alpha": 0.9})
    spec, ids = request(method="neggrad_plus", params={"alpha": 0.95})
    assert Log(store, HERE).method(spec, ids).grade == SAME


def test_a_search_for_alpha_takes_as_many_runs_as_values(store):
    plant_training(store, 1000, 1e-5)
    plant_method(store, 0.5, method="neggrad_plus")
    spec, ids = request(method="neggrad_plus", params={"alpha": "search"})
    assert durations.trials(spec) == 7
    assert Log(store, HERE).method(spec, ids).seconds == pytest.approx(3.5)
    plant_method(store, 4.2, method="neggrad_plus", trials=7)
    once, _ = request(method="neggrad_plus")
    assert durations.trials(once) == 1
    # The median of 0.5 and 4.2 / 7.
    assert Log(store, HERE).method(once, ids).seconds == pytest.approx(0.55)


def test_on_another_model_a_method_takes_the_same_share_of_a_training(store):
    wide = spec_of(width=512)
    plant_training(store, 1000, 1e-5)
    plant_training(store, 1000, 8e-5, spec=wide)
    plant_method(store, 0.5)
    spec, ids = request(spec=wide)
    found = Log(store, HERE).method(spec, ids)
    assert found.seconds == pytest.approx(4.0) and found.grade == ROUGH


def test_a_method_that_never_ran_here_is_unknown_and_the_rest_is_said(store):
    plant_training(store, 1000, 1e-5)
    plant(store, "evidence", 1.0, retrained=0, forget=20)
    spec, ids = request()
    told = forecast.unlearning(store, spec, ids, HERE)
    assert told.parts["method"] is None and told.seconds is None
    assert "Not known yet: method;" in told.words and told.words.startswith("About ")


def test_retraining_takes_one_training_on_what_is_left(store):
    spec, ids = request(100, "retrain", spec=spec_of(epochs=10))
    plant_training(store, 1000, 1e-4, spec=spec.original)
    assert Log(store, HERE).method(spec, ids).seconds == pytest.approx(1e-4 * 900 * 10)
    assert forecast.unlearning(store, spec, ids, HERE).again is None  # it is the retraining


def test_sisa_takes_the_share_that_it_redoes(store):
    from unlearn_core import seeds
    from unlearn_core.models import sharding

    original = spec_of("sisa")
    spec, ids = request(1, "sisa", spec=original)
    plant(store, "training", 6.0, original, instances=1000, work=1000, models=1)
    share = sharding.touched(ids, spec.forget, original.model_params, seeds.derive("original", original.seed)).share
    assert 0 < share < 0.3
    assert Log(store, HERE).method(spec, ids).seconds == pytest.approx(6.0 * 0.999 * share)


# evidence, layouts and the whole -----------------------------------------------------------


def test_evidence_scales_by_models_and_instances(store):
    plant_training(store, 1000, 1e-5)
    plant(store, "evidence", 1.0, retrained=0, forget=20)
    spec, _ = request()
    log = Log(store, HERE)
    assert (log.evidence(spec, 0).seconds, log.evidence(spec, 0).grade) == (pytest.approx(1.0), SAME)
    assert (log.evidence(spec, 3).seconds, log.evidence(spec, 3).grade) == (pytest.approx(2.5), SCALED)


def test_a_layout_of_another_size_is_scaled_from_the_nearest_one_and_called_rough(store):
    plant_training(store, 1000, 1e-5)
    for total, seconds in ((300, 1.0), (3600, 6.0)):
        plant(store, "umap", seconds, spec_of("cnn"), total=total, data="other", kind="other", dataset=str(total))
    found = Log(store, HERE).stage("umap", spec_of())
    assert found.seconds == pytest.approx(3.0) and found.grade == ROUGH
    plant(store, "umap", 4.0)
    assert (Log(store, HERE).stage("umap", spec_of()).seconds, Log(store, HERE).stage("umap", spec_of()).grade) == (4.0, SAME)


def complete(store, spec=None):
    plant_training(store, 1000, 1e-4, spec=spec)
    plant_method(store, 0.3)
    for k in range(4):
        plant(store, "evidence", 0.25, retrained=k, forget=20)
    for what in ("loading", "map", "umap"):
        plant(store, what, 2.0)


def test_the_parts_add_up_and_are_named(store):
    complete(store, spec_of(epochs=10))
    spec, ids = request(spec=spec_of(epochs=10))
    told = forecast.unlearning(store, spec, ids, HERE)
    one = 1e-4 * 980 * 10
    parts = {part: estimate.seconds for part, estimate in told.parts.items()}
    assert parts == pytest.approx({"method": 0.3, "evidence": 1.0, "3 retrained models": 3 * one})
    assert told.seconds == pytest.approx(sum(parts.values()))
    assert told.words == "About 4 s: method 0.3 s, evidence 1 s, 3 retrained models 3 s (from 1 earlier run)."


def test_retrained_models_that_are_stored_cost_nothing(store):
    complete(store)
    spec, ids = request()
    for k in (0, 2):
        store.place("retrained", f"{spec.retrain_key}-{k}").mkdir(parents=True)
    told = forecast.unlearning(store, spec, ids, HERE)
    assert told.parts["1 retrained model"].seconds == pytest.approx(Log(store, HERE).training(spec.original, 980).seconds)


def test_unlearning_that_takes_longer_than_retraining_says_so(store):
    plant_training(store, 1000, 1e-6)
    plant_method(store, 3.0)
    spec, ids = request()
    told = forecast.unlearning(store, spec, ids, HERE)
    assert told.longer and "longer than training again" in told.words
    complete(fresh := Store(store.folder / "other"))
    assert not forecast.unlearning(fresh, spec, ids, HERE).longer


def test_a_pool_that_is_not_there_is_counted_and_bounded(store):
    complete(store)
    spec, ids = request(method="calibrated")
    told = forecast.unlearning(store, spec, ids, HERE)
    one = Log(store, HERE).training(spec.original, 1000).seconds
    assert told.parts[forecast.POOL].seconds == pytest.approx(spec.params["pool"] * one)
    assert told.longer and told.words.startswith("At most about")


def test_opening_knows_its_stages_and_points_have_no_umap(store):
    complete(store)
    told = forecast.opening(store, spec_of(), HERE)
    assert list(told.parts) == ["loading", "training", "the map", "UMAP"] and told.seconds > 6
    moons = forecast.opening(store, OriginalSpec.make("moons"), HERE)
    assert "UMAP" not in moons.parts and moons.seconds is None and moons.words == forecast.UNKNOWN


def test_nothing_is_ever_negative_or_infinite(store):
    rng = np.random.default_rng(0)
    for _ in range(30):
        plant_training(store, int(rng.integers(1, 10**5)), float(rng.choice([0.0, 1e-9, 1e-3])))
        plant_method(store, float(rng.choice([0.0, 1e-9, 50.0])), forget=int(rng.integers(1, 500)))
        plant(store, "evidence", float(rng.choice([0.0, 2.0])), retrained=int(rng.integers(0, 9)), forget=3)
    for forget in (1, 400, 999):
        spec, ids = request(forget, retrains=12)
        told = forecast.unlearning(store, spec, ids, HERE)
        assert all(math.isfinite(estimate.seconds) and estimate.seconds >= 0 for estimate in told.parts.values())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "under 0.1 s"),
        (0.26, "0.3 s"),
        (0.96, "1 s"),
        (4.4, "4 s"),
        (12, "10 s"),
        (58, "1 min"),
        (200, "3 min"),
        (3500, "1 h"),
        (4200, "1 h 10 min"),
    ],
)
def test_durations_have_no_more_digits_than_they_deserve(seconds, said):
    assert duration(seconds) == said


# what is left while it runs ------------------------------------------------------------------


def job(stage, fraction, kind="run"):
    return Job("k", kind, {}, "running", 10, stage, fraction, "", "", None, 1, 0.0, 0.0, None, "")


def told(*seconds):
    names = (("method", "tuning", 0.1), ("evidence", "collecting evidence", 0.75))
    steps = (
        Step(part, stage, start, None if s is None else forecast.Estimate(s), "run")
        for (part, stage, start), s in zip(names, seconds, strict=True)
    )
    return Forecast(tuple(steps))


def test_what_is_left_goes_by_the_pace_of_the_stage_and_the_forecast_of_those_after_it():
    mark = Mark("tuning", 100.0, 0.1, 0.7)
    assert told(5.0, 2.0).left(job("tuning", 0.25), mark, 103.0, 103.0) == (pytest.approx(9.0 + 2.0), True)  # a quarter in 3 s
    assert told(5.0, 2.0).left(job("tuning", 0.25), mark, 103.0, 104.0) == (pytest.approx(8.0 + 2.0), True)  # no news for a second
    assert told(5.0, None).left(job("tuning", 0.25), mark, 103.0, 103.0) == (pytest.approx(9.0), False)
    assert told(5.0, 2.0).left(job("tuning", 0.1), mark, 101.0, 101.0) == (pytest.approx(4.0 + 2.0), True)  # no pace yet: as forecast
    assert told(None, 2.0).left(job("tuning", 0.1), mark, 101.0, 101.0) is None
    last = Mark("collecting evidence", 110.0, 0.75, 0.95)
    assert told(5.0, 2.0).left(job("collecting evidence", 0.85), last, 111.0, 111.0) == (pytest.approx(1.0), True)
    assert told(5.0, 2.0).left(job("something new", 0.5), Mark("something new", 100.0, 0.0, 1.0), 103.0, 103.0) == (
        pytest.approx(3.0),
        False,
    )
    assert told(5.0, 2.0).left(job("tuning", 0.1), mark, 180.0, 180.0)[0] == pytest.approx(
        2.0
    )  # longer than expected: never below the rest


def test_of_stages_with_one_name_the_one_that_was_reached_counts(store):
    complete(store)
    spec, ids = request()
    made = forecast.unlearning(store, spec, ids, HERE)
    one = made.parts["3 retrained models"].seconds / 3
    mark = Mark("retraining 2 of 3", 0.0, 1 / 3, 1.8 / 3)
    left, whole = made.left(job("retraining 2 of 3", (1 + 0.4) / 3, "evidence"), mark, 4.0, 4.0)
    assert whole and left == pytest.approx(4.0 + 0.25 + one + 0.25)


def test_a_reporter_marks_its_stages_and_curves_stay_curves(store):
    store.submit("abc", "run", {})
    reporter = StoreReporter(store, "abc", yields=False)
    assert read_mark(store, "abc") is None
    reporter.stage("one", 0.0, 0.5)(0.5, loss=1.0)
    reporter.stage("two", 0.5, 0.75)
    mark = read_mark(store, "abc")
    assert (mark.stage, mark.start, mark.stop) == ("two", 0.5, 0.75)
    assert [(point["stage"], point["loss"]) for point in read_curves(store, "abc")] == [("one", 1.0)]


# real runs ---------------------------------------------------------------------------------


def test_what_runs_leaves_times_that_the_next_forecast_is_made_of(store):
    spec, here = OriginalSpec.make("moons", "softmax", model_params={"epochs": 2}), durations.here("cpu")
    loaded = data.load("moons")
    ids = loaded.splits.train.tolist()
    wanted = RunSpec.make(spec, loaded.hash, ids, len(loaded), ids[:9], "finetune", retrains=0)
    assert forecast.unlearning(store, wanted, ids, here).seconds is None
    api.run("moons", ids[:5], "finetune", "softmax", model_params={"epochs": 2}, retrains=0, store=store, device="cpu")
    made = forecast.unlearning(store, wanted, ids, here)
    assert made.seconds > 0 and {estimate.grade for estimate in made.parts.values()} == {SAME}
    whats = [timing["what"] for timing in durations.read(store, here)]
    assert (whats.count("training"), whats.count("method"), whats.count("evidence")) == (1, 1, 1)
    text = (store.folder / durations.FILE).read_text()
    assert not any(str(list(part)) in text for part in (ids[:5], wanted.forget))  # no instance is named


def test_trial_steps_say_what_a_training_takes_before_any_ran(store):
    from unlearn_core.runs.progress import Reporter

    spec, here = OriginalSpec.make("wine", "softmax"), durations.here("cpu")
    assert not forecast.tried(store, spec, here)
    forecast.probe(store, spec, Reporter())
    assert forecast.tried(store, spec, here)
    found = Log(store, here).training(spec, 100)
    assert found.grade == TRIED and found.seconds > 0
    other = OriginalSpec.make("wine", "convex")  # trains in a way of its own
    forecast.probe(store, other, Reporter())
    assert forecast.tried(store, other, here)  # as far as that can be
    assert Log(store, here).training(other, 100) is None and Log(store, here).facts(other)["train"] == len(data.load("wine").splits.train)


def test_a_probe_is_asked_for_once_and_gives_way(store):
    spec = OriginalSpec.make("wine")
    first = forecast.submit_probe(store, spec, HERE)
    assert first.priority == 0 and forecast.submit_probe(store, spec, HERE).created == first.created
    assert forecast.probe_key(spec, HERE) != forecast.probe_key(spec, THERE)


def test_the_log_is_kept_short_and_survives_half_a_line(store, monkeypatch):
    monkeypatch.setattr(durations, "LARGEST", 2000)
    for k in range(60):
        durations.record(store, "training", "cpu", float(k))
    path = store.folder / durations.FILE
    assert path.stat().st_size < 2500
    with open(path, "a", encoding="utf-8") as out:
        out.write('{"what": "trai')
    found = durations.read(store, durations.here("cpu"))
    assert found[-1]["seconds"] == 59.0
    durations.record(store, "training", "cpu", 60.0)
    assert durations.read(store, durations.here("cpu"))[-1]["seconds"] == 60.0


def test_lines_that_are_no_times_are_passed_over(store):
    plant_training(store, 1000, 1e-5)
    before = durations.read(store, HERE)
    with open(store.folder / durations.FILE, "ab") as out:
        out.write(b'\xff\xfe\nnull\n7\n{"what": "training"}\n{"what": "trai\n')
    assert before and durations.read(store, HERE) == before


def test_a_clock_that_was_set_back_does_not_lengthen_what_is_left():
    mark = Mark("tuning", 5000.0, 0.1, 0.7)
    assert told(5.0, 2.0).left(job("tuning", 0.1), mark, 1400.0, 1400.0) == (7.0, True)
