"""Several requests in a row: each goes on from the model of the one before, and the evidence is about all of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from unlearn_core import data, methods, models, report, seeds
from unlearn_core.errors import BadInput
from unlearn_core.evidence.logits import js_divergence, log_softmax
from unlearn_core.models import storage, training
from unlearn_core.runs import api, applying
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import AuditSpec, PoolSpec, RunSpec
from unlearn_core.runs.store import Store

SMALL = {"mlp": {"width": 8, "epochs": 8}, "sisa": {"shards": 3, "slices": 2, "width": 8, "batch": 16, "epochs": 8}, "convex": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("requests"))


def ask(store, forget, method="finetune", model="mlp", retrains=3, **rest):
    given = {"model_params": SMALL[model], "dataset_params": {"split_seed": 1}, "device": "cpu", "store": store}
    return api.run("wine", forget, method, model, retrains=retrains, **given | rest)


@pytest.fixture(scope="module")
def chain(store):
    """Three requests: 6, 5 and 4 instances."""
    first = ask(store, "random:6", params={"epochs": 2})
    second = ask(store, "random:5", parent=first, params={"epochs": 2}, seed=1)
    return first, second, ask(store, "random:4", parent=second.key, method="nabla_tau", seed=2)


def weights(run):
    return load_file(run.model_path)


def test_a_request_takes_only_what_is_still_there_and_names_what_went_before(chain):
    first, second, third = (run.spec for run in chain)
    assert third.requests == (first, second, third) and third.parent == second
    assert (len(first.gone), len(second.gone), len(third.gone)) == (6, 11, 15)
    assert third.earlier == second.gone and set(third.forget).isdisjoint(second.gone)
    assert RunSpec.from_dict(json.loads(json.dumps(third.to_dict()))) == third


def test_keys_name_the_way_but_retrained_models_are_those_of_the_same_instances(chain):
    third = chain[-1].spec
    at_once = replace(third, parent=None, forget=third.gone)
    assert len({third.key, at_once.key, replace(third, parent=replace(third.parent, seed=9)).key}) == 3
    assert third.retrain_key == at_once.retrain_key != third.parent.retrain_key


def test_the_method_starts_from_the_earlier_model_without_what_is_gone(chain, store, monkeypatch):
    seen, actual = [], applying.apply
    monkeypatch.setattr(
        applying, "apply", lambda model, dataset, spec, part, *rest: seen.append((model, part)) or actual(model, dataset, spec, part, *rest)
    )
    first, second, _ = chain
    Pipeline(store).unlearn(second.spec, Reporter())
    (model, part), splits = seen[0], data.load("wine", {"split_seed": 1}).splits
    before = weights(first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(part.retain) == set(splits.train) - set(second.spec.gone)
    assert set(part.gone) == set(first.spec.forget) and set(part.forget) == set(second.spec.forget)


def test_retrained_models_know_none_of_it_and_the_original_all(chain):
    third = chain[-1]
    dataset = data.load("wine", {"split_seed": 1})
    left = np.setdiff1d(dataset.splits.train, third.spec.gone)
    anew = training.train(models.info("mlp"), dataset, third.spec.original.model_params, left, seeds.derive("retrained", 0), "cpu")
    gone = list(third.spec.gone)
    right = training.read(anew, dataset.inputs[gone], "cpu").logits.argmax(axis=1) == dataset.labels[gone]
    assert third.measure("utility.accuracy.forget").retrained.values[0] == pytest.approx(right.mean())
    assert third.measure("utility.accuracy.forget").n == 15


def test_what_the_requests_did_is_followed_from_the_original_on(chain, store):
    third = chain[-1]
    dataset, view = data.load("wine", {"split_seed": 1}), third.views["requests"]
    original = Pipeline(store)._original(third.spec, Reporter())[1].model
    said = [training.read(original, dataset.inputs, "cpu").logits]
    for run in chain:
        model = storage.load(run.model_path, models.info("mlp"), dataset, run.spec.original.model_params, "cpu")
        said.append(training.read(model, dataset.inputs, "cpu").logits)
    retain = np.setdiff1d(dataset.splits.train, third.spec.gone)
    drift = [js_divergence(log_softmax(said[0][retain]), log_softmax(logits[retain])).mean() for logits in said]
    np.testing.assert_allclose(view["drift"], drift, atol=1e-12)
    assert view["drift"][0] == 0 and third.measure("requests.drift.retain").unlearned == pytest.approx(drift[-1])
    for row, run in enumerate(chain):
        ids = list(run.spec.forget)
        right = [(logits[ids].argmax(axis=1) == dataset.labels[ids]).mean() for logits in said]
        np.testing.assert_allclose(view["accuracy"][row], right)
        measure = third.measure(f"requests.accuracy.request:{row + 1}")
        assert (measure.original, measure.unlearned) == (right[0], right[-1]) and measure.n == len(ids)
        js = third.measure(f"requests.js.request:{row + 1}")
        np.testing.assert_allclose([js.original, js.unlearned], view["js"][row][[0, -1]])
        np.testing.assert_allclose(js.retrained.values, view["retrained_js"][:, row])
    np.testing.assert_allclose(view["seconds"], [run.timings["method"] for run in chain])
    assert view["size"].tolist() == [6, 5, 4]


def test_one_request_has_no_course(chain):
    assert not chain[0].family("requests.js") and "requests" not in chain[0].views


def test_sisa_stays_exact_bit_for_bit_over_requests(store):
    """Two requests give what training without all of it gives, and what one request for all gives."""
    first = ask(store, "random:5", "sisa", "sisa", 0)
    second = ask(store, "random:4", "sisa", "sisa", 0, parent=first, seed=3)
    at_once = ask(store, f"ids:{','.join(map(str, second.spec.gone))}", "sisa", "sisa", 0)
    dataset, original = data.load("wine", {"split_seed": 1}), second.spec.original
    left = np.setdiff1d(dataset.splits.train, second.spec.gone)
    anew = training.train(models.info("sisa"), dataset, original.model_params, left, seeds.derive("original", original.seed), "cpu")
    one, two = weights(at_once), weights(second)
    for name, value in anew.state_dict().items():
        assert torch.equal(two[name], value) and torch.equal(one[name], value)


def test_the_certificate_counts_all_requests(store):
    """β of every head is the sum of what each request added, and the budget stays what it was (Guo et al., arXiv 1911.03030, §3)."""
    first = ask(store, "random:1", "certified", "convex", 0)
    second = ask(store, "random:1", "certified", "convex", 0, parent=first, seed=1)
    alone = ask(store, f"ids:{second.spec.forget[0]}", "certified", "convex", 0)
    added = weights(second)["beta"] - weights(first)["beta"]
    assert (weights(first)["beta"] > 0).all() and (added > 0).all()
    assert second.chosen["beta"] == pytest.approx(weights(second)["beta"].norm().item())
    assert second.chosen["budget"] == first.chosen["budget"] == alone.chosen["budget"]
    assert added.norm() == pytest.approx(weights(alone)["beta"].norm().item(), rel=0.5)  # nearly the same step, from nearly the same model


def test_noise_is_drawn_anew_at_every_retraining(store):
    """Two models with one noise would tell by their difference what the noise hides; the seed of a form stays what it was."""
    given = {"params": {"epsilon": 1e-3}}
    first = ask(store, "random:20", "certified", "convex", 0, **given)
    second = ask(store, "random:20", "certified", "convex", 0, parent=first, **given)
    assert first.chosen["retrained"] and second.chosen["retrained"] and first.spec.seed == second.spec.seed
    assert not torch.equal(weights(first)["noise"], weights(second)["noise"])


def test_shadows_go_through_all_requests_too(chain, store, monkeypatch):
    second = chain[1].spec
    pool = PoolSpec.make(second.original, second.dataset_hash, 8)
    seen, actual = [], applying.apply

    def spy(model, dataset, spec, part, *rest):
        seen.append((spec.method, set(part.train), set(part.forget), set(part.gone)))
        return actual(model, dataset, spec, part, *rest)

    monkeypatch.setattr(applying, "apply", spy)
    Pipeline(store).audit(AuditSpec(second, pool, True), Reporter())
    first = set(second.parent.forget)
    assert seen
    for _, train, forget, gone in seen:
        assert forget <= train and gone.isdisjoint(train)
        assert (forget <= first and not gone) or (forget <= set(second.forget) and gone <= first)
    assert any(gone for *_, gone in seen)
    assert api.load_audit(store, AuditSpec(second, pool, True)).measures


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"forget": "earlier"}, "forget", "forgotten already"),
        ({"forget": "rest"}, "forget", "every training instance"),
        ({"parent": "nothing"}, "parent", "no run"),
        ({"model": "sisa", "model_params": SMALL["sisa"]}, "parent", "another original"),
        ({"dataset_params": {"split_seed": 2}}, "parent", "another original"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_field(chain, store, change, field, told):
    first = chain[0].spec
    train = data.load("wine", {"split_seed": 1}).splits.train
    words = {"earlier": list(first.forget[:2]), "rest": np.setdiff1d(train, first.forget).tolist()}
    given = {"forget": "random:3", "parent": first.key} | {
        name: words.get(value, value) if name == "forget" else value for name, value in change.items()
    }
    with pytest.raises(BadInput) as refused:
        ask(store, given.pop("forget"), **given)
    assert refused.value.field == field and told in str(refused.value)


def test_a_run_that_others_go_on_from_is_kept(chain, store):
    first, second, third = chain
    assert {job.key for job in api.going_on(store, first.key)} >= {second.key, third.key}
    with pytest.raises(BadInput, match="later requests"):
        api.delete_run(store, first.key)
    assert api.load_run(store, first.key)


def test_a_model_that_is_gone_is_told(tmp_path):
    store = Store(tmp_path)
    first = ask(store, "random:3", retrains=0)
    second = ask(store, "random:3", parent=first, seed=1, retrains=0)
    api.delete_run(store, second.key)
    store.delete(first.key)
    with pytest.raises(BadInput) as refused:
        Pipeline(store).unlearn(second.spec, Reporter())
    assert refused.value.field == "parent"


def test_half_of_a_chain_is_never_taken_for_all_of_it(tmp_path):
    """Asked twice with the earlier model missing, the second time is refused too, and nothing is compared."""
    store = Store(tmp_path)
    first = ask(store, "random:3", retrains=0, params={"epochs": 1})
    second = ask(store, "random:3", parent=first, seed=1, retrains=1, params={"epochs": 1})
    place = store.place("runs", first.key)
    place.rename(tmp_path / "elsewhere")
    pipeline = Pipeline(store)
    for _ in range(2):
        with pytest.raises(BadInput, match="not there any more"):
            pipeline.add_retrained(second.spec, Reporter())
    (tmp_path / "elsewhere").rename(place)
    pipeline.add_retrained(second.spec, Reporter())
    assert len(pipeline.runs[second.key].earlier) == 1


@pytest.mark.parametrize("u_lira", [False, True])
def test_an_earlier_request_of_another_device_is_gone_on_from_here(chain, store, u_lira):
    """What the machine of that request had, this one need not have: the meta device holds no numbers, so reading with it would fail."""
    first, second, _ = chain
    far = replace(first.spec, device="meta")
    there = store.place("runs", far.key)
    if not there.exists():
        there.mkdir()
        for name in ("model.safetensors", "run.json"):
            (there / name).write_bytes((first.folder / name).read_bytes())
    spec, pipeline = replace(second.spec, parent=far), Pipeline(store)
    if u_lira:
        pipeline.audit(AuditSpec(spec, PoolSpec.make(spec.original, spec.dataset_hash, 8), True), Reporter())
        return
    here, known = load_file(pipeline.unlearn(spec, Reporter()) / "model.safetensors"), weights(second)
    assert all(torch.equal(here[name], value) for name, value in known.items())


def test_sisa_refuses_a_model_whose_checkpoints_know_what_another_method_forgot(store):
    """Its shards would start from checkpoints that learned those instances: neither exact nor without them."""
    first = ask(store, "random:3", "finetune", "sisa", 0, params={"epochs": 1})
    with pytest.raises(BadInput, match="not exact on a model that another method changed") as refused:
        ask(store, "random:3", "sisa", "sisa", 0, parent=first)
    assert refused.value.field == "method"
    again = ask(store, "random:3", "retrain", "sisa", 0)
    ask(store, "random:3", "sisa", "sisa", 0, parent=again)


def test_what_sisa_will_cost_is_said_only_where_its_seed_is_the_originals(store):
    from unlearn_core.runs import originals

    again = ask(store, "random:3", "retrain", "sisa", 0)
    exact = ask(store, "random:3", "sisa", "sisa", 0)
    found = originals.load(store, again.spec.original.key)
    left = [i for i in found.ids.tolist() if i not in again.spec.gone + exact.spec.gone][:2]
    assert api.forecast(found, left, "sisa") and api.forecast(found, left, "sisa", exact.spec)
    assert api.forecast(found, left, "sisa", again.spec) is None


def test_another_version_of_a_method_is_not_run_in_its_name(chain, store):
    spec = replace(chain[0].spec, method_version=0)
    place = store.place("runs", spec.key)
    place.mkdir()
    for file in chain[0].folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadInput, match="another version") as refused:
        Pipeline(store).audit(AuditSpec(spec, PoolSpec.make(spec.original, spec.dataset_hash, 8), True), Reporter())
    assert refused.value.field == "u_lira"


def test_sentences_speak_of_the_last_request_and_of_the_original(chain, store):
    first, _, third = chain
    assert "for this last request" in " ".join(report.summary(third).cost) and "in the original" in " ".join(report.summary(third).cost)
    assert "request" not in " ".join(report.summary(first).cost) and "before" in " ".join(report.summary(first).cost)
    wrong = ask(store, "random:4", "neggrad", parent=first, retrains=0, params={"epochs": 1})
    assert methods.info("neggrad").goal == "misclassify"
    last = wrong.measure("requests.accuracy.request:2")
    assert f"({last.original:.0%} in the original, {last.unlearned:.0%} now)" in report.goal(wrong)[0]
    assert any("mix the two" in sentence for sentence in report.summary(wrong).limits)
