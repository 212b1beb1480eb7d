"""The one training loop, used to train, to retrain and by every method that takes gradient steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.models.base import Facts, ModelInfo, epochs_for
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.objectives import loss, right
from unlearn_core.models.outputs import Outputs

SMALL = 200_000  # parameters
OFTEN = 0.25  # seconds between reports where steps are slow, so that a cancel is heard soon
KEPT = 2**26  # bytes that one hidden layer's values of all instances may take
CHUNK = 2048  # instances read at once

Batch = tuple[Tensor, ...]


class Diverged(BadInput):
    """Training whose loss is no finite number any more."""


class Progress(Protocol):
    def __call__(self, fraction: float, **curves: float) -> None:
        """Report progress 0..1 and the newest points of live curves. May raise Cancelled or Preempted."""


def silent(fraction: float, **curves: float) -> None:
    """A Progress that tells nobody."""


def batches(ids: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One shuffled pass over `ids` in chunks of `size`; the shuffle comes from a CPU generator, so every device sees the same."""
    order = torch.randperm(len(ids), generator=generator).to(ids.device)
    yield from ids[order].split(size)


def optimise(
    model: Classifier,
    epochs: int,
    feed: Callable[[int], Iterator[Batch]],
    objective: Callable[..., Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    schedule: Callable[[int], float] | None = None,
    training_mode: bool = True,
    progress: Progress = silent,
    after_epoch: Callable[[Classifier], bool] | None = None,
    length: int = 0,
) -> int:
    """Minimise `objective(*batch)` over `feed(epoch)` for `epochs`; returns the number of steps taken.

    schedule(step) scales the optimiser's learning rate from step 0 on. training_mode=False keeps BatchNorm statistics frozen and dropout off.
    after_epoch(model) returning True stops early. length: steps of the first epoch where they are known, so that progress tells its true share.
    `progress` gets the mean loss of each epoch. Raises Diverged when that is not finite.
    """
    steps, kind, told = 0, next(model.parameters()).device.type, time.monotonic()
    with threads(model):
        for epoch in range(epochs):
            total, count = torch.zeros((), device=next(model.parameters()).device), 0
            for batch in feed(epoch):
                if count == 0:  # after the first batch was fed: feeding may look at the model in evaluation mode
                    model.train(training_mode)
                if schedule is not None:
                    for group in optimiser.param_groups:
                        group["lr"] = optimiser.defaults["lr"] * schedule(steps + count)
                with torch.autocast(kind, torch.bfloat16, enabled=model.half_precision):
                    value = objective(*batch)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                optimiser.step()
                total += value.detach()
                count += 1
                if count % 32 == 0 or time.monotonic() - told >= OFTEN:
                    progress((epoch + min(count / (length or count + 32), 1.0)) / epochs)
                    told = time.monotonic()
            steps, length = steps + count, count
            mean = (total / max(count, 1)).item()
            if not math.isfinite(mean):
                fix = "Use a smaller learning rate or a gentler α."
                raise Diverged("lr", f"the loss is no finite number any more in pass {epoch + 1} of {epochs}.", fix)
            progress((epoch + 1) / epochs, loss=mean)
            if after_epoch is not None and after_epoch(model):
                break
    model.eval()
    return steps


@contextmanager
def threads(model: Classifier) -> Iterator[None]:
    """One thread for small models: splitting tiny kernels gains nothing and stalls whenever a core is busy."""
    before = torch.get_num_threads()
    if sum(p.numel() for p in model.parameters()) < SMALL and next(model.parameters()).dim() == 2:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def adamw(model: Classifier, lr: float, weight_decay: float = 0.01) -> torch.optim.Optimizer:
    """The optimiser of every recipe and method (Loshchilov and Hutter 2019, arXiv 1711.05101), in its fused form."""
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


def cosine(steps: int) -> Callable[[int], float]:
    """Schedule along a half cosine from 1 to 0 after `steps`."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def fresh(info: ModelInfo, dataset: Dataset, params: dict[str, Any], seed: int, device: str) -> Classifier:
    """A new model with weights drawn from `seed`, the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = info.build(Facts.of(dataset), params)
    return model.to(device)


def train(
    info: ModelInfo,
    dataset: Dataset,
    params: dict[str, Any],
    ids: Sequence[int],
    seed: int,
    device: str,
    progress: Progress = silent,
    after_epoch: Callable[[Classifier], bool] | None = None,
) -> Classifier:
    """Train a fresh model on the instances `ids` with the recipe in `params`: the original, or a retrained one.

    The same seed gives the same weights on one device.
    """
    if info.train:
        return info.train(info, dataset, params, np.asarray(ids), seed, device, progress, after_epoch).to(device).eval()
    model = fresh(info, dataset, params, seed, device)
    x, y = tensors(dataset, device)
    rows = torch.as_tensor(np.asarray(ids), device=device)
    model.standardise.fit(x[rows])
    descend(
        model, x, y, rows,
        epochs=epochs_for(params, len(rows)), batch=params["batch"], lr=params["lr"], weight_decay=params["weight_decay"],
        seed=seed, progress=progress, after_epoch=after_epoch,
    )  # fmt: skip
    return model


def descend(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    ids: Tensor,
    *,
    epochs: int,
    batch: int,
    lr: float,
    weight_decay: float,
    seed: int,
    training_mode: bool = True,
    progress: Progress = silent,
    after_epoch: Callable[[Classifier], bool] | None = None,
) -> None:
    """Minimise the loss of the instances `ids` with AdamW, the learning rate falling along a half cosine."""
    generator = torch.Generator().manual_seed(seed)
    optimise(
        model,
        epochs,
        lambda epoch: ((b,) for b in batches(ids, batch, generator)),
        lambda b: loss(model(x[b]), y[b]),
        adamw(model, lr, weight_decay),
        schedule=cosine(epochs * (length := math.ceil(len(ids) / batch))),
        training_mode=training_mode,
        progress=progress,
        after_epoch=after_epoch,
        length=length,
    )


_TENSORS: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}


