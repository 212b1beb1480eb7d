"""Machine unlearning with honest evidence, usable without any interface.

>>> import unlearn_core as uc
>>> run = uc.run(dataset="digits", model="mlp", forget="random:0.03", method="nabla_tau")
>>> run.measure("utility.accuracy.forget")
"""

import os

__version__ = "0.1.0"

# Read when torch is loaded. Threads that spin while they wait for each other stall as soon as another program needs a core: with a busy
# machine one epoch of a convolutional network took ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str):
    # Loaded on first use: importing the package must stay cheap for the command line and the pages.
    if name in {"run", "Run", "RunSpec", "Store"}:
        from unlearn_core.runs import api

        return getattr(api, name)
    raise AttributeError(f"module 'unlearn_core' has no attribute {name!r}")
