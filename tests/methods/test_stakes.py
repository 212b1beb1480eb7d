"""What StructGuard and structure-faithful undo share: proxies, anchors, alignment, importance, and a model with a projector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.support import original

from unlearn_core import data, models
from unlearn_core.data import anchors as texts
from unlearn_core.errors import BadInput
from unlearn_core.methods import Task, stakes, structguard
from unlearn_core.models import storage, training
from unlearn_core.models.classifier import Projector
from unlearn_core.models.device import settle
from unlearn_core.params import resolve

settle()


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.fixture(scope="module")
def trained(wine):
    return original(wine, "mlp", width=16, epochs=60)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def task_of(dataset, model, count=10, method=structguard.METHOD, **given):
    x, y = training.tensors(dataset, "cpu")
    return Task(
        model=model, x=x, y=y, forget=torch.as_tensor(dataset.splits.train[:count]), retain=None, heldout=None, share=0.1,
        params=resolve(method.params, given, method.name), seed=3, device="cpu", train=None, progress=training.silent,
        watch=lambda model: False, dataset=dataset.name, class_names=dataset.class_names,
    )  # fmt: skip


# proxies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_targets_never_equal_the_label_and_reach_all_others(classes):
    labels = torch.arange(classes).repeat_interleave(600)
    drawn = stakes.other_labels(labels, classes, generator())
    assert not (drawn == labels).any() and drawn.min() >= 0 and drawn.max() < classes
    for label in range(classes):
        share = drawn[labels == label].bincount(minlength=classes) / 600
        others = [c for c in range(classes) if c != label]
        assert (share[others] - 1 / (classes - 1)).abs().max() < 0.1  # no constant stands in for a collision


def test_the_attack_stays_in_its_ball_and_raises_the_targets_probability(wine, trained):
    model = trained[0].eval()
    x, y = (torch.as_tensor(a[wine.splits.train[:40]]) for a in (wine.inputs, wine.labels))
    targets = stakes.other_labels(y, 3, generator())
    moved = stakes.attack(model, x, targets, eps=1.5, steps=10, step_size=0.4, generator=generator())
    reach = (model.standardise(moved) - model.standardise(x)).norm(dim=1)
    assert reach.max() <= 1.5 + 1e-3 and reach.min() > 0.1
    before, after = (F.log_softmax(model(given).detach(), dim=1).gather(1, targets[:, None]) for given in (x, moved))
    assert (after > before).float().mean() > 0.95 and (after - before).mean() > 1
    same = stakes.attack(model, x, targets, eps=1.5, steps=10, step_size=0.4, generator=generator())
    assert torch.equal(same, moved)


def test_a_start_without_steps_is_uniform_in_the_ball(trained):
    x = trained[0].standardise.mean.repeat(4000, 1)
    moved = stakes.attack(trained[0], x, torch.zeros(4000, dtype=torch.long), eps=2.0, steps=0, step_size=1, generator=generator())
    radius = trained[0].standardise(moved).norm(dim=1) / 2
    # P(radius < r) = r^13 in 13 dimensions
    assert abs((radius < 0.9).float().mean().item() - 0.9**13) < 0.03 and radius.max() <= 1.001


def test_images_stay_images():
    digits = data.load("digits")
    model = training.fresh(models.info("cnn"), digits, resolve(models.info("cnn").params, {"width": 2}, "cnn"), 0, "cpu").eval()
    x = torch.as_tensor(digits.inputs[:20])
    model.standardise.fit(x)
    moved = stakes.attack(model, x, torch.zeros(20, dtype=torch.long), eps=6.0, steps=4, step_size=3.0, generator=generator())
    assert moved.min() >= 0 and moved.max() <= 1
    assert (model.standardise(moved) - model.standardise(x)).flatten(1).norm(dim=1).max() <= 6.001


def test_categories_are_never_moved():
    """Any other number than a code is no category at all, so a moved one would be taken away instead."""
    from unlearn_core.models.base import Facts
    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.columns import flat

    facts = Facts((3,), 2, categories=(0, 4, 0))
    columns, width = flat(facts)
    torch.manual_seed(0)
    model = Classifier(facts, {"features": columns}, torch.nn.Linear(width, 2))
    x = torch.tensor([[0.5, 3.0, -1.0], [0.1, 0.0, 2.0]])
    found = stakes.attack(model, x, torch.tensor([1, 0]), eps=1.0, steps=5, step_size=0.3, generator=generator())
    assert torch.equal(found[:, 1], x[:, 1]) and (found[:, [0, 2]] != x[:, [0, 2]]).all()


def test_proxies_come_from_the_clean_model_and_say_how_many_arrive(wine, trained):
    task = task_of(wine, trained[0], proxies=7)
    inputs, labels = stakes.proxies(task, generator(), structguard.FAR)
    assert inputs.shape == (70, 13) and not (labels == task.y[task.forget].repeat_interleave(7)).any()
    reached = (trained[0](inputs).argmax(1) == labels).float().mean().item()
    assert task.chosen["proxies_reached"] == pytest.approx(reached, abs=1e-3) and reached > 0.9
    assert task.chosen["eps"] == pytest.approx(13**0.5) and task.chosen["step_size"] == pytest.approx(2.5 * task.chosen["eps"] / 20)


@pytest.mark.parametrize(("forget", "count"), [(1, 20), (25, 20), (26, 19), (200, 2), (5000, 1)])
def test_there_are_five_hundred_proxies_or_one_an_instance(forget, count):
    params = {"proxies": "auto", "eps": 1.0, "step_size": 0.5, "attack_steps": 5}
    assert stakes.plan(params, forget, 10, structguard.FAR) == {"proxies": count, "eps": 1.0, "step_size": 0.5}


# anchors -------------------------------------------------------------------------------------------------

WITH_TEXTS = ["digits", "moons", "circles", "blobs", "spirals", "wine", "breast_cancer"]


@pytest.mark.parametrize("name", WITH_TEXTS)
def test_every_class_of_the_built_in_datasets_has_its_words(name):
    names = data.load(name).class_names
    found = texts.text_anchors(name, names)
    assert found.encoder == texts.WITHOUT_ENCODER
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)
    alike = found.embeddings @ found.embeddings.T - 2 * np.eye(len(names))
    assert alike.max() < 0.95  # no two classes say the same
    np.testing.assert_array_equal(found.embeddings, texts.text_anchors(name, names).embeddings)


def test_class_names_stand_in_and_a_stored_encoder_is_preferred(tmp_path):
    found = texts.text_anchors("mine", ("cat", "dog", "0"), tmp_path)
    assert found.encoder == texts.WITHOUT_TEXTS and np.linalg.matrix_rank(found.embeddings) == 3
    rows = np.array([[3.0, 4.0], [0.0, 2.0]])
    np.savez(tmp_path / "mine.npz", embeddings=rows, classes=np.array(["dog", "cat"]), encoder=np.array("Some encoder"))
    stored = texts.text_anchors("mine", ("cat", "dog"), tmp_path)
    assert stored.encoder == "Some encoder"
    np.testing.assert_allclose(stored.embeddings, [[0, 1], [0.6, 0.8]])
    assert texts.text_anchors("mine", ("cat", "cow"), tmp_path).encoder == texts.WITHOUT_TEXTS


def test_each_kind_of_anchor_is_what_it_says(wine, trained):
    def make(kind, seed=0):
        task = replace(task_of(wine, trained[0], anchors=kind), seed=seed)
        return stakes.anchors(task), task

    attributes, told = make("attributes")
    assert attributes.through.shape == (16, attributes.directions.shape[1])
    torch.testing.assert_close(attributes.through.norm(dim=0), torch.ones(attributes.directions.shape[1]))
    assert "never aligned" in told.notes[0] and told.chosen["encoder"] in told.notes[0]
    assert torch.equal(attributes.through, make("attributes", seed=9)[0].through)
    permuted, said = make("permuted")
    assert sorted(permuted.directions.tolist()) == sorted(attributes.directions.tolist())
    assert not (permuted.directions == attributes.directions).all(dim=1).any() and len(said.notes) == 2
    first, other = make("random")[0], make("random", seed=1)[0]
    assert first.directions.shape == (3, 16) and not torch.equal(first.directions, other.directions)
    prototypes, quiet = make("prototypes")
    torch.testing.assert_close(prototypes.directions, F.normalize(trained[0].head.weight.detach(), dim=1))
    assert quiet.notes == [] and make("none")[0] is None


def test_a_model_without_one_linear_head_is_refused(wine):
    model = original(wine, "mlp", width=4, epochs=1)[0]
    model.head = torch.nn.Sequential(model.head)
    with pytest.raises(BadInput, match="one linear last layer"):
        stakes.head_weight(model)


# losses --------------------------------------------------------------------------------------------------


def test_alignment_by_hand():
    rng = np.random.default_rng(0)
    before, after, a = rng.normal(size=(6, 5)), rng.normal(size=(6, 5)), rng.normal(size=(3, 4))
    through = rng.normal(size=(5, 4))
    a /= np.linalg.norm(a, axis=1, keepdims=True)

    def relations(features):
        mapped = features @ through
        return mapped / np.linalg.norm(mapped, axis=1, keepdims=True) @ a.T

    s, t = relations(before), relations(after)
    cosines = [u @ v / np.sqrt(u @ u * (v @ v)) for u, v in zip(s, t, strict=True)]
    held = stakes.Anchors(torch.as_tensor(a), torch.as_tensor(through))
    found = stakes.misalignment(held.relations(torch.as_tensor(before)), held.relations(torch.as_tensor(after)))
    assert found.item() == pytest.approx(1 - np.mean(cosines), abs=1e-12)


def test_a_common_swap_of_anchors_cannot_change_the_loss():
    a, b = torch.randn(7, 4, generator=generator(), dtype=torch.float64), torch.randn(7, 4, generator=generator(1), dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(stakes.misalignment(a, b), stakes.misalignment(a[:, order], b[:, order]))


def test_elastic_net_by_hand():
    assert stakes.elastic_net(torch.tensor([[1.0, -2.0], [0.0, 3.0]])).item() == pytest.approx(0.99 * 6 + 0.005 * 14)


def small_guard(wine, trained, strength=2.0):
    import copy

    model = copy.deepcopy(trained[0]).double().eval()
    x = torch.as_tensor(wine.inputs).double()
    ids = torch.as_tensor(wine.splits.train[:30])
    held = stakes.Anchors(F.normalize(torch.randn(3, 16, generator=generator(), dtype=torch.float64), dim=1))
    return model, ids, stakes.Guard(model.features, x, ids, held, model.parameters(), strength)


def test_the_unchanged_model_is_aligned(wine, trained):
    _, ids, guard = small_guard(wine, trained)
    assert guard.align(ids).item() == pytest.approx(0, abs=1e-12) and guard(ids).item() == pytest.approx(0, abs=1e-12)


def test_importance_is_the_mean_size_of_the_gradient(wine, trained):
    model, ids, guard = small_guard(wine, trained)
    with torch.no_grad():
        for p in guard.parameters:
            p += 0.05 * torch.randn(p.shape, generator=generator(), dtype=p.dtype)
    parts = ids.split(20)
    found = stakes.importance(guard.align, guard.parameters, parts)
    names = [name for name, _ in model.named_parameters()]
    for name, place in (("stages.features.0.weight", (3, 2)), ("stages.hidden.1.weight", (0, 4)), ("stages.features.0.bias", (5,))):
        p, k = dict(model.named_parameters())[name], names.index(name)
        slopes = []
        for part in parts:
            sides = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    p[place] += step
                    sides.append(guard.align(part).item())
                    p[place] -= step
            slopes.append(abs(sides[0] - sides[1]) / 2e-6)
        assert found[k][place].item() == pytest.approx((20 * slopes[0] + 10 * slopes[1]) / 30, rel=1e-3, abs=1e-9)
    assert not found[names.index("head.weight")].any()  # the alignment does not see the head


def test_the_guard_adds_the_weighted_distance_after_its_first_steps(wine, trained):
    model, ids, guard = small_guard(wine, trained, strength=2.0)
    for step in range(3):
        with torch.no_grad():
            model.stages["features"][0].weight[0] += 0.1
        total = guard(ids[:8])
        assert (guard.importance is None) == (step < 2)
    assert max(value.max() for value in guard.importance) == 1
    moved = [(i * (p - s) ** 2).sum().item() for i, p, s in zip(guard.importance, guard.parameters, guard.start, strict=True)]
    assert total.item() == pytest.approx(guard.align(ids[:8]).item() + 2.0 * 0.5 * sum(moved)) and sum(moved) > 0


# a model with a projector --------------------------------------------------------------------------------


def test_a_projector_starts_as_the_identity_and_is_stored_with_the_model(tmp_path, wine, trained):
    import copy

    model, name, params = copy.deepcopy(trained[0]), *trained[1:]
    x = torch.as_tensor(wine.inputs[:9])
    plain = model(x).detach()
    model.projector = Projector(16, 16).eval()
    assert torch.equal(model(x), plain)
    with torch.no_grad():
        model.projector.settle(model.unprojected(x))
        model.projector.outer.weight.normal_(generator=generator())
    inside = model.projector.inner[:2](model.unprojected(x)).detach()
    torch.testing.assert_close(inside.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    assert not torch.allclose(model(x), plain)
    found = model.layers(x)["features"]
    assert torch.equal(found, model.features(x)) and torch.equal(model.head(found), model(x))
    for what, path in ((model, tmp_path / "with.safetensors"), (trained[0], tmp_path / "plain.safetensors")):
        storage.save(path, what, {})
        back = storage.load(path, models.info(name), wine, params, "cpu")
        assert torch.equal(back(x), what(x)) and (back.projector is None) == (what.projector is None)
