"""Curvature of the loss in some of a model's weights: products, and damped inverses applied to a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, jvp, vjp, vmap

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier

Product = Callable[[Tensor], Tensor]

EXHAUSTED = 1e-7  # of the largest curvature met: b lies in the space already searched
EVERY = 4  # steps between looks at the residual


class Weights:
    """The weights of a model that a step may change, as one vector; the model itself stays as it is.

    names: parameters in the order of the vector; [P] in the precision of the model. Evaluation mode, so that instances do not look at each other.
    """

    def __init__(self, model: Classifier, names: Sequence[str] | None = None):
        self.model = model.eval()
        self.names = [name for name, _ in model.named_parameters() if names is None or name in names]
        self.rest = {name: value.detach() for name, value in model.state_dict().items()}
        self.vector = torch.cat([self.rest[name].flatten() for name in self.names])

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """name → the part of `vector` [P] in that parameter's shape."""
        shapes = [self.rest[name].shape for name in self.names]
        parts = vector.split([shape.numel() for shape in shapes])
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, shapes, strict=True)}

    def logits(self, vector: Tensor, x: Tensor) -> Tensor:
        """What the model answers [N, C] with the weights `vector`."""
        return functional_call(self.model, self.rest | self.split(vector), (x,))

    def loss(self, vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Summed cross-entropy in nats."""
        return F.cross_entropy(self.logits(vector, x), y, reduction="sum")

    @torch.no_grad()
    def place(self, vector: Tensor) -> None:
        """Give the model these weights."""
        for name, part in self.split(vector).items():
            self.model.get_parameter(name).copy_(part)


def gradient(weights: Weights, x: Tensor, y: Tensor, chunk: int = 1024) -> Tensor:
    """Gradient [P] of the summed cross-entropy."""
    parts = zip(x.split(chunk), y.split(chunk), strict=True)
    return sum(grad(weights.loss)(weights.vector, *part) for part in parts)


def gradients(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each instance's own cross-entropy, [N, P]."""
    one = grad(lambda vector, x, y: weights.loss(vector, x[None], y[None]))
    return vmap(one, (None, 0, 0))(weights.vector, x, y)


def gauss_newton(weights: Weights, x: Tensor, chunk: int = 1024) -> Product:
    """v ↦ Gv, with G the mean over instances of Jᵀ(diag p − ppᵀ)J: the Hessian of cross-entropy without the curvature of the logits.

    Positive semi-definite wherever the model stands, which conjugate gradients need and the Hessian is not; the same as the Hessian for models
    that are linear in their weights, and as the Fisher information with labels drawn from the model (Martens 2020, arXiv 1412.1193, §9).
    """
    kept = []
    for part in x.split(chunk):
        answer = lambda vector, part=part: weights.logits(vector, part)  # noqa: E731
        logits, back = vjp(answer, weights.vector)
        kept.append((answer, back, logits.softmax(1)))

    def product(v: Tensor) -> Tensor:
        total = torch.zeros_like(v)
        for answer, back, p in kept:
            moved = jvp(answer, (weights.vector,), (v,))[1]
            total += back(p * (moved - (p * moved).sum(1, keepdim=True)))[0]
        return total / len(x)

    return product


class ConjugateGradient:
    """Conjugate gradients for (A + damping·I)s = b with every damping at once, in their Lanczos form.

    The search space span{b, Ab, …} is the same for all dampings: with its orthonormal basis Q and T = QᵀAQ, conjugate gradients stop at
    s = ‖b‖·Q(T + damping·I)⁻¹e₁ (Golub and Van Loan, Matrix Computations, §11.3). A [P, P] must be positive semi-definite; `product` is v ↦ Av.
    Ends after `steps`, or once the relative residual for the damping `until` is below `tolerance`.
    """

    def __init__(
        self,
        product: Product,
        b: Tensor,
        steps: int,
        until: float,
        tolerance: float = 1e-2,
        progress: Callable[[float], None] | None = None,
    ):
        self.norm = b.norm()
        basis, diagonal, beside = [b / self.norm], [], []
        while True:
            v = product(basis[-1])
            diagonal.append(torch.dot(v, basis[-1]).item())
            so_far = torch.stack(basis)
            for _ in range(2):  # once is not enough: rounding brings directions back that were used before
                v = v - so_far.T @ (so_far @ v)
            beside.append(v.norm().item())
            self.basis = so_far
            self.t = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
            off = torch.tensor(beside[:-1], dtype=torch.float64)
            self.t += torch.diag(off, 1) + torch.diag(off, -1)
            self.next = beside[-1]
            if progress:
                progress(len(basis) / steps)
            ended = len(basis) == min(steps, len(b)) or self.next <= EXHAUSTED * max(diagonal)
            if ended or (len(basis) % EVERY == 0 and self.residual(until) < tolerance):
                break
            basis.append(v / self.next)

    def _coefficients(self, damping: float) -> Tensor:
        e = torch.eye(len(self.t), dtype=torch.float64)
        return torch.linalg.solve(self.t + damping * e, e[0])

    def residual(self, damping: float) -> float:
        """‖b − (A + damping·I)s‖ / ‖b‖ of the solution."""
        return abs(self.next * self._coefficients(damping)[-1].item())

    def solve(self, damping: float) -> Tensor:
        """The solution s [P]."""
        return self.norm * (self._coefficients(damping).to(self.basis) @ self.basis)


def woodfisher(rows: Tensor, b: Tensor) -> Callable[[float], Tensor]:
    """damping ↦ (damping·I + 1/N Σ gⱼgⱼᵀ)⁻¹b for the gradients gⱼ in `rows` [N, P]: the empirical Fisher information.

    WoodFisher (Singh and Alistarh 2020, arXiv 2004.14340, eq. 3) adds the N terms one by one, F⁻¹ ← F⁻¹ − F⁻¹ggᵀF⁻¹ / (N + gᵀF⁻¹g); this is the
    same recursion taken to its end at once (Woodbury's identity), which needs the [N, N] inner products only and serves every damping.
    """
    count, inside, along = len(rows), (rows @ rows.T).double(), (rows @ b).double()
    eye = torch.eye(count, dtype=torch.float64, device=rows.device)

    def solve(damping: float) -> Tensor:
        weights = torch.linalg.solve(inside + count * damping * eye, along)
        return (b - rows.T @ weights.to(rows)) / damping

    return solve
