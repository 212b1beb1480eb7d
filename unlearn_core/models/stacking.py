"""Several models of one architecture as one: parameters stacked along a first axis, one step for all of them.

`Dense` writes the gradient of linear layers and ReLU out as batched matrix products into buffers that are
used again; `Mapped` lets `torch.func` stack any other architecture. Both take the very batches that
`training.descend` would take and the optimiser that it would use. AdamW works element by element, so one
AdamW on stacked tensors is exactly one AdamW for each model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from unlearn_core.models import training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.objectives import loss

PADDING = -1


def kind(model: Classifier) -> type[Dense] | type[Mapped]:
    """What stacks models like this one. `Mapped` raises for layers that cannot be mapped, such as dropout."""
    return Dense if type(model) is Classifier and _linear_layers(model) is not None else Mapped


def descend(
    models: Sequence[Classifier],
    x: Tensor,
    y: Tensor,
    subsets: Sequence[Tensor],
    seeds: Sequence[int],
    *,
    epochs: int,
    batch: int,
    lr: float,
    weight_decay: float,
    progress: training.Progress = training.silent,
) -> None:
    """`training.descend` for each of `models` on its own `subsets[k]` with `seeds[k]`, all at once.

    The models change in place and end in evaluation mode; standardise is fitted before. All must need the
    same number of steps per epoch, for `Mapped` the same number of instances (else ValueError). `progress` is
    called before each step; what it raises ends the training and leaves the models as they were.
    """
    steps_per_epoch = -(-len(subsets[0]) // batch)
    if any(-(-len(ids) // batch) != steps_per_epoch or kind(models[0]) is Mapped and len(ids) != len(subsets[0]) for ids in subsets):
        raise ValueError("these subsets cannot share a stack")
    stack = kind(models[0])(models, x, y)
    optimiser = training.adamw(stack.parameters, lr, weight_decay)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    steps, step = epochs * steps_per_epoch, 0
    schedule = training.cosine(steps)
    for _ in range(epochs):
        for ids, padded in _batches(subsets, batch, generators):
            progress(step / steps)
            optimiser.param_groups[0]["lr"] = lr * schedule(step)
            stack.gradient(ids, padded)
            optimiser.step()
            step += 1
    stack.unstack()


def _batches(subsets: Sequence[Tensor], size: int, generators: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, bool]]:
    """One pass of every model over its own subset: ids [K, size or less], filled up with PADDING where one has fewer, and whether any has."""
    passes = [next(training.batches(ids, len(ids), generator)) for ids, generator in zip(subsets, generators, strict=True)]
    fewest, most = min(map(len, passes)), max(map(len, passes))
    for j, ids in enumerate(nn.utils.rnn.pad_sequence(passes, batch_first=True, padding_value=PADDING).split(size, dim=1)):
        yield ids, min((j + 1) * size, most) > fewest


class Mapped:
    """Any architecture, by `torch.func`: functional calls mapped over the stacked parameters and buffers.

    All rows of a batch must be real: a layer such as BatchNorm looks across them.
    """

    def __init__(self, models: Sequence[Classifier], x: Tensor, y: Tensor):
        self.models, self.x, self.y = models, x, y
        skeleton = copy.deepcopy(models[0]).to("meta").train()
        values, self.buffers = torch.func.stack_module_state(list(models))
        self.values = {name: nn.Parameter(value.detach()) for name, value in values.items()}
        self.parameters = nn.ParameterList(self.values.values())
        self.forward = torch.func.vmap(lambda values, buffers, inputs: torch.func.functional_call(skeleton, (values, buffers), (inputs,)))

    def gradient(self, ids: Tensor, padded: bool = False) -> None:
        """Leave the gradient of every model's mean loss over `ids` [K, B], all real, in the parameters."""
        flat = ids.flatten()
        logits = self.forward(self.values, self.buffers, self.x[flat].unflatten(0, ids.shape))
        for parameter in self.parameters:
            parameter.grad = None
        (loss(logits.flatten(0, 1), self.y[flat], "sum") / ids.shape[1]).backward()

    @torch.no_grad()
    def unstack(self) -> None:
        """Give every model its own weights and buffers."""
        for k, model in enumerate(self.models):
            model.load_state_dict({name: value[k] for name, value in {**self.values, **self.buffers}.items()})
            model.eval()


def _linear_layers(model: Classifier) -> list[tuple[nn.Linear, bool]] | None:
    """(layer, followed by ReLU?), first to last, if the model is nothing but such layers on flattened inputs."""
    leaves = [m for part in (*model.stages.values(), model.head) for m in part.modules() if type(m) is not nn.Sequential]
    found: list[tuple[nn.Linear, bool]] = []
    for leaf in leaves:
        if type(leaf) is nn.Linear and leaf.bias is not None:
            found.append((leaf, False))
        elif type(leaf) is nn.ReLU and found:
            found[-1] = (found[-1][0], True)
        elif type(leaf) is not nn.Flatten or (leaf.start_dim, leaf.end_dim) != (1, -1):
            return None
    return found if found and found[-1] == (model.head, False) else None


