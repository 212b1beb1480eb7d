"""Training that bounds what any one instance can add to the weights: clipped gradients with noise, and the ε that they spend.

DP-SGD (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1): clipping, noise and the accountant are Opacus's, the gradients of single instances
torch.func's, because Opacus's own layers do not take evaluation mode, in which BatchNorm statistics stay.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
import torch.nn.functional as F
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.func import functional_call, vmap

from unlearn_core.models.classifier import Classifier
from unlearn_core.models.training import Progress, cosine, optimise, silent
from unlearn_core.seeds import derive

ORDERS = (1.25, 1.5, 1.75, 2.25, 2.5, 2.75, 3.5, 4.5, *range(2, 33), *range(36, 65, 4), *range(80, 513, 16))  # of the Rényi divergence
AT_ONCE = 2**24  # numbers that the gradients of single instances may take in memory
TOLERANCE = 0.01  # of ε


def rate(batch: int, instances: int) -> float:
    """The probability with which each instance takes part in a step, for `batch` instances a step on average."""
    return min(batch / instances, 1.0)


def count(epochs: int, batch: int, instances: int) -> int:
    """Steps in `epochs` passes; a pass is as many steps as see every instance once on average, rounded up."""
    return epochs * math.ceil(instances / batch)


def spent(noise: float, sampled: float, steps: int, delta: float) -> float:
    """ε of `steps` steps in which each instance takes part with probability `sampled`; noise: σ in units of the clipping norm.

    Rényi divergences of the sampled Gaussian mechanism (Mironov et al. 2019, arXiv 1908.10530, §3.3), turned into (ε, δ) by Balle et al. 2020
    (arXiv 1905.09982, Theorem 21). It counts the adding or removing of one instance, the number of instances itself being known. ∞ without noise.
    """
    accountant = RDPAccountant()
    accountant.history = [(noise, sampled, steps)]
    return accountant.get_epsilon(delta, alphas=ORDERS) if noise else math.inf


@cache
def noise_for(epsilon: float, sampled: float, steps: int, delta: float) -> float:
    """The least noise σ, to a hundredth of ε, with which `steps` steps spend at most `epsilon`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its way the search tries noise for which none of ORDERS is the best
        return get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=sampled,
            steps=steps,
            epsilon_tolerance=TOLERANCE * epsilon,
            alphas=ORDERS,
        )


def descend(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    ids: Tensor,
    *,
    epochs: int,
    batch: int,
    lr: float,
    clip: float,
    noise: float,
    seed: int,
    progress: Progress = silent,
    after_epoch: Callable[[Classifier], bool] | None = None,
) -> None:
    """Minimise cross-entropy on the instances `ids` by steps of −lr/L·(Σᵢ gᵢ·min(1, clip/‖gᵢ‖) + N(0, (noise·clip)²)), in evaluation mode.

    gᵢ: gradient of instance i in the parameters that require one; every instance takes part in a step by a coin of its own (so some steps may
    see none), and L is how many do on average. lr falls along a half cosine. `after_epoch` must not decide by the data when to stop, or `spent`
    no longer counts everything.
    """
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sampled, steps = rate(batch, len(ids)), count(epochs, batch, len(ids))
    coins = torch.Generator().manual_seed(seed)
    optimiser = DPOptimizer(
        torch.optim.SGD(own.values(), lr=lr),
        noise_multiplier=noise, max_grad_norm=clip, expected_batch_size=sampled * len(ids),
        generator=torch.Generator(x.device).manual_seed(derive("noise", seed)),  # of another stream than the coins, or it would tell them
    )  # fmt: skip
    together = max(1, AT_ONCE // sum(p.numel() for p in own.values()))
    taken = 0

    def feed(epoch: int) -> Iterator[tuple[Tensor]]:
        nonlocal taken
        for _ in range(steps // epochs):
            *first, last = ids[(torch.rand(len(ids), generator=coins) < sampled).to(ids.device)].split(together)
            for part in first:
                optimiser.signal_skip_step(True)
                yield (part,)
            optimiser.signal_skip_step(False)
            yield (last,)
            taken += 1

    def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    def loss(rows: Tensor) -> Tensor:
        # Each instance gets weights of its own to be differentiated in; what arrives there is where the optimiser looks for it.
        copies = {name: p.detach().expand(len(rows), *p.shape).requires_grad_() for name, p in own.items()}
        for name, copy in copies.items():
            copy.register_hook(partial(_keep, own[name]))
        if not len(rows):
            return sum(copy.sum() for copy in copies.values())
        return vmap(one)(copies, x[rows], y[rows]).mean()

    fused = torch.backends.mha.get_fastpath_enabled()
    # Attention's shortcut in evaluation mode has no gradient, and vmap hides that one is wanted.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        optimise(
            model, epochs, feed, loss, optimiser,
            schedule=lambda _: cosine(steps)(taken),
            training_mode=False,
            progress=progress,
            after_epoch=after_epoch,
        )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    for p in own.values():
        del p.grad_sample, p.summed_grad


def _keep(parameter: Tensor, gradients: Tensor) -> None:
    parameter.grad_sample = gradients * len(gradients)  # of a mean
