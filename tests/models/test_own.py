"""Weights of one's own: read without executing anything, refused with the reason, and fitted into their architecture."""

import json
import struct

import numpy as np
import pytest
import torch
from models import samples
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from unlearn_core import models
from unlearn_core.errors import BadInput
from unlearn_core.models import own, own_fit, storage, training
from unlearn_core.models.base import Facts
from unlearn_core.params import resolve

USUAL = [name for name, info in models.registry().items() if not (info.train or info.prepare)]


def small(name, **given):
    return resolve(models.info(name).params, given, name)


def trained(dataset, name, **given):
    info, params = models.info(name), small(name, epochs=2, **given)
    return training.train(info, dataset, params, dataset.splits.train, 0, "cpu"), info, params


def made(tensors: dict[str, torch.Tensor]) -> bytes:
    return save({name: value.contiguous() for name, value in tensors.items()})


def raw(header: object, data: bytes = b"", text: str | None = None) -> bytes:
    told = (text if text is not None else json.dumps(header)).encode()
    return struct.pack("<Q", len(told)) + told + data


def one(kind="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"a": {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}}


KINDS = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def test_every_kind_of_number_is_read_as_the_safetensors_library_reads_it(tmp_path):
    rng = torch.Generator().manual_seed(0)
    tensors = {f"t{i}": (3 * torch.randn(i, 3, generator=rng)).to(kind) for i, kind in enumerate(KINDS)} | {"scalar": torch.tensor(2.5)}
    path = tmp_path / "mixed.safetensors"
    save_file(tensors, path, {"by": "somebody"})
    found = own.read(path)
    assert found.title == "mixed" and found.numbers == sum(t.numel() for t in tensors.values())
    with safe_open(path, "pt") as file:
        assert {t.name: (list(t.shape), t.kind) for t in found.tensors} == {
            name: (file.get_slice(name).get_shape(), file.get_slice(name).get_dtype())
            for name in file.keys()  # noqa: SIM118
        }
    assert own.read(path.read_bytes(), "mixed.safetensors").key == found.key


@pytest.mark.parametrize(
    "text",
    [
        r'{"\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"__metadata__":{"epochs":3},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"__metadata__":[],"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"__metadata__":{"loss":NaN},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2000000000,2000000000,2000000000,0],"data_offsets":[0,0]}}',
    ],
    ids=["half a surrogate pair", "a remark that is no text", "remarks as a list", "no JSON", "a shape beyond every number"],
)
def test_headers_that_the_library_cannot_read_are_refused_before_anything_is_kept(text, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(raw(None, b"\0\0\x80?", text))
    with pytest.raises(SafetensorError):
        load_file(path)
    with pytest.raises(BadInput, match="header of w.safetensors cannot be read|is too large"):
        own.read(path)


def test_the_key_is_one_of_the_content():
    a, b = torch.arange(4.0), torch.ones(2, 2)
    keys = {own.read(save({"a": a, "b": b}, about)).key for about in (None, {"note": "another header"})}
    assert len(keys) == 1
    others = [{"a": a, "c": b}, {"a": a.reshape(2, 2), "b": b}, {"a": a + 1, "b": b}, {"a": a.double(), "b": b}, {"a": a}]
    assert len(keys | {own.read(save(tensors)).key for tensors in others}) == len(others) + 1


STRUCTURE = {
    "cut short": lambda: made({"a": torch.ones(8)})[:-4],
    "too long": lambda: made({"a": torch.ones(8)}) + b"1234",
    "a header that is longer than the file": lambda: struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": lambda: raw(None, b"12345678", text='{"a": [}'),
    "not UTF-8": lambda: struct.pack("<Q", 4) + b"{\xff\xff}",
    "a list": lambda: raw([1, 2]),
    "a gap": lambda: raw(one() | {"b": one(offsets=(12, 20))["a"]}, b"1" * 20),
    "an overlap": lambda: raw(one() | {"b": one(offsets=(4, 12))["a"]}, b"1" * 12),
    "backwards": lambda: raw(one(offsets=(8, 0)), b"1" * 8),
    "a shape of another size": lambda: raw(one(shape=(3,)), b"1" * 8),
    "a shape that overflows": lambda: raw(one(shape=(2**32, 2**32)), b"1" * 8),
    "a negative size": lambda: raw(one(shape=(-1, -2)), b"1" * 8),
    "an unknown kind": lambda: raw(one(kind="F9", shape=(1,)), b"1" * 8),
    "no shape": lambda: raw({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, b"1" * 8),
    "a text for a tensor": lambda: raw({"a": "b"}),
}


@pytest.mark.parametrize("bad", STRUCTURE.values(), ids=STRUCTURE)
def test_broken_files_are_refused_as_the_library_refuses_them(bad, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(bad())
    with pytest.raises(SafetensorError):
        load_file(tmp_path / "bad.safetensors")
    for content in (bad(), tmp_path / "bad.safetensors"):
        with pytest.raises(BadInput) as told:
            own.read(content, "bad.safetensors")
        assert told.value.field == "weights" and len(str(told.value)) < 400


def test_a_name_that_occurs_twice_is_refused():
    """Where the library silently takes the last one."""
    told = json.dumps(one()["a"])
    with pytest.raises(BadInput, match="a name occurs twice"):
        own.read(raw(None, b"12345678", text=f'{{"a": {told}, "a": {told}}}'))


def test_what_is_no_safetensors_file_is_named(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "new.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        with pytest.raises(BadInput, match="is a pickle.*not opened.*save_file"):
            own.read(tmp_path / name)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadInput, match="is empty"):
        own.read(tmp_path / "empty")
    with pytest.raises(BadInput, match="there is no file"):
        own.read(tmp_path / "nothing")
    for junk in (b"hello", b"\x89HDF\r\n\x1a\n" + b"0" * 100, b"{}", bytes(16)):
        with pytest.raises(BadInput, match="no safetensors file"):
            own.read(junk)
    with pytest.raises(BadInput, match="holds no tensors"):
        own.read(raw({"__metadata__": {"a": "b"}}))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(kind, value):
    good = torch.full((5,), torch.finfo(kind).max, dtype=kind)
    bad = good.clone()
    bad[3] = value
    own.read(made({"a": good}))
    with pytest.raises(BadInput, match="layer.weight in w.safetensors holds numbers that are not finite"):
        own.read(made({"layer.weight": bad, "a": good}), "w.safetensors")


def test_limits_of_size(monkeypatch):
    content = made({"a": torch.ones(100), "b": torch.ones(2)})
    for name, most, said in (
        ("MOST_BYTES", 400, "this machine can take in"),
        ("MOST_HEADER", 60, "the header"),
        ("MOST_TENSORS", 1, "2 tensors"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(own, name, most)
            with pytest.raises(BadInput, match=said):
                own.read(content)
    own.read(content)


def test_a_changed_byte_never_gets_past_both_us_and_the_library(tmp_path):
    content = made({"a": torch.ones(3, 2), "b": torch.ones(4)})
    rng, refused = np.random.default_rng(0), 0
    path = tmp_path / "fuzzed.safetensors"
    for _ in range(400):
        changed = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        try:
            found = own.read(bytes(changed))
        except BadInput:
            refused += 1
            continue
        path.write_bytes(changed)
        assert {t.name: t.shape for t in found.tensors} == {name: tuple(value.shape) for name, value in load_file(path).items()}
    assert refused > 100


# fitting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USUAL)
def test_weights_of_a_model_give_that_model(name, tmp_path):
    dataset = samples.load(samples.SAMPLE[models.info(name).modalities[-1]])
    model, info, params = trained(dataset, name, **({"width": 4} if name in ("cnn", "resnet18") else {}))
    storage.save(tmp_path / "w.safetensors", model, {})
    own.read(tmp_path / "w.safetensors")
    found = own_fit.fit(tmp_path / "w.safetensors", info, dataset, params, "cpu")
    assert found.notes == () and not found.model.training
    assert np.array_equal(training.predict(found.model, dataset.inputs, "cpu"), training.predict(model, dataset.inputs, "cpu"))


def written(path, state):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def wine():
    dataset = samples.load("wine")
    return dataset, *trained(dataset, "mlp", width=8)


def test_names_of_wrappers_and_other_numbers_are_understood_and_said(wine, tmp_path):
    dataset, model, info, params = wine
    state = {f"module._orig_mod.{name}": value.double() for name, value in model.state_dict().items()}
    found = own_fit.fit(written(tmp_path / "w", state), info, dataset, params, "cpu")
    assert np.array_equal(training.predict(found.model, dataset.inputs, "cpu"), training.predict(model, dataset.inputs, "cpu"))
    assert [note for note in found.notes if "module." in note] and [note for note in found.notes if "float64" in note]
    narrow = {name: value.half() for name, value in model.state_dict().items()}
    close = own_fit.fit(written(tmp_path / "h", narrow), info, dataset, params, "cpu")
    assert np.allclose(training.predict(close.model, dataset.inputs, "cpu"), training.predict(model, dataset.inputs, "cpu"), atol=0.1)


def test_what_is_missing_unexpected_or_of_another_shape_is_said(wine, tmp_path):
    dataset, model, info, params = wine
    state = model.state_dict()
    lacking = {name: value for name, value in state.items() if name != "head.bias"}
    with pytest.raises(BadInput, match="head.bias is missing"):
        own_fit.fit(written(tmp_path / "a", lacking), info, dataset, params, "cpu")
    with pytest.raises(BadInput, match="fc.weight is not expected"):
        own_fit.fit(written(tmp_path / "b", state | {"fc.weight": torch.ones(2)}), info, dataset, params, "cpu")
    with pytest.raises(BadInput, match="head.weight is 5 × 8 and not 3 × 8.*tells 5 classes apart and the data has 3"):
        own_fit.fit(written(tmp_path / "c", state | {"head.weight": torch.ones(5, 8)}), info, dataset, params, "cpu")
    with pytest.raises(BadInput, match="head.weight holds int64"):
        own_fit.fit(written(tmp_path / "d", state | {"head.weight": torch.ones(3, 8).long()}), info, dataset, params, "cpu")
    with pytest.raises(BadInput, match="standardise.scale holds a zero"):
        own_fit.fit(written(tmp_path / "e", state | {"standardise.scale": torch.zeros(13)}), info, dataset, params, "cpu")
    with pytest.raises(BadInput, match="as float32 some"):
        own_fit.fit(
            written(tmp_path / "f", state | {"head.bias": torch.full((3,), 1e300, dtype=torch.float64)}), info, dataset, params, "cpu"
        )


CHANGED = {
    "mlp": {"width": 24}, "cnn": {"width": 6}, "resnet18": {"width": 12}, "vit": {"heads": 3, "depth": 2, "patch": 4},
    "bag": {"embedding": 20, "width": 36, "pairs": False}, "transformer": {"heads": 2, "depth": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_the_settings_that_fit_are_found_from_the_shapes(name, tmp_path):
    info = models.info(name)
    dataset = samples.load(samples.SAMPLE[info.modalities[-1]])
    planted = training.fresh(info, dataset, small(name, **CHANGED[name]), 0, "cpu").state_dict()
    shapes = {tensor: tuple(value.shape) for tensor, value in planted.items()}
    found, tried = own_fit.suggest(shapes, info, Facts.of(dataset), small(name))
    rebuilt = training.fresh(info, dataset, small(name) | found, 0, "cpu").state_dict()
    assert {tensor: tuple(value.shape) for tensor, value in rebuilt.items()} == shapes and tried <= own_fit.TRIALS
    with pytest.raises(BadInput, match="They fit it with " + ".*".join(f"{setting} = {value}" for setting, value in found.items())):
        own_fit.fit(written(tmp_path / "w", planted), info, dataset, small(name), "cpu")


def test_another_architecture_that_fits_is_named(tmp_path):
    dataset = samples.load("digits")
    state = training.fresh(models.info("mlp"), dataset, small("mlp", width=40), 0, "cpu").state_dict()
    with pytest.raises(BadInput, match="They fit Multilayer perceptron with width = 40"):
        own_fit.fit(written(tmp_path / "w", state), models.info("cnn"), dataset, small("cnn"), "cpu")


@pytest.mark.parametrize("scaled", [True, False])
def test_without_standardise_the_way_that_the_model_was_trained_is_found(scaled, tmp_path):
    dataset, info, params = samples.load("wine"), models.info("softmax"), small("softmax", epochs=300)
    # Inputs as they are: a softmax regression on raw wine is hard to train, so its weights come from the scaled one by hand.
    model = training.train(info, dataset, params, dataset.splits.train, 0, "cpu")
    state = dict(model.state_dict())
    mean, scale = state.pop("standardise.mean"), state.pop("standardise.scale")
    if not scaled:
        state["head.bias"] = state["head.bias"] - state["head.weight"] @ (mean / scale)
        state["head.weight"] = state["head.weight"] / scale
    found = own_fit.fit(written(tmp_path / "w", state), info, dataset, params, "cpu")
    assert np.allclose(training.predict(found.model, dataset.inputs, "cpu"), training.predict(model, dataset.inputs, "cpu"), atol=1e-2)
    assert ("Mean and spread of the training split" if scaled else "Inputs go in as they are") in found.notes[0]


def test_models_that_are_more_than_their_state_dict_are_refused():
    others = [name for name, info in models.registry().items() if info.train]
    for name in others:
        with pytest.raises(BadInput, match="trained in a way of its own"):
            own.refuse_others(models.info(name))
    assert {"sisa", "convex"} <= set(others)
