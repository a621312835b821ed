"""What value a weight has that has just grown."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.methods.run import Run
from sparsernn.structure.choice import count
from sparsernn.structure.zeroing import zero_absent_

BIRTHS = ("zero", "keep", "initial")
SAMPLE = 4096


def samples_of(run: Run, birth: str, names: Sequence[str]) -> dict[str, Tensor]:
    """Some of the values that tensors begin with, for births that take such a one."""
    samples = {}
    for name in names if birth == "initial" else ():
        values = run.weights[name].detach().reshape(-1)
        samples[name] = values[:: -(-len(values) // SAMPLE)].clone()
    return samples


def welcome(
    run: Run, name: str, birth: str, samples: dict[str, Tensor], before: Tensor, survived: Tensor
) -> tuple[int, int]:
    """Give the new weights of a tensor their values; the optimizer forgets them and the dead. How many of each.

    Arguments:
        birth: "keep": a weight dropped and grown at once keeps its value; "initial": a random one of the samples.
        before: the mask before the event; survived: what was not dropped.
    """
    now, parameter = run.agree_(run.masks.kept[name]), run.model.get_parameter(name)
    born, died = now & ~before, before & ~now
    new = born if birth == "keep" else now & ~survived
    zero_absent_(parameter.data, ~new)
    if birth == "initial":
        places = torch.randint(len(samples[name]), (count(new),), generator=run.generator)
        parameter.data[new] = samples[name][places.to(samples[name].device)].to(parameter.device)
    run.forget(name, new | died)
    return count(born), count(died)