class Dense:
    """Linear layers and ReLU on flattened inputs; fewer instances than the widest batch are allowed.

    Autograd would need about twice the time here: it copies transposed gradients and allocates at every step.
    """

    @torch.no_grad()
    def __init__(self, models: Sequence[Classifier], x: Tensor, y: Tensor):
        self.models, self.x, self.y = models, x.flatten(1), y
        self.mean, self.scale = (
            torch.stack([getattr(m.standardise, name).expand(x.shape[1:]).flatten() for m in models])[:, None] for name in ("mean", "scale")
        )
        layers = [_linear_layers(model) for model in models]
        self.relu = [relu for _, relu in layers[0]]
        stacked = [
            torch.stack(same)
            for same in zip(*([p for layer, _ in found for p in (layer.weight, layer.bias)] for found in layers), strict=True)
        ]
        flat = nn.Parameter(torch.cat([value.flatten() for value in stacked]))
        flat.grad = torch.empty_like(flat)
        self.parameters = nn.ParameterList([flat])  # one tensor, so that a step of the optimiser is one call
        values, slopes = (
            [part.view_as(value) for part, value in zip(whole.split([v.numel() for v in stacked]), stacked, strict=True)]
            for whole in (flat.detach(), flat.grad)
        )
        self.weights, self.biases = values[::2], values[1::2]
        self.weight_slopes, self.bias_slopes = slopes[::2], slopes[1::2]
        self.classes = torch.arange(self.biases[-1].shape[1], device=x.device)[:, None]
        self.buffers: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def _buffers(self, b: int) -> tuple[list[Tensor], list[Tensor]]:
        """Activations and their gradients [K, b, width] of the hidden layers, then of the logits [K, C, b]."""
        if b not in self.buffers:
            shapes = [(len(self.models), b, weight.shape[1]) for weight in self.weights[:-1]] + [(len(self.models), len(self.classes), b)]
            self.buffers[b] = tuple([self.mean.new_empty(shape) for shape in shapes] for _ in range(2))
        return self.buffers[b]

    @torch.no_grad()
    def gradient(self, ids: Tensor, padded: bool = False) -> None:
        """Leave the gradient of every model's mean loss over its `ids` [K, B] in the parameter; padded: some are PADDING."""
        flat = (ids.clamp(min=0) if padded else ids).flatten()
        values, slopes = self._buffers(ids.shape[1])
        inputs = self.x.index_select(0, flat).unflatten(0, ids.shape)
        inputs = inputs.sub_(self.mean).div_(self.scale)
        h = [inputs, *values[:-1]]
        last = len(self.weights) - 1
        for j, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            torch.baddbmm(bias[:, None], h[j], weight.mT, out=h[j + 1])
            if self.relu[j]:
                h[j + 1].relu_()
        # Classes before instances: softmax over a short last axis is slow on a CPU.
        torch.baddbmm(self.biases[-1][..., None], self.weights[-1], h[-1].mT, out=values[-1])
        slope = self._slope(values[-1], self.y[flat].unflatten(0, ids.shape), slopes[-1])
        if padded:
            real = (ids != PADDING).to(slope.dtype)
            slope.mul_((real / real.sum(1, keepdim=True))[:, None])
        else:
            slope.div_(ids.shape[1])
        slope = slope.mT
        for j in range(last, -1, -1):
            torch.bmm(slope.mT, h[j], out=self.weight_slopes[j])
            torch.sum(slope, 1, out=self.bias_slopes[j])
            if j:
                slope = torch.bmm(slope, self.weights[j], out=slopes[j - 1])
                if self.relu[j - 1]:
                    torch.ops.aten.threshold_backward.grad_input(slope, h[j], 0, grad_input=slope)

    def _slope(self, answers: Tensor, targets: Tensor, out: Tensor) -> Tensor:
        """The slope of `objectives.loss` in answers [K, C, b], before it is divided by b. targets: [K, b] classes, [K, b, C] labels or numbers."""
        if targets.dim() == 2:
            slope = torch.softmax(answers, 1, out=out)
            return slope.sub_((targets[:, None] == self.classes).to(slope.dtype))
        slope = torch.sigmoid(answers, out=out) if targets.dtype == torch.bool else out.copy_(answers)
        return slope.sub_(targets.mT.to(slope.dtype))

    @torch.no_grad()
    def unstack(self) -> None:
        """Give every model its own weights."""
        for k, model in enumerate(self.models):
            for j, (layer, _) in enumerate(_linear_layers(model)):
                layer.weight.copy_(self.weights[j][k])
                layer.bias.copy_(self.biases[j][k])
            model.eval()
