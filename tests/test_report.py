"""What a person takes away."""

import io
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load, load_file

from unlearn_core import report
from unlearn_core.runs import api
from unlearn_core.runs.store import Store


@pytest.mark.parametrize(
    "model, params, method, withheld",
    [
        ("sisa", {"shards": 2, "slices": 2, "width": 4, "epochs": 2}, "finetune", "checkpoints"),
        ("convex", {}, "certified", "noise"),
        ("mlp", {"width": 4, "epochs": 2}, "finetune", None),
    ],
)
def test_a_download_holds_the_weights_without_what_tells_about_the_forgotten(tmp_path, model, params, method, withheld):
    run = api.run("wine", "random:2", method, model, model_params=params, retrains=0, device="cpu", store=Store(tmp_path))
    stored, given = load_file(run.model_path), load(report.weights(run))
    assert set(stored) - set(given) == ({withheld} if withheld else set())
    assert all(np.array_equal(stored[name], value) for name, value in given.items())
    with zipfile.ZipFile(io.BytesIO(report.bundle(run))) as archive:
        assert set(load(archive.read("model.safetensors"))) == set(given)
