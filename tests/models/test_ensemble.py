"""Many models at once: each equals training it alone, whatever it is trained with; planning, streaming, stopping."""

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unlearn_core import data, models
from unlearn_core.errors import Cancelled, Preempted
from unlearn_core.models import ensemble, planning, stacking, training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.planning import Plan, Way
from unlearn_core.params import resolve

SAMPLE = {"image": "digits", "tabular": "wine", "points": "moons"}
PAIRS = [
    (name, SAMPLE[info.modalities[0] if "image" not in info.modalities else "image"])
    for name, info in models.registry().items()
    if set(info.modalities) & set(SAMPLE) and not info.train
]
LEAN = {"width": 4}
ALONE, STACKED = Way(False, 1, 1, 1), Way(True, 8, 2, 1)


def plan_of(way):
    return Plan(way, 0, 0.0, {})


def recipe(name, **given):
    declared = models.info(name).params
    lean = {key: value for key, value in LEAN.items() if key in {param.name for param in declared} and name != "mlp"}
    return resolve(declared, lean | given, name)


def draw_subsets(dataset, sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(dataset.splits.train)[:n] for n in sizes]


def difference(one, other):
    """Largest difference of any weight or statistic."""
    assert one.state_dict().keys() == other.state_dict().keys()
    return max(
        (a.double() - b.double()).abs().max().item() for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


SIZES = {
    "equal, last batch full": [64, 64, 64],
    "equal, last batch partial": [75, 75, 75],
    "unequal, as many steps": [70, 90, 81, 65],
    "unequal steps and epochs": [20, 75, 75, 100, 33, 20],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(("name", "source"), PAIRS)
def test_each_model_equals_training_it_alone(name, source, sizes):
    """In float32 sums of another order differ in the last bits; AdamW divides by the gradient's size, so where a
    gradient is rounding noise it turns them into part of a step of lr. Float64 below shows that nothing else differs."""
    dataset, info, params = data.load(source), models.info(name), recipe(name, epochs=3, batch=32)
    subsets, seeds = draw_subsets(dataset, sizes), [7 * k + 1 for k in range(len(sizes))]
    many = ensemble.train_many(info, dataset, params, subsets, seeds, "cpu", chosen=plan_of(Way(True, 2, 2, 1)))
    for k, model in enumerate(many):
        alone = training.train(info, dataset, params, subsets[k], seeds[k], "cpu")
        assert type(model) is type(alone) and not model.training
        assert torch.equal(model.standardise.mean, alone.standardise.mean)
        assert difference(model, alone) < params["lr"]
        x = dataset.inputs[dataset.splits.test]
        np.testing.assert_allclose(training.predict(model, x, "cpu"), training.predict(alone, x, "cpu"), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("sizes", [[75, 75, 75], [70, 90, 81]])
@pytest.mark.parametrize(("name", "source"), PAIRS)
def test_stacked_descent_is_the_descent_of_each_to_float64(name, source, sizes):
    """Rounding of 1e-16 becomes at most 1e-16 · lr / AdamW's eps of 1e-8 in a step, and grows along the descent."""
    dataset, params = data.load(source), recipe(name, epochs=4, batch=32)
    x, y = (t.double() if t.is_floating_point() else t for t in training.tensors(dataset, "cpu"))
    alone = [training.fresh(models.info(name), dataset, params, seed, "cpu").double() for seed in range(3)]
    if stacking.kind(alone[0]) is stacking.Mapped:
        sizes = [75] * 3
    subsets = [torch.as_tensor(ids) for ids in draw_subsets(dataset, sizes)]
    for model, ids in zip(alone, subsets, strict=True):
        model.standardise.fit(x[ids])
    together, start = copy.deepcopy(alone), copy.deepcopy(alone)
    given = {key: params[key] for key in ("epochs", "batch", "lr", "weight_decay")}
    for k in range(3):
        training.descend(alone[k], x, y, subsets[k], seed=k, **given)
    stacking.descend(together, x, y, subsets, [0, 1, 2], **given)
    for before, one, other in zip(start, alone, together, strict=True):
        assert difference(one, other) < 1e-8 < 1e-3 < difference(one, before)


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_written_out_gradients_equal_autograd_with_and_without_padding(name):
    dataset = data.load("digits")
    found = [
        training.fresh(models.info(name), dataset, recipe(name, **({"width": 6} if name == "mlp" else {})), seed, "cpu").double()
        for seed in range(3)
    ]
    x, y = torch.as_tensor(dataset.inputs).double(), torch.as_tensor(dataset.labels)
    for k, model in enumerate(found):
        model.standardise.fit(x[100 * k : 100 * k + 90])
    assert stacking.kind(found[0]) is stacking.Dense
    stack = stacking.Dense(found, x, y)
    whole = torch.arange(36).view(3, 12)
    ragged = whole.clone()
    ragged[1, 5:], ragged[2, 1:] = stacking.PADDING, stacking.PADDING
    for ids in (whole, ragged, whole):
        stack.gradient(ids, padded=ids is ragged)
        for k, model in enumerate(found):
            real = ids[k][ids[k] >= 0]
            gradients = torch.autograd.grad(F.cross_entropy(model(x[real]), y[real]), list(model.parameters()))
            written = [slope for pair in zip(stack.weight_slopes, stack.bias_slopes, strict=True) for slope in pair]
            for slope, gradient in zip(written, gradients, strict=True):
                torch.testing.assert_close(slope[k], gradient, rtol=1e-10, atol=1e-13)
            assert stack.parameters[0].grad.data_ptr() == written[0].data_ptr()


def test_a_model_does_not_depend_on_its_company():
    dataset, info, params = data.load("digits"), models.info("mlp"), recipe("mlp", epochs=2)
    subsets, seeds = draw_subsets(dataset, [150] * 5), range(5)
    everyone = ensemble.train_many(info, dataset, params, subsets, seeds, "cpu", chosen=plan_of(STACKED))
    missing = ensemble.train_many(info, dataset, params, [subsets[3], subsets[1]], [3, 1], "cpu", chosen=plan_of(STACKED))
    assert max(difference(everyone[3], missing[0]), difference(everyone[1], missing[1])) < params["lr"]
    assert difference(everyone[3], everyone[1]) > params["lr"]


def tanh(facts, params):
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(np.prod(facts.shape), 5), nn.Tanh())
    return Classifier(facts, {"features": hidden}, nn.Linear(5, facts.classes))


def dropout(facts, params):
    return Classifier(facts, {"features": nn.Sequential(nn.Flatten(), nn.Dropout(0.5))}, nn.Linear(np.prod(facts.shape), facts.classes))


@pytest.mark.parametrize(("build", "stacks"), [(tanh, True), (dropout, False)])
def test_architectures_of_later_days_are_mapped_or_trained_one_by_one(build, stacks):
    dataset, info, params = (
        data.load("wine"),
        replace(models.info("softmax"), name=build.__name__, build=build),
        recipe("softmax", epochs=2),
    )
    subsets = draw_subsets(dataset, [64] * 4)
    plan = ensemble.plan(info, dataset, params, subsets, "cpu")
    assert any(way.stacked for way in plan.measured) == stacks
    way = STACKED if stacks else plan.way
    found = ensemble.train_many(info, dataset, params, subsets, range(4), "cpu", chosen=plan_of(way))
    assert stacking.kind(found[0]) is stacking.Mapped
    if stacks:
        assert difference(found[2], training.train(info, dataset, params, subsets[2], 2, "cpu")) < params["lr"]


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_work_is_cut_into_chunks_that_may_be_stacked(name):
    dataset, params, way = data.load("digits"), recipe(name, epochs=2, batch=32), Way(True, 4, 2, 1)
    sizes = [64] * 9 + [60] * 5 + [40] * 2 + [200]
    subsets, seeds = draw_subsets(dataset, sizes), [100 + k for k in range(len(sizes))]
    work = ensemble.chunks(models.info(name), dataset, params, subsets, seeds, "cpu", way)
    assert sorted(k for chunk in work for k in chunk.members) == list(range(len(sizes)))
    for chunk in work:
        assert len(chunk.members) == 1 or 4 <= len(chunk.members) + 1 <= 5
        assert chunk.stacked == (len(chunk.members) > 1)
        assert chunk.seeds == tuple(100 + k for k in chunk.members)
        assert all(ids is subsets[k] for ids, k in zip(chunk.subsets, chunk.members, strict=True))
        lengths = {len(ids) for ids in chunk.subsets}
        assert len(lengths) == 1 or name == "mlp"
        assert len({-(-n // 32) for n in lengths}) == 1
    assert sum(chunk.steps for chunk in work) == sum(2 * -(-n // 32) for n in sizes)
    assert all(
        len(chunk.members) == 1 and not chunk.stacked
        for chunk in ensemble.chunks(models.info(name), dataset, params, subsets, seeds, "cpu", ALONE)
    )


def test_a_chunk_can_be_trained_elsewhere():
    dataset, info, params = data.load("wine"), models.info("mlp"), recipe("mlp", epochs=2)
    subsets = draw_subsets(dataset, [80] * 4)
    chunk, sent = pickle.loads(
        pickle.dumps((ensemble.chunks(info, dataset, params, subsets, range(4), "cpu", Way(True, 4, 1, 1))[0], dataset))
    )
    states = pickle.loads(pickle.dumps(ensemble.train_chunk(chunk, sent)))
    here = ensemble.train_many(info, dataset, params, subsets, range(4), "cpu", chosen=plan_of(Way(True, 4, 1, 1)))
    assert chunk.stacked and chunk.members == (0, 1, 2, 3)
    for state, model in zip(states, here, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("way", [ALONE, Way(False, 1, 2, 1), Way(True, 4, 2, 1)], ids=str)
def test_models_arrive_as_they_finish_in_the_calling_thread(way):
    dataset, info, params = data.load("wine"), models.info("mlp"), recipe("mlp", epochs=4)
    fractions, arrived, before = [], [], torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def found(k, model):
        assert threading.current_thread() is threading.main_thread() and not model.training
        arrived.append((k, fractions[-1] if fractions else 0.0))

    subsets = draw_subsets(dataset, [90] * 16)
    assert (
        ensemble.train_many(info, dataset, params, subsets, range(16), "cpu", lambda f, **c: fractions.append(f), found, plan_of(way)) == []
    )
    assert sorted(k for k, _ in arrived) == list(range(16))
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and arrived[0][1] < 1.0
    assert torch.get_num_threads() == before and torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("way", [ALONE, Way(True, 4, 2, 1)], ids=str)
@pytest.mark.parametrize("error", [Cancelled, Preempted])
@pytest.mark.parametrize("place", ["progress", "found"])
def test_stopping_keeps_what_has_arrived_and_can_be_taken_up(way, error, place):
    dataset, info, params = data.load("wine"), models.info("mlp"), recipe("mlp", epochs=30)
    subsets, arrived = draw_subsets(dataset, [90] * 12), {}

    def found(k, model):
        arrived[k] = model
        if place == "found":
            raise error

    def progress(fraction, **curves):
        if arrived and place == "progress":
            raise error

    before, lanes = torch.get_num_threads(), threading.active_count()
    with pytest.raises(error):
        ensemble.train_many(info, dataset, params, subsets, range(12), "cpu", progress, found, plan_of(way))
    assert 0 < len(arrived) < 12
    assert torch.get_num_threads() == before and threading.active_count() == lanes
    missing = [k for k in range(12) if k not in arrived]
    rest = ensemble.train_many(info, dataset, params, [subsets[k] for k in missing], missing, "cpu", chosen=plan_of(way))
    for k, model in [*list(arrived.items())[:1], (missing[0], rest[0]), (missing[-1], rest[-1])]:
        alone = training.train(info, dataset, params, subsets[k], k, "cpu")
        np.testing.assert_allclose(
            training.predict(model, dataset.inputs, "cpu"), training.predict(alone, dataset.inputs, "cpu"), rtol=1e-2, atol=2e-2
        )


def test_a_stop_does_not_wait_for_the_chunk():
    dataset, info, params = data.load("wine"), models.info("mlp"), recipe("mlp", epochs=2000)

    def progress(fraction, **curves):
        raise Cancelled

    with pytest.raises(Cancelled):  # 2000 epochs of 8 models would take the better part of a minute
        ensemble.train_many(
            info, dataset, params, draw_subsets(dataset, [90] * 8), range(8), "cpu", progress, chosen=plan_of(Way(True, 4, 2, 1))
        )


def test_what_fails_in_a_lane_is_raised():
    dataset, params = data.load("wine"), recipe("softmax", epochs=2)
    with pytest.raises(IndexError):
        ensemble.train_many(models.info("softmax"), dataset, params, [np.array([10**6])], [0], "cpu", chosen=plan_of(ALONE))


def test_lists_that_do_not_fit_are_refused_and_nothing_needs_nothing():
    dataset, info, params = data.load("wine"), models.info("softmax"), recipe("softmax")
    assert ensemble.train_many(info, dataset, params, [], [], "cpu") == []
    with pytest.raises(ValueError, match="one seed"):
        ensemble.train_many(info, dataset, params, [np.arange(3)], [0, 1], "cpu")
    with pytest.raises(ValueError, match="at least one instance"):
        ensemble.train_many(info, dataset, params, [np.array([], dtype=int)], [0], "cpu")


# planning ------------------------------------------------------------------------------------


def pretend(paces, calls=None):
    """seconds(way, count) of a machine where a step of one model costs paces[stacked] seconds."""

    def seconds(way, count):
        if calls is not None:
            calls.append((way, count))
        return paces[way.stacked] * count * way.chunk * way.lanes

    return seconds


@pytest.mark.parametrize(
    ("paces", "stacked"), [({False: 1e-3, True: 1e-4}, True), ({False: 1e-3, True: 1.2e-3}, False), ({False: 1e-3, True: 1e-2}, False)]
)
def test_the_faster_way_is_chosen(paces, stacked):
    plan = planning.choose(object(), [ALONE, Way(True, 16, 2, 1)], 64, 100, pretend(paces))
    assert plan.way.stacked == stacked
    assert plan.seconds == pytest.approx(64 * 100 * min(paces.values())) and plan.each == pytest.approx(plan.seconds / 64)
    assert len(plan.measured) == 2 and str(plan).startswith("64 models " + ("stacked by 16" if stacked else "one by one"))


def test_a_hopeless_stack_is_only_looked_at_and_nothing_is_measured_twice():
    calls, key = [], object()
    planning.choose(key, [ALONE, Way(True, 16, 2, 1)], 64, 100, pretend({False: 1e-3, True: 1e-2}, calls))
    assert {way.chunk for way, _ in calls} == {1, planning.PROBE}
    assert sum(count * way.chunk for way, count in calls if not way.stacked) < 100
    once = list(calls)
    planning.choose(key, [ALONE, Way(True, 16, 2, 1)], 32, 100, pretend({False: 1e-3, True: 1e-2}, calls))
    assert calls == once


def test_a_last_round_that_leaves_places_empty_is_counted():
    plan = planning.choose(object(), [ALONE, Way(True, 4, 2, 1)], 9, 10, pretend({False: 1e-3, True: 0.9e-3}))
    assert plan.way == ALONE and plan.measured[Way(True, 4, 2, 1)] == pytest.approx(16 * 10 * 0.9e-3)


def test_a_stack_that_fails_is_left_out(caplog):
    def seconds(way, count):
        if way.stacked:
            raise RuntimeError("no rule for this layer")
        return 1e-3 * count

    plan = planning.choose(object(), [ALONE, Way(True, 4, 1, 1)], 4, 10, seconds)
    assert plan.way == ALONE and "no rule for this layer" in caplog.text
    with pytest.raises(RuntimeError):
        planning.choose(object(), [Way(False, 1, 1, 1)], 4, 10, lambda way, count: seconds(Way(True, 1, 1, 1), count))


def test_ways_respect_how_many_models_are_alike_and_memory(monkeypatch):
    dataset = data.load("digits")
    model = training.fresh(models.info("mlp"), dataset, recipe("mlp"), 0, "cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    shape = dataset.inputs.shape[1:]
    assert planning.ways(model, shape, 64, "cpu", 1, 1) == [Way(False, 1, 1, 2)]
    assert planning.ways(model, shape, 64, "cpu", 3, 3) == [Way(False, 1, 1, 2), Way(False, 1, 2, 1), Way(True, 3, 1, 1)]
    assert planning.ways(model, shape, 64, "cpu", 64, 64)[-1] == Way(True, 32, 2, 1)
    assert planning.ways(model, shape, 64, "cpu", 20, 1)[-1] == Way(False, 1, 2, 1)
    assert planning.ways(model, shape, 64, "cpu", 100, 100)[-1] == Way(True, 25, 2, 1)
    monkeypatch.setattr(planning, "MEMORY", 2 * 5 * planning.bytes_for(model, shape, 64))
    assert planning.ways(model, shape, 64, "cpu", 64, 64)[-1].chunk <= 5
    weights = sum(p.numel() for p in model.parameters())
    assert planning.bytes_for(model, shape, 64) > 16 * weights
    assert planning.bytes_for(model, shape, 128) - planning.bytes_for(model, shape, 64) >= 64 * 8 * (128 + 128 + 10)


@pytest.mark.parametrize("name", list(models.registry()))
def test_every_architecture_gets_a_plan(name):
    dataset, info = data.load("digits"), models.info(name)
    if dataset.modality not in info.modalities:
        pytest.skip("not for images")
    params, subsets = recipe(name, **dict.fromkeys({p.name for p in info.params} & {"epochs"}, 2)), draw_subsets(dataset, [100] * 4)
    plan = ensemble.plan(info, dataset, params, subsets, "cpu")
    assert plan.models == 4
    if info.train:
        assert not plan.measured and not plan.way.stacked
    else:
        assert 0 < plan.seconds == min(plan.measured.values()) and {way.stacked for way in plan.measured} == {False, True}
    assert len(ensemble.train_many(info, dataset, params, subsets, range(4), "cpu")) == 4
