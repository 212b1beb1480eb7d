"""What every method keeps to: its needs, its seed, the guard-rail; and the simpler methods' own arithmetic."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from methods.support import Softmax, apply, original, same

from unlearn_core import data, methods, seeds
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.methods import Task, finetune, neggrad_plus
from unlearn_core.models import training
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()
NAMES = list(methods.registry())


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return original(wine, "mlp", width=16, epochs=60)


ROOMY = {"convex": {"penalty": 0.1}, "sisa": {"width": 16, "epochs": 20}}  # convex: budget for a dozen instances
DRAWS_NOTHING = {"influence", "certified", "sisa", "ssd"}
SPEAKS = {"certified": "Certified removal of 12 instances", "dp_finetune": "Differential privacy of this fine-tuning"}
SPEAKS |= dict.fromkeys(("structguard", "structure_undo", "structure_undo_free"), "The anchors come from")


@pytest.fixture
def suited(request, trained, wine):
    """An original that the method of this test works on."""
    works_on = methods.info(request.node.callspec.params["name"]).models
    return original(wine, works_on[0], **ROOMY.get(works_on[0], {})) if works_on else trained


def forget_of(dataset, count=12):
    return dataset.splits.train[:count]


@pytest.mark.parametrize("name", NAMES)
def test_declarations_say_what_a_person_needs(name):
    declared = methods.info(name)
    assert declared.goal in ("undo", "misclassify")
    assert set(declared.needs) <= {"retain", "heldout", "train", "never_seen"}
    assert declared.summary and declared.paper and declared.cost and declared.limits
    assert ("alpha" in {param.name for param in declared.params}) == bool(declared.alpha)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result(name, suited, wine):
    first, same_seed, other = (apply(suited, wine, forget_of(wine), name, seed=seed)[0] for seed in (1, 1, 2))
    assert same(first, same_seed) and same(first, other) == (name in DRAWS_NOTHING)
    assert not same(first, suited[0]) and not first.training


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_neither_matters_nor_moves(name, suited, wine):
    torch.manual_seed(5)
    first = apply(suited, wine, forget_of(wine), name)[0]
    assert torch.initial_seed() == 5
    drawn = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(2))
    torch.manual_seed(6)
    assert same(first, apply(suited, wine, forget_of(wine), name)[0])


def poison(dataset, ids):
    inputs, labels = dataset.inputs.copy(), dataset.labels.copy()
    inputs[ids] = np.nan
    labels[ids] = (labels[ids] + 1) % len(dataset.class_names)
    return replace(dataset, inputs=inputs, labels=labels)


@pytest.mark.parametrize("name", ["finetune", "retrain"])
def test_retain_only_methods_never_touch_the_forgotten(name, trained, wine):
    forget = forget_of(wine)
    clean, dirty = (apply(trained, dataset, forget, name)[0] for dataset in (wine, poison(wine, forget)))
    assert same(clean, dirty)
    # The same poison on one retained instance is noticed, so the comparison can fail.
    with pytest.raises(BadInput, match="no finite number"):
        apply(trained, poison(wine, wine.splits.train[-1:]), forget, name)


@pytest.mark.parametrize("name", NAMES)
def test_no_method_reads_test_tuning_or_population(name, suited, wine):
    others = np.concatenate([wine.splits.test, wine.splits.tuning, wine.splits.population])
    clean, dirty = (apply(suited, dataset, forget_of(wine), name)[0] for dataset in (wine, poison(wine, others)))
    assert same(clean, dirty)


@pytest.mark.parametrize("needs", [(), ("retain",), ("heldout",), ("train",), ("retain", "heldout", "train")])
def test_a_method_gets_only_what_it_declared(needs, trained, wine):
    seen = []
    spy = replace(methods.info("finetune"), needs=needs, run=lambda task: seen.append(task) or task.model)
    apply(trained, wine, forget_of(wine), spy)
    task = seen[0]
    assert (task.retain is not None, task.heldout is not None, task.train is not None) == tuple(
        n in needs for n in ("retain", "heldout", "train")
    )
    assert task.forget.tolist() == forget_of(wine).tolist()
    assert task.share == len(forget_of(wine)) / len(wine.splits.train)
    if task.retain is not None:
        assert task.retain.tolist() == np.setdiff1d(wine.splits.train, forget_of(wine)).tolist()
    if task.heldout is not None:
        assert task.heldout.tolist() == wine.splits.heldout.tolist()


def test_the_seed_of_retrain_is_never_in_the_band():
    band = {seeds.derive("retrained", k) for k in range(1000)}
    own = {seeds.derive("method", seed) for seed in range(1001)}
    originals = {seeds.derive("original", seed) for seed in range(1001)}
    assert len(band) == 1000 and len(own) == 1001 and len(originals) == 1001
    assert not (band & own or band & originals or own & originals)
    assert all(0 <= seed < 2**48 for seed in band | own | originals)


def test_retrain_trains_the_recipe_on_the_retain_set(trained, wine):
    from unlearn_core import models

    model, _, _ = apply(trained, wine, forget_of(wine), "retrain", seed=7)
    retain = np.setdiff1d(wine.splits.train, forget_of(wine))
    assert same(model, training.train(models.info("mlp"), wine, trained[2], retain, seeds.derive("method", 7), "cpu"))


# guard-rail and progress ---------------------------------------------------------------------------------


def test_the_guard_rail_stops_a_collapse_and_keeps_the_model(trained, wine):
    fractions = []

    def progress(fraction, **curves):
        fractions.append(fraction)

    model, _, notes = apply(trained, wine, forget_of(wine), "neggrad_plus", alpha=0.5, lr=1.0, epochs=200, progress=progress)
    assert len(notes) == 1 and notes[0].startswith("Stopped early: accuracy on retained instances fell to")
    assert max(fractions) < 0.5
    assert not same(model, trained[0])
    x, y = training.tensors(wine, "cpu")
    retain = torch.as_tensor(np.setdiff1d(wine.splits.train, forget_of(wine)))
    majority = y[retain].bincount().max().item() / len(retain)
    assert training.accuracy(model, x, y, retain) < (training.accuracy(trained[0], x, y, retain) + majority) / 2


def test_the_guard_rail_sees_a_two_class_model_that_only_names_one_class():
    moons = data.load("moons", {"instances": 200})
    trained = original(moons, "mlp", width=16, epochs=60)
    notes = apply(trained, moons, forget_of(moons), "neggrad_plus", alpha=0.5, lr=1.0, epochs=200)[2]
    assert notes and "most frequent class" in notes[0]


@pytest.mark.parametrize("name", NAMES)
def test_gentle_runs_leave_no_note(name, suited, wine):
    notes = apply(suited, wine, forget_of(wine), name)[2]
    assert [note for note in notes if not note.startswith(SPEAKS.get(name, "-"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_progress_rises_and_carries_live_curves_and_can_cancel(name, suited, wine):
    seen, curves = [], {}

    def progress(fraction, **given):
        seen.append(fraction)
        for key, value in given.items():
            curves.setdefault(key, []).append(value)

    apply(suited, wine, forget_of(wine), name, progress=progress)
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert {"loss", "retain_accuracy", "forget_accuracy"} <= curves.keys()
    assert all(0 <= value <= 1 for value in curves["retain_accuracy"] + curves["forget_accuracy"])

    def stop(fraction, **given):
        raise Cancelled

    with pytest.raises(Cancelled):
        apply(suited, wine, forget_of(wine), name, progress=stop)


# the simpler methods' arithmetic -------------------------------------------------------------------------


def test_neggrad_objective_by_hand():
    forget = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    retain = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    loss = neggrad_plus.objective(0.9, forget, retain)
    loss.backward()
    assert loss.item() == pytest.approx(0.9 * 0.2 - 0.1 * 0.5)
    assert forget.grad.item() == pytest.approx(-0.1) and retain.grad.item() == pytest.approx(0.9)


def softmax_task(wine, module, **given):
    model, _, _ = original(wine, "softmax", epochs=5)
    model.double()
    x, y = torch.as_tensor(wine.inputs).double(), torch.as_tensor(wine.labels)
    forget, retain = forget_of(wine), wine.splits.train[12:]
    z = ((x - model.standardise.mean) / model.standardise.scale).numpy()
    task = Task(
        model=model, x=x, y=y, forget=torch.as_tensor(forget), retain=torch.as_tensor(retain), heldout=None, share=0.1,
        params=resolve(module.METHOD.params, given, module.METHOD.name), seed=0, device="cpu", train=None,
        progress=training.silent, watch=lambda model: False,
    )  # fmt: skip
    return task, (z[forget], wine.labels[forget]), (z[retain], wine.labels[retain])


def test_neggrad_steps_by_hand(wine):
    task, forget, retain = softmax_task(wine, neggrad_plus, alpha=0.8, epochs=4, lr=0.05, batch=4096)
    hand = Softmax(task.model.head.weight.detach(), task.model.head.bias.detach())
    for t in range(4):
        pair = zip(hand.gradient(*retain), hand.gradient(*forget), strict=True)
        hand.step([0.8 * r - 0.2 * f for r, f in pair], 0.05 * 0.5 * (1 + np.cos(np.pi * t / 4)))
    found = neggrad_plus.run(task)
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-8)


def test_finetune_steps_by_hand(wine):
    task, _, retain = softmax_task(wine, finetune, epochs=3, lr=0.05, weight_decay=0.2, batch=4096)
    hand = Softmax(task.model.head.weight.detach(), task.model.head.bias.detach(), decay=0.2)
    for t in range(3):
        hand.step(hand.gradient(*retain), 0.05 * 0.5 * (1 + np.cos(np.pi * t / 3)))
    found = finetune.run(task)
    np.testing.assert_allclose(found.head.weight.detach().numpy(), hand.values[0], atol=1e-8)
    np.testing.assert_allclose(found.head.bias.detach().numpy(), hand.values[1], atol=1e-8)


def test_neggrad_pairs_every_retain_batch_with_a_forget_batch(wine):
    task, _, _ = softmax_task(wine, neggrad_plus, epochs=2, batch=5)
    sizes = []
    task.model.register_forward_hook(lambda module, given, out: sizes.append(len(given[0])))
    neggrad_plus.run(task)
    forget, retain = sizes[::2], sizes[1::2]
    assert sum(retain) == 2 * len(task.retain) and set(forget) == {5, 2}
    assert len(forget) == len(retain) == 2 * -(-len(task.retain) // 5)


def test_unknown_methods_and_parameters_are_refused(wine, trained):
    with pytest.raises(BadInput, match="no method called 'magic'. Choose one of: nabla_tau"):
        methods.info("magic")
    with pytest.raises(BadInput, match="alpha: retrain has no strength control"):
        apply(trained, wine, forget_of(wine), "retrain", alpha=0.5)
    for alpha in (-0.1, 0.96, "lots", float("nan")):
        with pytest.raises(BadInput, match='alpha: .*Give a number from 0 to 0.95 or "auto"'):
            apply(trained, wine, forget_of(wine), "nabla_tau", alpha=alpha)


def test_neggrad_stops_as_soon_as_everything_is_wrong(trained, wine):
    forget = forget_of(wine)
    x, y = training.tensors(wine, "cpu")
    model, _, notes = apply(trained, wine, forget, "neggrad")
    assert training.accuracy(model, x, y, torch.as_tensor(forget)) == 0 and notes == []
    assert methods.info("neggrad").needs == () and methods.info("neggrad").goal == "misclassify"
    short, _, told = apply(trained, wine, forget, "neggrad", epochs=1, lr=1e-5)
    assert training.accuracy(short, x, y, torch.as_tensor(forget)) > 0 and "still answered right" in told[0]


def test_neggrads_first_step_is_gradient_ascent(trained, wine):
    forget = torch.as_tensor(forget_of(wine))
    x, y = training.tensors(wine, "cpu")
    model = copy.deepcopy(trained[0]).eval()
    optimiser = training.adamw(model, 1e-3, 0.0)
    (-torch.nn.functional.cross_entropy(model(x[forget]), y[forget])).backward()
    optimiser.step()
    ours = apply(trained, wine, forget.numpy(), "neggrad", epochs=1)[0]
    for name, value in model.state_dict().items():
        assert torch.allclose(value, ours.state_dict()[name], atol=1e-6), name
