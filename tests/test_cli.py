"""The command line: what it prints where, and that bad input ends in one sentence."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unlearn_core import data, evidence, methods, models
from unlearn_core.__main__ import main
from unlearn_core.data import importing, own
from unlearn_core.data.forget import ForgetSet

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "--dataset",
    "moons",
    "--dataset-param",
    "instances=160",
    "--dataset-param",
    "mislabelled=0.1",
    "--model-param",
    "width=12",
    "--model-param",
    "epochs=40",
]
EVIDENCE = {"id", "group", "original", "unlearned", "retrained", "ci", "null", "reliability", "reason", "n"}


def refuse_constant(word):
    raise AssertionError(f"{word} is not JSON")


def strict(text):
    return json.loads(text, parse_constant=refuse_constant)


def call(capsys, *arguments):
    """(exit status, stdout, stderr) of one command in this process."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def ask(capsys, store, small):
    """Run a request on the small original of the shared store."""
    return lambda *rest: call(capsys, "run", *SMALL, "--store", store.folder, *rest)


# list ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "module"), [("datasets", data), ("models", models), ("methods", methods)])
def test_list(what, module, capsys):
    status, out, err = call(capsys, "list", what)
    assert status == 0 and err == ""
    status, text, err = call(capsys, "list", what, "--json")
    assert status == 0 and err == ""
    rows = strict(text)
    assert [row["name"] for row in rows] == list(module.registry())
    for row in rows:
        assert row["title"] and row["description"] and row["title"] in out
        declared = {param.name: param for param in module.info(row["name"]).params}
        assert [param["name"] for param in row["params"]] == list(declared)
        for param in row["params"]:
            assert param["default"] == declared[param["name"]].default and f"{param['name']} = " in out


# run -----------------------------------------------------------------------------------------------------


def check(result):
    assert {"key", "status", "spec", "timings", "evidence"} <= result.keys()
    assert result["status"] == "done" and re.fullmatch("[0-9a-f]{20}", result["key"])
    assert result["timings"]["method"] > 0 and len(result["timings"]["retrained"]) == result["spec"]["retrains"]
    ids = [item["id"] for item in result["evidence"]]
    assert len(set(ids)) == len(ids)
    for item in result["evidence"]:
        assert item.keys() >= EVIDENCE
        assert item["reliability"] in ("exact", "estimate", "weak") and item["n"] >= 0
        assert item["id"].endswith("." + item["group"])
        if item["retrained"]:
            assert {"values", "mean", "low", "high"} <= item["retrained"].keys()
        if item["unlearned"] is None:
            assert item["reason"], f"{item['id']} is missing without a reason"
    assert {"utility.accuracy.forget", "boundary.agreement.test", "structure.knn_overlap.retain", "privacy.lr_attack.forget"} <= set(ids)


@pytest.mark.parametrize("method", list(methods.suited("mlp")))
def test_json_is_one_strict_object_with_everything(method, ask, capsys, store):
    works_on, asked = methods.info(method).models, ("--forget", "random:0.1", "--method", method, "--seed", "0", "--json")
    own = [*SMALL[: SMALL.index("--model-param")], "--model", *works_on[:1], "--store", store.folder]
    status, out, err = call(capsys, "run", *own, *asked) if works_on else ask(*asked)
    assert status == 0, err
    assert out.count("\n") == 1
    check(strict(out))
    assert "collecting evidence" in err and err.endswith("\n") and "Traceback" not in err


def test_two_identical_commands_print_the_same(ask, tmp_path, capsys):
    given = (
        "--forget",
        "ids:" + ",".join(map(str, data.load("moons", {"instances": 160}).splits.train[:4])),
        "--method",
        "nabla_tau",
        "--json",
    )
    first, again = ask(*given), ask(*given)
    assert first[0] == again[0] == 0 and first[1] == again[1]
    # In another folder everything is computed anew; only what a clock measured may differ.
    other = call(capsys, "run", *SMALL, "--store", tmp_path / "other", *given)
    timed = ("utility.seconds.method", "utility.cost.ratio")
    kept = [[item for item in strict(out)["evidence"] if item["id"] not in timed] for out in (first[1], other[1])]
    assert kept[0] == kept[1] and len(kept[0]) > 30


