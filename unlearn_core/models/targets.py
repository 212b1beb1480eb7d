"""What a model that never saw some instances would say of them, from two models that are quick to fit on all the others."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from torch import Tensor

from unlearn_core.models import training
from unlearn_core.models.classifier import Classifier

WIDTH, RIDGE = 2.0, 0.1  # of the kernel, in median distances; of its regression
MOST = 2000  # instances that the kernel is fitted on; its cost grows with their cube
SAMPLE = 128  # of them for the median distance
BATCH, LR, WEIGHT_DECAY = 64, 8e-3, 0.01  # of the draft, which is short and so takes long steps
STEPS, LEAST_PASSES = 72, 3  # fewer than a tenth of the steps that the usual recipe takes on small data


def passes_for(retain: int) -> int:
    """Passes of the draft over the retain set: as many as STEPS steps need, at least LEAST_PASSES."""
    return max(LEAST_PASSES, round(STEPS / -(-retain // BATCH)))


def unseen(
    model: Classifier,
    new: Classifier,
    x: Tensor,
    y: Tensor,
    retain: Tensor,
    forget: Tensor,
    heldout: Tensor,
    seed: int,
    progress: training.Progress = training.silent,
) -> tuple[Tensor, tuple[float, float]]:
    """Log-probabilities [|forget|, C] of the forgotten instances, and the weights that the draft and the kernel got.

    Both are fitted on the retain set alone, so they miss all forgotten instances together, as a retrained model does: a `draft`, for which
    `new` with its fresh weights is trained briefly, and ridge regression with a Laplace `kernel`. Their scores are stacked: the weights, not
    negative, are those that come closest to the logits of `model` on held-out instances, which none of the three has seen (stacked regressions,
    Breiman 1996).
    """
    draft(new, x, y, retain, seed, progress)
    fitted = retain
    if len(fitted) > MOST:
        fitted = next(training.batches(fitted, MOST, torch.Generator().manual_seed(seed)))
    asked = torch.cat([forget, heldout])
    with training.threads(model), torch.no_grad():
        answers = _centred(model.eval()(x[heldout]))
        scores = [new(x[asked]), kernel(rows(new, x[fitted]), y[fitted], rows(new, x[asked]), answers.shape[1])]
    scores = [_centred(score) for score in scores]
    weights = stack([score[len(forget) :] for score in scores], answers)
    mixed = sum(weight * score[: len(forget)] for weight, score in zip(weights, scores, strict=True))
    return F.log_softmax(mixed, dim=1), weights


def draft(new: Classifier, x: Tensor, y: Tensor, retain: Tensor, seed: int, progress: training.Progress = training.silent) -> None:
    """Train `new` on the retain set for fewer than a tenth of the usual steps, or a few passes, in place."""
    new.standardise.fit(x[retain])
    training.descend(
        new, x, y, retain, epochs=passes_for(len(retain)), batch=BATCH, lr=LR, weight_decay=WEIGHT_DECAY, seed=seed, progress=progress
    )


def rows(model: Classifier, x: Tensor) -> Tensor:
    """Inputs [N, *shape] as rows of numbers that have a distance: standardised, or the first layer of `model` for words and categories."""
    if model.standardise.tokens or model.standardise.codes:
        return next(iter(model.layers(x).values()))
    return model.standardise(x).flatten(1)


def kernel(fitted: Tensor, labels: Tensor, asked: Tensor, classes: int) -> Tensor:
    """Scores [M, C] for rows `asked` [M, d] of ridge regression of one-hot `labels` [N] on rows `fitted` [N, d], without the labels' mean.

    k(a, b) = exp(−‖a − b‖ / h), h being WIDTH median distances: close to the kernel of wide ReLU networks (Geifman et al., arXiv 2007.01580).
    """
    wanted = F.one_hot(labels, classes).to(fitted.dtype)
    mean = wanted.mean(dim=0)
    between = torch.cdist(fitted, fitted)
    width = (WIDTH * between[:SAMPLE].median()).clamp(min=1e-12)
    factor = torch.linalg.cholesky((-between / width).exp() + RIDGE * torch.eye(len(fitted), dtype=fitted.dtype, device=fitted.device))
    return mean + (-torch.cdist(asked, fitted) / width).exp() @ torch.cholesky_solve(wanted - mean, factor)


def stack(scores: list[Tensor], answers: Tensor) -> tuple[float, ...]:
    """Weights, none negative, with which the sum of `scores` comes closest to `answers`, all [M, C] and centred."""
    columns = np.stack([score.flatten().double().cpu().numpy() for score in scores], axis=1)
    return tuple(nnls(columns, answers.flatten().double().cpu().numpy())[0].tolist())


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(dim=1, keepdim=True)