def tensors(dataset: Dataset, device: str) -> tuple[Tensor, Tensor]:
    """All inputs and targets on the device, as `objectives` reads them; the last two datasets stay there, so that feeding is indexing."""
    key = (dataset.hash, device)
    if key not in _TENSORS:
        while len(_TENSORS) > 1:
            _TENSORS.pop(next(iter(_TENSORS)))
        targets = dataset.labels if dataset.targets is None else dataset.targets
        _TENSORS[key] = (torch.as_tensor(dataset.values(), device=device), torch.as_tensor(targets, device=device))
    return _TENSORS[key]


def let_go() -> None:
    """Forget the data that `tensors` holds."""
    _TENSORS.clear()


class Rows:
    """One hidden layer's values [N, d] float32 of inputs, computed for the rows that are asked for."""

    def __init__(self, model: Classifier, name: str, inputs: Tensor, device: str, width: int):
        self.model, self.name, self.inputs, self.device, self.shape = model, name, inputs, device, (len(inputs), width)

    @torch.no_grad()
    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        self.model.eval()
        with threads(self.model):
            parts = self.inputs[torch.as_tensor(ids)].split(CHUNK)
            return torch.cat([self.model.layers(real(part.to(self.device)))[self.name].float().cpu() for part in parts]).numpy()


@torch.no_grad()
def read(model: Classifier, inputs: np.ndarray | Tensor, device: str, chunk: int = CHUNK) -> Outputs:
    """Logits and all named layers of `inputs` [N, *shape], in evaluation mode. Layers larger than KEPT are computed when asked for."""
    model.eval()
    inputs = torch.as_tensor(inputs)
    logits, layers, large = [], {name: [] for name in model.stages}, {}
    with threads(model):
        for part in inputs.split(chunk):
            found = model.layers(real(part.to(device)))
            logits.append(model.head(found["features"]).float().cpu())
            for name, value in found.items():
                if name != "features" and 4 * len(inputs) * value.shape[1] > KEPT:
                    large[name] = Rows(model, name, inputs, device, value.shape[1])
                else:
                    layers[name].append(value.float().cpu())
    kept = {name: large.get(name) or torch.cat(values).numpy() for name, values in layers.items()}
    return Outputs(torch.cat(logits).numpy(), kept)


@torch.no_grad()
def predict(model: Classifier, inputs: np.ndarray, device: str, chunk: int = CHUNK) -> np.ndarray:
    """Logits [N, C] of `inputs` [N, *shape], in evaluation mode."""
    model.eval()
    with threads(model):
        return torch.cat([model(real(part.to(device))).float().cpu() for part in torch.as_tensor(inputs).split(chunk)]).numpy()


def real(inputs: Tensor) -> Tensor:
    """Inputs in the units that a model sees: pixels kept as bytes in 0..1, numbers as float32, token ids as they are."""
    if inputs.dtype == torch.uint8:
        return inputs.float() / 255
    return inputs.float() if inputs.is_floating_point() else inputs


@torch.no_grad()
def mean_loss(model: Classifier, x: Tensor, y: Tensor, ids: Tensor, chunk: int = 8192) -> float:
    """Mean loss in nats over the instances `ids`, in evaluation mode."""
    model.eval()
    total = sum(loss(model(x[part]), y[part], "sum").item() for part in ids.split(chunk))
    return total / len(ids)


@torch.no_grad()
def accuracy(model: Classifier, x: Tensor, y: Tensor, ids: Tensor, chunk: int = 8192) -> float:
    """Share of the instances `ids` that are answered right, in evaluation mode; of numbers the share of the spread that is explained, 0 at least."""
    if y.is_floating_point():
        return max(0.0, 1 - 2 * mean_loss(model, x, y, ids, chunk))
    model.eval()
    return sum(right(model(x[part]), y[part]).sum().item() for part in ids.split(chunk)) / len(ids)
