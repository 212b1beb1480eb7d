"""Whether torch.compile and bfloat16 pay while training: `python tests/benchmarks/compiling.py [MODEL …]` prints a Markdown table.

One step is forward, loss, backward and AdamW, as in the training loop, on pictures, numbers or texts of a usual shape drawn at random
(what they show changes no time), without the time that other programs took. Compiling is the first two calls, by the clock on the wall, since
it waits for a compiler; it pays after so many steps.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F

from unlearn_core import models
from unlearn_core.models import training
from unlearn_core.models.base import Facts
from unlearn_core.models.device import settle, stopwatch
from unlearn_core.params import resolve

PICTURES, COLOUR, NUMBERS, TEXTS = Facts((1, 28, 28), 10), Facts((3, 32, 32), 10), Facts((64,), 10), Facts((64,), 2, vocabulary=20_000)
CASES = {
    "mlp": ("mlp", NUMBERS, {}),
    "cnn": ("cnn", PICTURES, {}),
    "resnet18": ("resnet18", COLOUR, {"width": 32}),
    "vit": ("vit", PICTURES, {}),
    "bag": ("bag", TEXTS, {}),
    "transformer": ("transformer", TEXTS, {}),
}
STEPS, SECONDS = 30, 6.0  # of one measurement, at most


def stepper(model, facts: Facts, batch: int, forward, device: str):
    """A function that takes one training step."""
    draw = np.random.default_rng(0)
    shape = (batch, *facts.shape)
    x = torch.as_tensor(
        draw.integers(1, facts.vocabulary, shape) if facts.vocabulary else draw.random(shape, dtype=np.float32), device=device
    )
    y = torch.as_tensor(draw.integers(0, facts.classes, batch), device=device)
    optimiser = training.adamw(model, 1e-3)

    def step() -> float:
        passed = stopwatch(device)
        with torch.autocast(device, torch.bfloat16, enabled=model.half_precision):
            loss = F.cross_entropy(forward(x), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return passed()

    return step


def pace(step) -> float:
    """Median seconds of a step."""
    step(), step()
    taken = []
    while len(taken) < STEPS and sum(taken) < SECONDS:
        taken.append(step())
    return statistics.median(taken)


def measure(name: str, facts: Facts, params: dict, device: str) -> str:
    info = models.info(name)
    complete = resolve(info.params, params, name)
    found = {}
    for precision in ("float32", "bfloat16") if "precision" in complete else ("float32",):
        own = complete | ({"precision": precision} if "precision" in complete else {})
        torch.manual_seed(0)
        model = info.build(facts, own).to(device).train()
        with training.threads(model):
            found[precision] = pace(stepper(model, facts, complete["batch"], model, device))
            torch._dynamo.reset()
            compiled = stepper(model, facts, complete["batch"], torch.compile(model), device)
            begun = time.perf_counter()
            compiled(), compiled()
            took = time.perf_counter() - begun
            found[f"{precision}, compiled"] = pace(compiled)
        found[f"{precision}, compiling"] = took
    cells = []
    for precision in ("float32", "bfloat16"):
        if precision not in found:
            cells += ["–"] * 4
            continue
        plain, fast, took = (found[precision + what] for what in ("", ", compiled", ", compiling"))
        steps = f"{took / (plain - fast):,.0f}" if fast < plain else "never"
        cells += [f"{1000 * plain:.2f}", f"{1000 * fast:.2f} ({plain / fast:.2f}×)", f"{took:.0f}", steps]
    return f"| {name} | {complete['batch']} | " + " | ".join(cells) + " |"


def main() -> None:
    settle()
    torch._inductor.config.force_disable_caches = True  # a person's first training finds nothing compiled
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    half = "step ms | compiled | compiling s | pays after steps"
    print(f"| model | batch | float32: {half} | bfloat16: {half} |\n|{'---|' * 10}")
    for case in sys.argv[1:] or CASES:
        print(measure(*CASES[case], device), flush=True)


if __name__ == "__main__":
    main()
