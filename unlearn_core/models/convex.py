"""One-vs-rest logistic regression solved to its only minimum, with random noise in the objective (Guo et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unlearn_core.models.base import Facts, ModelInfo
from unlearn_core.params import Param

if TYPE_CHECKING:
    import numpy as np

    from unlearn_core.data.base import Dataset
    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.training import Progress


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    """Features are the inputs at length 1, answers log σ(wᵀx) of every class, so that softmax gives σ/Σσ as one-vs-rest models do.

    Buffers travel with the weights: noise b [C, d], penalty λ, sigma, and beta [C], the bound on each head's gradient norm.
    """
    import torch
    from torch import nn

    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.columns import flat
    from unlearn_core.models.one_vs_rest import UnitLength

    classes, (inputs, count) = facts.classes, flat(facts, learned=False)
    width = count + 1
    model = Classifier(
        facts, {"features": nn.Sequential(inputs, UnitLength())}, nn.Sequential(nn.Linear(width, classes, bias=False), nn.LogSigmoid())
    )
    model.register_buffer("noise", params["noise"] * torch.randn(classes, width))
    model.register_buffer("penalty", torch.tensor(params["penalty"], dtype=torch.float64))
    model.register_buffer("sigma", torch.tensor(params["noise"], dtype=torch.float64))
    model.register_buffer("beta", torch.zeros(classes, dtype=torch.float64))
    return model


def train(
    info: ModelInfo,
    dataset: Dataset,
    params: dict[str, Any],
    ids: np.ndarray,
    seed: int,
    device: str,
    progress: Progress,
    after_epoch: Callable[[Classifier], bool] | None,
) -> Classifier:
    """The minimum on the instances `ids`; the noise is drawn from `seed`."""
    import torch

    from unlearn_core.models import one_vs_rest, training

    model = training.fresh(info, dataset, params, seed, device)
    x, y = training.tensors(dataset, device)
    if params["scaling"] == "validation" or (params["scaling"] == "auto" and dataset.modality == "tabular"):
        # Statistics of what the model learns would remember deleted instances; nobody can ask to delete a validation instance.
        model.standardise.fit(x[torch.as_tensor(dataset.splits.tuning, device=device)])
    rows = torch.as_tensor(ids, device=device)
    one_vs_rest.fit(model, x[rows], y[rows], progress, after_epoch)
    return model


MODEL = ModelInfo(
    name="convex",
    title="Convex regression with noise",
    description="One logistic regression per class, solved to its only minimum, with random noise in what it minimises: what certified removal needs.",
    modalities=("points", "tabular", "image"),
    build=build,
    train=train,
    tasks=("classes",),
    params=(
        Param(
            "penalty",
            "float",
            3e-3,
            "λ, the L2 penalty per instance. More makes each instance matter less, and the model blunter.",
            1e-6,
            1.0,
        ),
        Param(
            "noise",
            "float",
            1.0,
            "σ, the spread of the noise. More allows more removals before the budget is spent, and costs accuracy.",
            0.0,
            1e3,
        ),
        Param(
            "scaling",
            "choice",
            "auto",
            "Whether features are standardised by statistics of the validation instances, which nobody can ask to forget, or not at all. auto does so for tables.",
            choices=("auto", "validation", "none"),
            advanced=True,
        ),
    ),
    order=4,
    withheld=("noise",),  # a certificate holds towards people who do not know it
)
