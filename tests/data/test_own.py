"""Imports that are kept, and the datasets that they become."""

import json

import numpy as np
import pytest
from data.test_importing import LABELS, TABLE, csv, folders, grey, npz, packed

from unlearn_core import data
from unlearn_core.data import importing, own
from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput
from unlearn_core.params import resolve


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path / "store"))
    return tmp_path / "store" / "data"


TEXTS = "\n".join(json.dumps({"text": f"mail number {i}", "label": "ab"[i % 2]}) for i in range(60)).encode()
GAPS = TABLE.assign(age=TABLE.age.where(np.arange(120) % 7 != 0), town=TABLE.town.where(np.arange(120) % 9 != 0))
KINDS = {
    "own_table": (csv(GAPS), "people.csv", Options(protected=("sex",))),
    "own_images": (packed({f"train/{k}": v for k, v in folders().items()} | {"test/cat/0.png": grey(200)}), "p.zip", Options()),
    "own_texts": (TEXTS, "mails.jsonl", Options(text="text")),
    "own_points": (npz(x=np.random.default_rng(0).normal(size=(60, 2)), y=LABELS), "p.npz", Options()),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_kept_comes_back_the_same(name, store):
    imported = importing.read(*KINDS[name])
    kept = own.save(imported)
    assert kept.name == name and kept.instances == len(imported) and kept.classes == len(imported.class_names)
    assert own.save(imported) == kept and [place.name for place in store.iterdir()] == [kept.key] and own.kept() == [kept]
    params = resolve(data.info(name).params, {"key": kept.key}, name)
    direct, found = own.dataset(imported, params, name), data.load(name, {"key": kept.key})
    assert found.hash == direct.hash and np.array_equal(found.inputs, direct.inputs) and found.notes == direct.notes
    assert found.class_names == imported.class_names and np.array_equal(found.labels, imported.labels)
    assert found.categories == direct.categories and found.texts == direct.texts and found.groups.keys() == direct.groups.keys()
    assert found.modality == data.info(name).modality == kept.modality
    assert np.array_equal(np.sort(np.concatenate([ids for _, ids in found.splits.items()])), np.arange(len(found)))
    other = data.load(name, {"key": kept.key, "split_seed": 1})
    assert other.hash != found.hash


def test_tables_learn_their_medians_from_the_training_rows():
    kept = own.save(importing.read(*KINDS["own_table"]))
    found = data.load("own_table", {"key": kept.key})
    ages = GAPS.age.to_numpy()
    known = ages[found.splits.train]
    at = found.feature_names.index("age")
    assert (found.inputs[::7, at] == np.float32(np.median(known[~np.isnan(known)]))).all()
    assert np.array_equal(found.inputs[:, at + 1], np.arange(120) % 7 == 0)
    assert found.groups["sex"].names == ("f", "m") and found.categories[found.feature_names.index("town")][-1] == "(missing)"
    part = data.load("own_table", {"key": kept.key, "subset": 60})
    assert len(part.splits.train) == 60


def test_an_official_test_folder_is_the_test_split():
    found = data.load("own_images", {"key": own.save(importing.read(*KINDS["own_images"])).key})
    assert found.splits.test.tolist() == [24] and (found.inputs[24] == 200).all()


def test_twins_across_splits_are_said():
    frame = TABLE.drop(columns="record")
    doubled = csv(frame.loc[frame.index.repeat(2)])
    kept = own.save(importing.read(doubled, "t.csv"))
    found = data.load("own_table", {"key": kept.key})
    rows = [row.tobytes() for row in found.inputs]
    train = {rows[i] for i in found.splits.train}
    outside = sum(rows[i] in train for name, ids in found.splits.items() if name != "train" for i in ids)
    assert outside > 10 and f"Instances outside the training split with an exact twin in it: {outside}." in found.notes
    clean = own.save(importing.read(doubled, "t.csv", Options(drop_duplicates=True)))
    assert not [note for note in data.load("own_table", {"key": clean.key}).notes if "twin" in note]


def test_other_contents_have_other_keys():
    keys = {own.save(importing.read(*KINDS[name])).key for name in KINDS}
    keys.add(own.save(importing.read(csv(GAPS.assign(age=GAPS.age + 1)), "people.csv", Options(protected=("sex",)))).key)
    keys.add(own.save(importing.read(csv(GAPS), "people.csv", Options(protected=("town",)))).key)
    assert len(keys) == len(KINDS) + 2
    assert [item.title for item in own.kept()] == sorted(item.title for item in own.kept())


def test_forgotten_imports_are_gone(store):
    kept = own.save(importing.read(*KINDS["own_points"]))
    own.delete(kept.key)
    assert not list(store.iterdir()) and own.kept() == []
    with pytest.raises(BadInput, match="no imported data"):
        data.load("own_points", {"key": kept.key})


@pytest.mark.parametrize("key", ["0123456789abcdef", "../../etc", "x", 5, None, "", "../0123456789abc"])
def test_keys_that_name_nothing(key):
    with pytest.raises(BadInput) as caught:
        data.load("own_table", {"key": key})
    assert caught.value.field == "key" and caught.value.fix
    for other in (own.delete, own.open_kept):
        with pytest.raises(BadInput):
            other(str(key))


def test_data_of_another_kind_is_refused_by_name():
    kept = own.save(importing.read(*KINDS["own_points"]))
    with pytest.raises(BadInput, match="Open it as own_points"):
        data.load("own_table", {"key": kept.key})


def test_nothing_half_done_is_left_when_the_disk_is_full(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own.np, "savez", full)
    with pytest.raises(OSError):
        own.save(importing.read(*KINDS["own_points"]))
    assert not list(store.iterdir())


def test_an_import_is_called_by_its_own_title_as_long_as_it_is_there():
    kept = own.save(importing.read(TEXTS, "mails.jsonl", Options(text="text", title="My mails")))
    assert data.title("own_texts", {"key": kept.key}) == "My mails" and data.title("digits", {}) == data.info("digits").title
    own.delete(kept.key)
    assert data.title("own_texts", {"key": kept.key}) == data.info("own_texts").title
