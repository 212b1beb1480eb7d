"""Running one method on one dataset without store or evidence, and AdamW on softmax regression written out in numpy."""

import copy
import json
from functools import cache

import numpy as np

from unlearn_core import data, methods, models
from unlearn_core.models import pool, training
from unlearn_core.params import resolve
from unlearn_core.runs import applying
from unlearn_core.runs.spec import OriginalSpec, RunSpec


def original(dataset, name="mlp", seed=0, **given):
    """A model trained on the training split, with its complete parameters."""
    params = resolve(models.info(name).params, given, name)
    return training.train(models.info(name), dataset, params, dataset.splits.train, seed, "cpu"), name, params


def apply(trained, dataset, forget, method, seed=0, progress=training.silent, **params):
    """(model, chosen, notes) of a method run by the pipeline; `method` is a name or a declaration."""
    model, name, given = trained
    declared = methods.info(method) if isinstance(method, str) else method
    spec = OriginalSpec.make(dataset.name, name, model_params=given)
    run = RunSpec.make(spec, dataset.hash, dataset.splits.train, len(dataset), forget, declared.name, params, seed)
    before = copy.deepcopy(model)
    half = _shadows(dataset.name, name, json.dumps(given)) if "never_seen" in declared.needs else None
    done = applying.apply(
        model, dataset, run, applying.Part.of(run, dataset.splits.train, dataset.splits.heldout), declared, progress, half
    )
    assert same(before, model)  # a method works on a copy
    return done.model, done.chosen, done.notes


@cache
def _shadows(dataset_name, name, params, members=12):
    dataset, info = data.load(dataset_name), models.info(name)
    rows = pool.subsets(pool.universe(dataset.splits), pool.size(dataset.splits), members, pool.CHOOSE, 0)
    given = json.loads(params) | {"epochs": 5}
    trained = [training.train(info, dataset, given, ids, k, "cpu") for k, ids in enumerate(rows)]
    return pool.Shadows(
        np.stack([training.predict(model, dataset.inputs, "cpu") for model in trained]), pool.membership(rows, len(dataset))
    )


def same(a, b):
    import torch

    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)


class Softmax:
    """Softmax regression with AdamW, float64, no code shared with ours."""

    def __init__(self, weight, bias, decay=0.01):
        self.values = [np.array(weight, np.float64), np.array(bias, np.float64)]
        self.moments = [[np.zeros_like(v), np.zeros_like(v)] for v in self.values]
        self.decay, self.steps = decay, 0

    def loss(self, x, y):
        z = x @ self.values[0].T + self.values[1]
        z = z - z.max(1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -log_p[np.arange(len(y)), y].mean()

    def gradient(self, x, y):
        z = x @ self.values[0].T + self.values[1]
        p = np.exp(z - z.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - np.eye(p.shape[1])[y]) / len(y)
        return [error.T @ x, error.sum(0)]

    def step(self, gradient, rate):
        self.steps += 1
        for k, g in enumerate(gradient):
            first, second = self.moments[k]
            first[:] = 0.9 * first + 0.1 * g
            second[:] = 0.999 * second + 0.001 * g**2
            direction = (first / (1 - 0.9**self.steps)) / (np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8)
            self.values[k] = self.values[k] * (1 - rate * self.decay) - rate * direction
