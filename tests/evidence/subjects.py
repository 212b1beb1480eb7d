"""Subjects for evidence tests, from scikit-learn models: an implementation that shares no code with ours."""

import numpy as np
from sklearn.datasets import load_digits, make_moons
from sklearn.neural_network import MLPClassifier

from unlearn_core.data.base import stratified_splits
from unlearn_core.evidence.base import Outputs, Subject


class Net:
    """A fitted scikit-learn MLP, read layer by layer."""

    def __init__(self, inputs, labels, seed, epochs=60):
        self.mlp = MLPClassifier((32, 16), max_iter=epochs, random_state=seed, n_iter_no_change=epochs, tol=0.0)
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.mlp.fit(inputs.reshape(len(inputs), -1), labels)

    def layers(self, inputs):
        found, h = {}, inputs.reshape(len(inputs), -1)
        for name, w, b in zip(("hidden1", "features"), self.mlp.coefs_, self.mlp.intercepts_, strict=False):
            h = np.maximum(h @ w + b, 0)
            found[name] = h.astype(np.float32)
        return found

    def head(self, features):
        logits = features @ self.mlp.coefs_[-1] + self.mlp.intercepts_[-1]
        if logits.shape[1] == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        return logits.astype(np.float32)

    def predict(self, inputs):
        return self.head(self.layers(inputs)["features"])

    def outputs(self, inputs):
        layers = self.layers(inputs)
        return Outputs(self.head(layers["features"]), layers)


def make_subject(kind="moons", retrains=3, unlearned="noop", forget=12, seed=0):
    """kind: "moons" (2-D, forget points are mislabelled) or "digits". unlearned: "noop", "retrain" or None."""
    rng = np.random.default_rng(seed)
    if kind == "moons":
        inputs, labels = make_moons(400, noise=0.2, random_state=seed)
        inputs = inputs.astype(np.float32)
        modality, names = "points", ("upper", "lower")
    else:
        digits = load_digits()
        inputs = (digits.data[:900] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        labels, modality, names = digits.target[:900].copy(), "image", tuple(map(str, range(10)))
    splits = stratified_splits(labels, seed)
    gone = np.sort(rng.choice(splits.train, forget, replace=False))
    if kind == "moons":
        labels[gone] = 1 - labels[gone]
    retain = np.setdiff1d(splits.train, gone)
    nets = {"original": Net(inputs[splits.train], labels[splits.train], seed)}
    for k in range(retrains):
        nets[f"retrained:{k}"] = Net(inputs[retain], labels[retain], 100 + k)
    if unlearned:
        nets["unlearned"] = nets["original"] if unlearned == "noop" else Net(inputs[retain], labels[retain], 999)
    outputs = {name: net.outputs(inputs) for name, net in nets.items()}
    flat = inputs[splits.train].reshape(len(splits.train), -1)
    layout = flat[:, :2] if kind == "moons" else np.linalg.svd(flat - flat.mean(0), full_matrices=False)[0][:, :2]
    return Subject(
        labels=labels,
        class_names=names,
        modality=modality,
        inputs=inputs,
        splits=splits,
        forget=gone,
        original=outputs["original"],
        unlearned=outputs.get("unlearned"),
        retrained=[outputs[f"retrained:{k}"] for k in range(retrains)],
        predict=lambda who, x: nets[who].predict(x),
        head=lambda who, f: nets[who].head(f),
        layout=layout.astype(np.float32),
        seed=seed,
        seconds={"method": 0.2, "retrain": 0.8},
    )
