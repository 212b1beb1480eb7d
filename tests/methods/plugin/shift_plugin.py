"""The smallest plug-in: a package that declares one method and names it as an entry point of "unlearn_core.methods"."""

from unlearn_core.methods import Method, Task
from unlearn_core.params import Param


def run(task: Task):
    import torch

    with torch.no_grad():
        task.model.head.bias.add_(task.params["strength"])
    task.progress(1.0)
    return task.model


METHOD = Method(
    name="shift_bias",
    title="Shift of the biases",
    summary="Adds a constant to every bias of the head, which changes no prediction.",
    paper="None: an example of a plug-in.",
    goal="undo",
    needs=(),
    cost="none",
    limits="It forgets nothing.",
    version=1,
    run=run,
    params=(Param("strength", "float", 1.0, "What is added.", -10.0, 10.0),),
)
