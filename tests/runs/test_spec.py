"""Keys: stable, complete, and the same for the same request."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from unlearn_core.errors import BadInput
from unlearn_core.runs.spec import OriginalSpec, RunSpec, canonical

ORIGINAL = OriginalSpec(
    dataset="moons", dataset_params={"noise": 0.2, "seed": 0}, dataset_version=1, model="mlp", model_params={"width": 8, "epochs": "auto"},
    seed=3, device="cpu", layout_version=1,
)  # fmt: skip
RUN = RunSpec(
    original=ORIGINAL, dataset_hash="00ff", forget=(1, 5, 9), method="nabla_tau", method_version=1, params={"alpha": 0.5}, seed=3, retrains=3,
    device="cpu", evidence={"utility": 1, "boundary": 2},
)  # fmt: skip
OTHER = {
    "dataset": "circles", "dataset_params": {"noise": 0.3, "seed": 0}, "dataset_version": 2, "model": "softmax", "model_params": {"width": 9},
    "seed": 4, "device": "cuda", "layout_version": 2, "model_version": 2, "recipe_version": 2, "original": replace(ORIGINAL, seed=4), "dataset_hash": "00fe", "forget": (1, 5),
    "method": "retrain", "method_version": 2, "params": {"alpha": 0.6}, "retrains": 4, "evidence": {"utility": 1, "boundary": 3}, "parent": RUN,
}  # fmt: skip


def test_keys_never_change_between_versions():
    """Share links and the demo pack depend on these: a change here breaks every link that people keep."""
    assert ORIGINAL.key == "af7dd2680c2fc75521ef"
    assert RUN.key == "1d248c51ecddfd375aa1"
    assert RUN.retrain_key == "1db72511283051dabc22"


@pytest.mark.parametrize("spec", [ORIGINAL, RUN], ids=["original", "run"])
def test_every_field_changes_the_key(spec):
    keys = {spec.key} | {replace(spec, **{field.name: OTHER[field.name]}).key for field in fields(spec)}
    assert len(keys) == len(fields(spec)) + 1


def test_order_of_parameters_does_not_matter():
    turned = replace(ORIGINAL, dataset_params={"seed": 0, "noise": 0.2})
    assert turned.key == ORIGINAL.key


def test_retrained_models_are_shared_exactly_where_they_may_be():
    shared = {"method": "retrain", "method_version": 9, "params": {}, "seed": 8, "retrains": 7, "evidence": {}}
    for name, value in shared.items():
        assert replace(RUN, **{name: value}).retrain_key == RUN.retrain_key
    assert replace(RUN, original=replace(ORIGINAL, seed=9, layout_version=9)).retrain_key == RUN.retrain_key
    own = [{"forget": (1, 5)}, {"dataset_hash": "11"}, {"device": "cuda"}]
    own += [
        {"original": replace(ORIGINAL, **{name: OTHER[name]})}
        for name in ("dataset", "dataset_params", "dataset_version", "model", "model_params", "model_version", "recipe_version")
    ]
    assert len({RUN.retrain_key} | {replace(RUN, **change).retrain_key for change in own}) == len(own) + 1


def test_round_trips_through_json():
    assert OriginalSpec.from_dict(json.loads(json.dumps(asdict(ORIGINAL)))) == ORIGINAL
    back = RunSpec.from_dict(json.loads(json.dumps(RUN.to_dict())))
    assert back == RUN and back.key == RUN.key


def test_canonical_text_refuses_what_is_no_number():
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})


TRAIN = np.arange(20)


def make(forget=(1, 2), method="nabla_tau", **rest):
    return RunSpec.make(ORIGINAL, "00ff", TRAIN, 40, forget, method, **rest)


def test_equal_requests_have_equal_keys():
    first = make([5, 2, 9], params={"alpha": "0.5"}, seed=1, retrains=3)
    same = make(np.array([9, 5, 2, 2]), params={"alpha": 0.5, "preset": "auto"}, seed=np.int64(1), retrains=np.int32(3))
    assert first == same and first.key == same.key
    assert first.forget == (2, 5, 9)
    assert make(seed=0).key != make(seed=1).key


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"forget": []}, "forget"), ({"forget": [20]}, "forget"), ({"forget": [41]}, "forget"), ({"forget": TRAIN}, "forget"),
        ({"method": "magic"}, "method"), ({"method": "retrain", "params": {"alpha": 0.5}}, "alpha"), ({"params": {"alpha": 2}}, "alpha"),
        ({"params": {"beta": 2}}, "beta"), ({"seed": -1}, "seed"), ({"seed": 2**31}, "seed"), ({"seed": 1.0}, "seed"), ({"seed": True}, "seed"),
        ({"seed": "1"}, "seed"), ({"seed": None}, "seed"), ({"retrains": -1}, "retrains"), ({"retrains": 65}, "retrains"),
        ({"retrains": 2.5}, "retrains"), ({"retrains": True}, "retrains"), ({"retrains": "3"}, "retrains"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(given, field):
    with pytest.raises(BadInput) as caught:
        make(**given)
    assert caught.value.field == field and caught.value.fix


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"dataset": "imagenet"}, "dataset"), ({"dataset": "wine", "model": "cnn"}, "model"), ({"dataset": "wine", "model": "gpt"}, "model"),
        ({"dataset": "wine", "model_params": {"width": 1}}, "width"), ({"dataset": "wine", "dataset_params": {"noise": 1}}, "noise"),
        ({"dataset": "wine", "seed": -3}, "seed"),
    ],
)  # fmt: skip
def test_bad_originals_name_the_field(given, field):
    with pytest.raises(BadInput) as caught:
        OriginalSpec.make(**given)
    assert caught.value.field == field


def test_an_original_is_completed_with_defaults():
    spec = OriginalSpec.make("wine")
    assert spec.model == "mlp" and spec.model_params["epochs"] == "auto" and spec.dataset_params == {"split_seed": 0}
    assert spec.key == OriginalSpec.make("wine", "mlp", {"split_seed": "0"}, {"width": 128.0}).key
