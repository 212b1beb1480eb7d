"""StructGuard and structure-faithful undo: their steps, their stops, and what they may read."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.support import apply, original, same
from methods.test_stakes import task_of

from unlearn_core import data, methods
from unlearn_core.data.choose import draw
from unlearn_core.errors import BadInput
from unlearn_core.methods import nabla_tau, stakes, structguard, structure_undo
from unlearn_core.models import training
from unlearn_core.models.device import settle

settle()
FEW = {"proxies": 4, "attack_steps": 5}


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return original(wine, "mlp", width=16, epochs=60)


def forget_of(dataset, count=10):
    return dataset.splits.train[:count]


def double(dataset, trained, **given):
    task = task_of(dataset, copy.deepcopy(trained[0]).double(), **given)
    return replace(task, x=task.x.double())


# StructGuard ---------------------------------------------------------------------------------------------


def test_declaration():
    declared = methods.info("structguard")
    assert declared.goal == "misclassify" and declared.needs == () and "never aligned" in declared.limits


@pytest.mark.parametrize(("anchors", "projector"), [("prototypes", "without"), ("none", "without"), ("prototypes", "dropped")])
def test_one_step_by_hand(wine, trained, anchors, projector):
    task = double(wine, trained, anchors=anchors, epochs=1, batch=4096, lr=0.3, deletion="all", projector=projector, **FEW)
    start = copy.deepcopy(task.model)
    draws = torch.Generator().manual_seed(task.seed)
    inputs, labels = stakes.proxies(replace(task, model=start, chosen={}), draws, structguard.NEAR)
    found = structguard.run(task)
    # At the start the alignment loss and its gradient are zero and the projector is the identity, so three terms are left.
    x, y = task.x[task.forget], task.y[task.forget]
    f, p = len(x), len(inputs)
    total = -f / (f + p) * F.cross_entropy(start(x), y) + p / (f + p) * F.cross_entropy(start(inputs), labels)
    total = total + 0.001 * (0.99 * start.head.weight.abs().sum() + 0.005 * (start.head.weight**2).sum())
    gradients = torch.autograd.grad(total, list(start.parameters()))
    for (name, p), gradient in zip(start.named_parameters(), gradients, strict=True):
        # AdamW's first step without decay: both running means are the gradient's own
        expected = p - 0.3 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(dict(found.named_parameters())[name], expected, atol=1e-9, rtol=1e-7, msg=name)


def test_the_push_is_as_published_and_then_grows():
    assert [structguard.push(0.3, epoch) for epoch in (0, 10, 20)] == pytest.approx([0.3] * 3)
    # odds 3 : 7, after 60 of 20 passes three times as much: 9 : 7
    assert structguard.push(0.3, 60) == pytest.approx(9 / 16)
    assert structguard.push(0.3, 10_000) < 1


def test_it_stops_after_the_step_that_makes_everything_wrong(wine, trained, monkeypatch):
    left, actual = [], structguard.still_right
    monkeypatch.setattr(structguard, "still_right", lambda *given: left.append(actual(*given)) or left[-1])
    watched = replace(methods.info("structguard"), run=lambda task: structguard.run(replace(task, watch=lambda model: False)))
    model, chosen, notes = apply(trained, wine, forget_of(wine), watched, epochs=4000)
    counts = [len(ids) for ids in left[1:]]  # the first asks whether there is anything to do
    assert len(counts) == chosen["steps"] + 1 and counts[-1] == 0 and min(counts[:-1]) > 0
    x, y = training.tensors(wine, "cpu")
    assert training.accuracy(model, x, y, torch.as_tensor(forget_of(wine))) == 0 and not any("still answered" in note for note in notes)


def test_steps_that_do_not_suffice_and_nothing_to_do_are_said(wine, trained):
    x, y = training.tensors(wine, "cpu")
    notes = apply(trained, wine, forget_of(wine), "structguard", epochs=1, lr=1e-6)[2]
    assert "still answered right" in notes[-1]
    wrong = copy.deepcopy(trained[0])
    with torch.no_grad():
        wrong.head.bias -= 1e3 * F.one_hot(y[forget_of(wine)[0]], 3)
    model, chosen, notes = apply((wrong, *trained[1:]), wine, forget_of(wine, 1), "structguard")
    assert same(model, wrong) and "nothing to do" in notes[0] and not chosen


def test_it_needs_nothing_but_the_model_and_the_forget_set(wine, trained):
    forget = forget_of(wine)
    rest = np.setdiff1d(np.arange(len(wine)), forget)
    task = task_of(wine, copy.deepcopy(trained[0]), epochs=5, **FEW)
    assert task.retain is None and task.heldout is None
    dirty = replace(task, model=copy.deepcopy(trained[0]), x=task.x.clone(), y=task.y.clone(), notes=[], chosen={})
    dirty.x[rest], dirty.y[rest] = torch.nan, 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clean = structguard.run(task)
        torch.manual_seed(0)
        assert same(clean, structguard.run(dirty))


def results(wine, trained, method="structguard", **given):
    rest = {"epochs": 4, **FEW} if method == "structguard" else {"passes": 2}
    return {
        kind: apply(trained, wine, forget_of(wine), method, anchors=kind, **rest, **given)
        for kind in ("attributes", "prototypes", "random", "permuted", "none")
    }


@pytest.mark.parametrize("method", ["structguard", "structure_undo"])
def test_every_kind_of_anchor_changes_what_it_should(wine, trained, method):
    found = results(wine, trained, method)
    logits = {kind: training.predict(model, wine.inputs, "cpu") for kind, (model, _, _) in found.items()}
    kinds = ["attributes", "prototypes", "random", "none"]
    for k, a in enumerate(kinds):
        assert all(np.abs(logits[a] - logits[b]).max() > 1e-5 for b in kinds[:k]), a
    said = {kind: " ".join(notes) for kind, (_, _, notes) in found.items()}
    assert "never aligned" in said["attributes"] and "never aligned" in said["permuted"] and "random directions" in said["random"]
    assert "anchors" not in said["prototypes"] + said["none"]


def test_swapped_texts_give_the_same_model(wine, trained):
    runs = []
    for kind in ("attributes", "permuted"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            runs.append(structguard.run(double(wine, trained, anchors=kind, epochs=4, **FEW)))
    for name, value in runs[0].state_dict().items():
        torch.testing.assert_close(value, runs[1].state_dict()[name], atol=1e-6, rtol=1e-6, msg=name)


def test_the_projector_stays_only_if_asked(wine, trained):
    kept = apply(trained, wine, forget_of(wine), "structguard", projector="with", epochs=3)[0]
    dropped = apply(trained, wine, forget_of(wine), "structguard", projector="without", epochs=3)[0]
    assert kept.projector is not None and kept.projector.outer.weight.any() and dropped.projector is None
    x = torch.as_tensor(wine.inputs)
    assert not torch.equal(kept(x), kept.head(kept.unprojected(x)))


def with_projector(trained, seed=0):
    """The model with a projector that an earlier request left, far from the identity, in float64."""
    from unlearn_core.models.classifier import Projector

    model = copy.deepcopy(trained[0]).double()
    width = model.head.weight.shape[1]
    model.projector = Projector(width, width).double().eval()
    draws = torch.Generator().manual_seed(seed)
    model.projector.outer.weight.data = 0.3 * torch.randn(width, width, generator=draws, dtype=torch.float64)
    return model


@pytest.mark.parametrize("kind", ["without", "dropped"])
def test_a_projector_of_an_earlier_request_is_part_of_the_model(wine, trained, kind):
    """The first step goes down the gradient of what the model with its projector answers, so the projector moves too."""
    task = task_of(wine, with_projector(trained), anchors="none", epochs=1, batch=4096, lr=0.3, deletion="all", projector=kind, **FEW)
    task = replace(task, x=task.x.double())
    start = copy.deepcopy(task.model)
    inputs, labels = stakes.proxies(replace(task, model=start, chosen={}), torch.Generator().manual_seed(task.seed), structguard.NEAR)
    found = structguard.run(task)
    x, y = task.x[task.forget], task.y[task.forget]
    f, p = len(x), len(inputs)
    loss = f / (f + p) * -F.cross_entropy(start(x), y) + p / (f + p) * F.cross_entropy(start(inputs), labels)
    (loss + structguard.SPARSITY * stakes.elastic_net(start.head.weight)).backward()
    for (name, moved), before in zip(found.named_parameters(), start.parameters(), strict=True):
        # The first step of AdamW is the learning rate against the sign of the gradient.
        wanted = before - 0.3 * before.grad / (before.grad.abs() + 1e-8)
        torch.testing.assert_close(moved, wanted, msg=name)


def test_a_projector_that_is_kept_is_trained_on(wine, trained):
    """Started anew it would throw away at once what the earlier request retained through it."""
    task = task_of(wine, with_projector(trained), anchors="none", epochs=1, batch=4096, lr=1e-6, projector="with", **FEW)
    before = copy.deepcopy(task.model)
    task = replace(task, x=task.x.double())
    torch.testing.assert_close(structguard.run(task)(task.x), before(task.x), atol=1e-3, rtol=0)


def test_a_model_of_its_inputs_alone_is_pushed_without_anchors(wine):
    plain = original(wine, "softmax", epochs=3)
    runs = [apply(plain, wine, forget_of(wine), "structguard", anchors=kind, epochs=3, **FEW) for kind in ("prototypes", "none")]
    assert same(runs[0][0], runs[1][0]) and "no anchors were used" in " ".join(runs[0][2])
    held = apply(plain, wine, forget_of(wine), "structguard", anchors="prototypes", projector="with", epochs=3, **FEW)
    assert "no anchors" not in " ".join(held[2])  # a projector is something to hold


@pytest.mark.parametrize("kind", ["unfinished", "all"])
def test_finished_instances_are_left_alone_unless_asked(wine, trained, kind, monkeypatch):
    left, pushed, actual, cut = [], [], structguard.still_right, training.batches
    monkeypatch.setattr(structguard, "still_right", lambda *given: left.append(actual(*given)) or left[-1])
    monkeypatch.setattr(training, "batches", lambda ids, *rest: pushed.append(ids) or cut(ids, *rest))
    apply(trained, wine, forget_of(wine), "structguard", deletion=kind, epochs=60, lr=3e-3, **FEW)
    pools = [ids for ids in pushed if len(ids) <= 10]  # there are 40 proxies
    assert len(pools) > 4 and min(map(len, left)) < 10
    for pool, right in zip(pools, left[1:], strict=False):
        assert sorted(pool.tolist()) == sorted(right.tolist() if kind == "unfinished" else forget_of(wine).tolist())


def test_alignment_holds_what_it_measures(wine, trained):
    forget = forget_of(wine)
    held = stakes.Anchors(F.normalize(trained[0].head.weight.detach(), dim=1))
    x = torch.as_tensor(wine.inputs[wine.splits.train[10:]])
    before = held.relations(trained[0].features(x))
    drift = [
        stakes.misalignment(
            before, held.relations(apply(trained, wine, forget, "structguard", anchors=kind, epochs=40, lr=0.05)[0].features(x))
        ).item()
        for kind in ("prototypes", "none")
    ]
    assert drift[0] < drift[1]


def test_the_guard_rail_stops_it(wine, trained):
    notes = apply(trained, wine, forget_of(wine), "structguard", lr=1.0, strength=500, epochs=500)[2]
    assert any(note.startswith("Stopped early: accuracy on retained instances") for note in notes)


def test_images_and_batch_norm_run(wine):
    digits = data.load("digits")
    few = replace(digits, splits=replace(digits.splits, train=digits.splits.train[:150]))
    trained = original(few, "cnn", width=2, epochs=2)
    model = apply(trained, few, few.splits.train[:5], "structguard", epochs=2, **FEW)[0]
    buffers = dict(trained[0].named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


# structure-faithful undo ---------------------------------------------------------------------------------


def test_without_anchors_it_is_nabla_tau_step_by_step(wine, trained):
    plain = apply(trained, wine, forget_of(wine), "nabla_tau")[0]
    assert same(plain, apply(trained, wine, forget_of(wine), "structure_undo", anchors="none")[0])
    assert not same(plain, apply(trained, wine, forget_of(wine), "structure_undo", strength=0)[0])


def test_what_each_variant_may_read(wine, trained):
    undo, free = structure_undo.METHOD
    assert undo.needs == ("retain", "heldout") and free.needs == ("heldout",) and undo.goal == free.goal == "undo"
    model = copy.deepcopy(trained[0])
    task = task_of(wine, model, method=free, passes=1, **FEW)
    task.heldout = torch.as_tensor(wine.splits.heldout)
    dirty = replace(task, model=copy.deepcopy(trained[0]), x=task.x.clone(), y=task.y.clone(), notes=[], chosen={})
    rest = np.setdiff1d(np.arange(len(wine)), np.concatenate([forget_of(wine), wine.splits.heldout]))
    dirty.x[rest], dirty.y[rest] = torch.nan, 0
    clean = free.run(task)
    assert same(clean, free.run(dirty)) and clean.projector is None
    # the notes and choices reach the pipeline's task
    assert task.chosen["proxies"] == 4 and "acted_steps" in task.chosen and task.notes


def test_stand_ins_are_proxies_and_heldout_instances_and_learn_what_the_original_says(wine, trained, monkeypatch):
    wrong = copy.deepcopy(trained[0])
    with torch.no_grad():
        wrong.head.bias[0] += 1e3  # says class 0 of everything, so the labels that are learned cannot be the true ones
    task = task_of(wine, wrong, method=methods.info("structure_undo_free"), **FEW)
    task.heldout = torch.as_tensor(wine.splits.heldout)
    given = []
    monkeypatch.setattr(structure_undo, "_hold", lambda task, *rest: given.append(task))
    structure_undo.without_retain(task)
    found, own = given[0], len(task.forget) + len(task.heldout)
    assert torch.equal(found.y[found.forget], task.y[task.forget]) and torch.equal(found.x[found.forget], task.x[task.forget])
    assert torch.equal(found.y[found.heldout], task.y[task.heldout]) and len(task.y[task.heldout].unique()) > 1
    assert len(found.retain) == 4 * len(task.forget) + len(task.heldout) and found.retain.min() == own
    assert torch.equal(found.x[-len(task.heldout) :], task.x[task.heldout]) and not found.y[found.retain].any()


def test_the_loss_that_it_goes_for_stays_the_originals(wine, trained, monkeypatch):
    goals, actual = [], nabla_tau.objective
    monkeypatch.setattr(nabla_tau, "objective", lambda *given: goals.append(given[1]) or actual(*given))
    apply(trained, wine, forget_of(wine), "structure_undo_free", passes=12)
    x, y = training.tensors(wine, "cpu")
    assert len(goals) > 20 and set(goals) == {training.mean_loss(trained[0], x, y, torch.as_tensor(wine.splits.heldout))}
    goals.clear()
    apply(trained, wine, forget_of(wine), "structure_undo", passes=12)
    assert len(set(goals)) > 1


def test_undo_without_the_retain_set_keeps_the_rest():
    dataset = data.load("digits", {"split_seed": 1})
    trained, forget = original(dataset, "mlp"), draw(dataset.splits.train, 50, 11)
    x, y = training.tensors(dataset, "cpu")
    rest, chosen = (torch.as_tensor(ids) for ids in (np.setdiff1d(dataset.splits.train, forget), forget))
    model = apply(trained, dataset, forget, "structure_undo_free")[0]
    assert training.accuracy(model, x, y, rest) >= training.accuracy(trained[0], x, y, rest) - 0.03
    assert training.mean_loss(model, x, y, chosen) > 10 * training.mean_loss(trained[0], x, y, chosen)  # and it did something


def test_its_forget_term_is_nabla_taus_and_ends_at_the_heldout_loss(wine, trained, monkeypatch):
    pushed = []
    actual = nabla_tau.objective

    def spy(alpha, unseen, forget_loss, retain_loss):
        (slope,) = torch.autograd.grad(actual(alpha, unseen, forget_loss, retain_loss), forget_loss, retain_graph=True)
        pushed.append((forget_loss.item() - unseen, slope.item()))
        return actual(alpha, unseen, forget_loss, retain_loss)

    monkeypatch.setattr(nabla_tau, "objective", spy)
    for name in ("structure_undo", "structure_undo_free"):
        pushed.clear()
        apply(trained, wine, forget_of(wine), name, lr=3e-3)
        assert pushed and all(slope == 0 if above >= 0 else slope < 0 for above, slope in pushed if above != 0)
        assert any(slope < 0 for _, slope in pushed)


def test_the_original_is_the_reference_of_the_structure(wine, trained):
    x = torch.as_tensor(wine.inputs[np.setdiff1d(wine.splits.train, forget_of(wine))])
    held = stakes.Anchors(F.normalize(trained[0].head.weight.detach(), dim=1))
    before = held.relations(trained[0].features(x))
    drift = [
        stakes.misalignment(before, held.relations(apply(trained, wine, forget_of(wine), name, **given)[0].features(x))).item()
        for name, given in (("structure_undo", {"anchors": "prototypes"}), ("nabla_tau", {}))
    ]
    assert drift[0] < drift[1]


@pytest.mark.parametrize("name", ["structure_undo", "structure_undo_free"])
def test_a_model_without_learned_features_has_no_structure_to_hold(wine, name):
    plain = original(wine, "softmax", epochs=3)
    with pytest.raises(BadInput, match="no learned structure to hold"):
        apply(plain, wine, forget_of(wine), name)
    apply(plain, wine, forget_of(wine), name, anchors="none")