def test_a_process_of_its_own_keeps_stdout_clean(store, small):
    command = [
        sys.executable,
        "-m",
        "unlearn_core",
        "run",
        *SMALL,
        "--store",
        str(store.folder),
        "--forget",
        "random:4",
        "--method",
        "finetune",
        "--alpha",
        "0.5",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stdout == ""
    assert (
        ended.stderr.strip()
        == "python -m unlearn_core: alpha: finetune has no strength control. Leave alpha out, or choose another method."
    )
    ended = subprocess.run([*command[:-2], "--retrains", "0", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    result = strict(ended.stdout)
    assert result["spec"]["retrains"] == 0 and result["timings"]["retrained"] == []
    assert "█" in ended.stderr or "·" in ended.stderr


def test_without_json_a_person_reads_text(ask):
    status, out, _ = ask("--forget", "random:0.1", "--method", "finetune")
    assert status == 0 and "retrain" in out.lower() and "{" not in out


WINE = ["run", "--dataset", "wine", "--model", "softmax", "--model-param", "epochs=5", "--forget", "random:10", "--method", "finetune"]


def test_an_audit_with_shadow_models(capsys, tmp_path):
    given = [*WINE, "--method-param", "epochs=1", "--store", tmp_path, "--retrains", "8", "--pool", "16", "--json"]
    status, out, err = call(capsys, *given, "--u-lira")
    assert status == 0, err
    result = strict(out)
    found = {item["id"].split(".")[1]: item for item in result["evidence"] if item["id"].startswith("shadows.")}
    assert set(found) == {definition.id.removeprefix("shadows.") for definition in evidence.registry()["shadows"].definitions}
    assert all(item["unlearned"] is not None or item["reason"] for item in found.values())
    for name in ("lira_online", "lira_offline", "rmia_online", "rmia_offline", "u_lira", "u_lira_retrain", "looks_forgotten"):
        assert 0 <= found[name]["unlearned"] <= 1, name
    assert len(found["lira_online"]["retrained"]["values"]) == 8 and found["forgetting_quality"]["unlearned"] >= 0
    assert "16 shadow models" in err and "running the method on shadow 8 of 8" in err and "attacking with shadow models" in err
    assert call(capsys, *given, "--u-lira")[1] == out
    # Without U-LiRA the pool is there already, and a person reads about it.
    status, out, err = call(capsys, *given[:-1])
    assert status == 0 and "shadow" in out.lower() and "{" not in out and "on shadow" not in err and "training 16" not in err


def test_forgetting_a_whole_class_warns(ask):
    status, out, _ = ask("--forget", "class:upper", "--method", "retrain", "--json")
    assert status == 0
    result = strict(out)
    assert any("Every training instance of class upper is forgotten" in note for note in result["notes"])
    check(result)


def test_forget_set_from_a_file(ask, small, tmp_path):
    chosen = ForgetSet().add(small.ids[[5, 2, 9]], "lasso").named("three")
    for form, name in ((chosen.to_csv, "set.csv"), (chosen.to_json, "set.json")):
        path = tmp_path / name
        path.write_text(form("moons", small.meta["dataset_hash"]))
        status, out, _ = ask("--forget", f"file:{path}", "--method", "finetune", "--json")
        assert status == 0 and strict(out)["spec"]["forget"] == sorted(chosen.ids)


BAD = {
    "unknown dataset": (["--dataset", "imagenet"], "dataset: there is no dataset called 'imagenet'. Choose one of: digits"),
    "unknown model": (["--model", "gpt"], "model: there is no model called 'gpt'. Choose one of: mlp"),
    "unsuited model": (["--model", "cnn", "--model-param", "width=4"], "model: cnn does not work on points data. Choose one of: mlp"),
    "unknown method": (["--method", "magic"], "method: there is no method called 'magic'. Choose one of: nabla_tau"),
    "ids outside train": (
        ["--forget", "ids:{test}"],
        "forget: {test} is outside the training split, so the model never learned from it. Use ids of training instances.",
    ),
    "ids nowhere": (["--forget", "ids:999999"], "forget: 999999 is not in this dataset. Use"),
    "ids no numbers": (["--forget", "ids:three"], "forget: 'three' is not an instance id. Give whole numbers"),
    "empty ids": (["--forget", "ids:"], "forget: 'ids:' is not understood. Use random:0.03"),
    "empty set": (["--forget", "ids:,"], "forget: the forget set is empty. Choose at least one training instance."),
    "everything": (["--forget", "random:100%"], "forget: this would forget every training instance. Leave some instances to retain."),
    "too many": (["--forget", "random:100000"], "forget: '100000' is not an amount of"),
    "share too large": (["--forget", "random:1.5"], "forget: '1.5' is not an amount of"),
    "no such form": (["--forget", "some"], "forget: 'some' is not understood. Use random:0.03"),
    "no such class": (["--forget", "class:middle"], "forget: there is no class 'middle' in moons. Choose one of: upper, lower."),
    "no such file": (["--forget", "file:{folder}/none.csv"], "cannot be read. Give the path of a CSV or JSON forget set."),
    "file of another dataset": (
        ["--forget", "file:{folder}/wine.csv"],
        "forget: it belongs to the dataset 'wine'. Open wine first, or choose a set of moons.",
    ),
    "file of other contents": (
        ["--forget", "file:{folder}/other.json"],
        "forget: it was made for other contents or splits of 'moons'. Use the same dataset settings",
    ),
    "broken file": (["--forget", "file:{folder}/broken.json"], "forget: the JSON is not a forget set. It needs"),
    "alpha too large": (["--alpha", "0.96"], 'alpha: 0.96 is out of range. Give a number from 0 to 0.95 or "auto" or "search".'),
    "alpha negative": (["--alpha", "-0.1"], "alpha: -0.1 is out of range. Give a number from 0 to 0.95"),
    "alpha nan": (["--alpha", "nan"], "alpha: 'nan' is not a number from 0 to 0.95"),
    "alpha a word": (["--alpha", "strong"], "alpha: 'strong' is not a number from 0 to 0.95"),
    "alpha for retrain": (["--method", "retrain", "--alpha", "0.5"], "alpha: retrain has no strength control. Leave alpha out"),
    "alpha auto where there is no rule": (
        ["--method", "neggrad_plus", "--alpha", "auto"],
        "alpha: 'auto' is not a number from 0.5 to 1 or \"search\". Give",
    ),
    "seed negative": (["--seed", "-1"], "seed: -1 is not possible. Give a whole number from 0 to 2147483647."),
    "seed too large": (["--seed", "2147483648"], "seed: 2147483648 is not possible. Give a whole number from 0"),
    "seed no integer": (["--seed", "1.5"], "seed: '1.5' is not a whole number. Write for example --seed 3."),
    "seed a word": (["--seed", "one"], "seed: 'one' is not a whole number."),
    "retrains negative": (["--retrains", "-1"], "retrains: -1 is not possible. Give a whole number from 0 to 64."),
    "retrains too many": (["--retrains", "65"], "retrains: 65 is not possible."),
    "retrains no integer": (["--retrains", "few"], "retrains: 'few' is not a whole number."),
    "pool odd": (["--pool", "7"], "pool: 7 models cannot be split into two halves that say something. Give an even number from 8."),
    "pool too large": (["--pool", "1000"], "pool: 1000 is not possible. Give a whole number from 0 to 512."),
    "pool no integer": (["--pool", "some"], "pool: 'some' is not a whole number. Write for example --pool 3."),
    "u-lira without pool": (
        ["--u-lira"],
        "u_lira: U-LiRA runs the method on shadow models, and none are asked for. Ask for a pool, say of 64.",
    ),
    "device": (["--device", "tpu"], "device: 'tpu' is not available here. Choose one of: auto"),
    "method parameter": (["--method-param", "speed=3"], "speed: nabla_tau has no such parameter. Known parameters: alpha"),
    "method parameter's value": (["--method-param", "passes=0"], "passes: 0.0 is out of range. Give a number from 0.1 to 100"),
    "parameter without value": (["--method-param", "passes"], "method-param: 'passes' is not NAME=VALUE. Write for example passes=3."),
    "dataset parameter": (["--dataset-param", "noise=inf"], "noise: 'inf' is not a number from 0 to 1."),
    "model parameter": (["--model-param", "width=1"], "width: 1 is out of range. Give a whole number from 2 to 4096."),
    "store": (["--store", "{folder}/wine.csv"], "wine.csv cannot hold results"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_clear_sentence(case, capsys, store, small, tmp_path):
    chosen = ForgetSet().add([3, 4], "clicked")
    (tmp_path / "wine.csv").write_text(chosen.to_csv("wine", "x"))
    (tmp_path / "other.json").write_text(chosen.to_json("moons", "0" * 16))
    (tmp_path / "broken.json").write_text('{"dataset": "moons", ')
    test = int(data.load("moons", small.spec.dataset_params).splits.test[0])
    given, expected = BAD[case]
    fill = {"test": test, "folder": tmp_path}
    jobs = len(store.jobs())
    status, out, err = call(
        capsys,
        "run",
        *SMALL,
        "--store",
        store.folder,
        "--forget",
        "random:3",
        "--method",
        "nabla_tau",
        *(text.format(**fill) for text in given),
    )
    assert status == 2 and out == ""
    assert expected.format(**fill) in err
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("python -m unlearn_core: ")
    assert len(store.jobs()) == jobs  # nothing was queued


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["list"], ["list", "pages"], ["fly"], ["run", "--dataset", "wine", "--method", "retrain"]]
)
def test_incomplete_commands_end_with_status_2(arguments, capsys):
    status, out, err = call(capsys, *arguments)
    assert status == 2 and out == "" and "usage:" in err and "Traceback" not in err


def test_the_library_in_three_lines(store, small):
    import unlearn_core as uc

    run = uc.run(
        dataset="moons", model="mlp", forget="random:0.1", method="finetune", store=store, dataset_params=small.spec.dataset_params,
        model_params=small.spec.model_params, device="cpu",
    )  # fmt: skip
    assert 0 <= run.measure("utility.accuracy.forget").unlearned <= 1
    assert uc.Run is type(run) and uc.Store is type(store)
    with pytest.raises(AttributeError):
        uc.nothing  # noqa: B018


def test_imported_data_is_found_in_the_store_that_was_named(capsys, monkeypatch, tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    text = "a,b,label\n" + "".join(f"{a},{b},{i % 2}\n" for i, (a, b) in enumerate(rows))
    with monkeypatch.context() as patch:
        patch.setenv("UNLEARN_STORE", str(tmp_path / "there"))
        key = own.save(importing.read(text.encode(), "points.csv")).key
    before = dict(os.environ)
    given = ["--dataset", "own_points", "--dataset-param", f"key={key}", "--model-param", "epochs=2", "--forget", "random:3"]
    given += ["--method", "finetune", "--retrains", "0"]
    status, out, err = call(capsys, "run", *given, "--store", tmp_path / "there")
    assert status == 0 and "3 training instances of points" in out, err
    assert call(capsys, "run", *given, "--store", tmp_path / "elsewhere")[0] == 2
    assert dict(os.environ) == before


def test_imported_data_is_listed_and_deleted_with_what_was_made_from_it(capsys, monkeypatch, tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    text = "a,b,label\n" + "".join(f"{a},{b},{i % 2}\n" for i, (a, b) in enumerate(rows))
    store = ["--store", tmp_path]
    assert call(capsys, "data", "list", *store)[1] == "No data was imported.\n"
    with monkeypatch.context() as patch:
        patch.setenv("UNLEARN_STORE", str(tmp_path))
        key = own.save(importing.read(text.encode(), "points.csv")).key
    given = ["--dataset", "own_points", "--dataset-param", f"key={key}", "--model-param", "epochs=2", "--forget", "random:3"]
    assert call(capsys, "run", *given, "--method", "finetune", "--retrains", "1", *store)[0] == 0
    listed = call(capsys, "data", "list", *store)[1]
    assert f"{key}  points: 60 instances" in listed and "1 model with its map, 1 run and 1 retrained model" in listed
    (row,) = json.loads(call(capsys, "data", "list", "--json", *store)[1])
    assert (row["key"], row["instances"], row["made"]["runs"], row["busy"]) == (key, 60, 1, 0)
    status, out, _ = call(capsys, "data", "delete", key, *store)
    assert status == 0 and "Nothing was deleted" in out and (tmp_path / "data" / key).exists()
    assert call(capsys, "data", "delete", key, "--only-data", "--yes", *store)[0] == 0 and not (tmp_path / "data" / key).exists()
    assert "deleted, but not what was made from it" in call(capsys, "data", "list", *store)[1]
    assert call(capsys, "data", "delete", key, "--yes", *store)[0] == 0 and not list(tmp_path.glob("runs/*"))
    assert call(capsys, "data", "list", *store)[1] == "No data was imported.\n"
    status, _, err = call(capsys, "data", "delete", key, "--yes", *store)
    assert status == 2 and "nothing here comes from imported data" in err
