"""Parameters that a forward multiplies and adds by itself: which of their dimensions are units."""

import torch
from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.numbers import collapsed


class LooseParameters:
    """The parameters outside known modules, and every tensor that is one of them with its entries moved about.

    A dimension gets units when the parameter meets a tensor that has them there. One that something unknown reads keeps
    all of its entries.

    Arguments:
        model: the unwrapped model.
        wiring: of it, with every known module; completed by `finish`.
    """

    def __init__(self, model: nn.Module, wiring: Wiring):
        self.wiring = wiring
        self.parameters: dict[str, nn.Parameter] = {}
        self.units: dict[str, dict[int, Tensor]] = {}
        self.read: dict[str, set[str]] = {}
        self.unknown: dict[str, str] = {}
        self._entries: dict[int, tuple[Tensor, str, Tensor]] = {}
        in_modules = {id(parameter) for parameter in wiring.parameters(model).values()}
        for name, parameter in model.named_parameters():
            if id(parameter) not in in_modules and not isinstance(parameter, nn.parameter.UninitializedParameter):
                self.parameters[name] = parameter
                self.follow(parameter, name, torch.arange(parameter.numel()).view(parameter.shape))

    def follow(self, tensor: Tensor, name: str, entries: Tensor) -> None:
        """From now on the tensor holds these entries of a parameter."""
        self._entries[id(tensor)] = (tensor, name, entries.expand(tensor.shape))

    def of(self, tensor: object) -> tuple[str, Tensor] | None:
        """The parameter that a tensor is made of, and which entries of it stand where."""
        _, name, entries = self._entries.get(id(tensor), (None, "", None))
        return None if entries is None else (name, entries)

    def is_matrix(self, tensor: object) -> bool:
        """Whether a tensor is made of a parameter with several dimensions."""
        part = self.of(tensor)
        return part is not None and self.parameters[part[0]].dim() > 1

    def leave(self, tensor: object, reason: str) -> None:
        """Something unknown reads the tensor."""
        if (part := self.of(tensor)) is not None:
            self.unknown.setdefault(part[0], reason)

    def runs_along(self, tensor: Tensor, place: int) -> int | None:
        """The dimension of the parameter that runs along one of the tensor's; None where that is not all of one."""
        name, entries = self._entries[id(tensor)][1:]
        whole, runs = collapsed(entries), None
        for dimension, coordinate in enumerate(torch.unravel_index(whole, self.parameters[name].shape)):
            along = collapsed(coordinate)
            if along.shape[place] > 1:
                others = [size for at, size in enumerate(along.shape) if at != place]
                complete = len(along.unique()) == self.parameters[name].shape[dimension]
                if runs is not None or not complete or any(size > 1 for size in others):
                    return None
                runs = dimension
        return runs

    def numbers(self, tensor: Tensor, place: int, weigh: bool = True) -> Tensor | None:
        """Unit numbers along one dimension of the tensor, of its size there; None where no dimension runs along it.

        Arguments:
            weigh: whether a unit whose entries are not all zero is another number than zero.
        """
        name, entries = self._entries[id(tensor)][1:]
        dimension = self.runs_along(tensor, place)
        if dimension is None:
            return None
        parameter = self.parameters[name]
        axes = self.units.setdefault(name, {})
        if dimension not in axes:
            axes[dimension] = self.wiring.units.fresh(parameter.shape[dimension])
        coordinates = torch.unravel_index(entries, parameter.shape)[dimension].movedim(place, -1)
        coordinates = coordinates.reshape(-1, coordinates.shape[-1])[0]
        units = axes[dimension][coordinates]
        if not weigh:
            return units
        others = [other for other in range(parameter.dim()) if other != dimension]
        heavy = (parameter.detach().cpu() != 0).permute(dimension, *others).reshape(len(axes[dimension]), -1).any(1)
        return torch.where(heavy[coordinates], -units, units)

    def reads(self, tensor: Tensor, source: int) -> None:
        """The parameter is a matrix that reads along one of the tensor's dimensions, and writes along another."""
        name = self._entries[id(tensor)][1]
        dims, place = self.parameters[name].dim(), self.runs_along(tensor, source)
        names = [f"axis_{place}" for place in range(dims)]
        if place is not None and dims > 1 and place >= dims - 2:
            arrow = "<-" if place == dims - 1 else "->"
            self.read.setdefault(name, set()).add(f"{' '.join(names[:-1])} {arrow} {names[-1]}")
        else:
            self.unknown.setdefault(name, "its dimensions stand in an order of their own")

    def finish(self) -> None:
        """Complete the wiring: weights for the parameters that have units, every other dimension being kept."""
        for name, axes in self.units.items():
            shape = self.parameters[name].shape
            names = [f"axis_{place}" for place in range(len(shape))]
            numbers: dict[str, Tensor] = {}
            for place, size in enumerate(shape):
                units = axes.get(place)
                numbers[names[place]] = self.wiring.units.fresh(size) if units is None else units
                if units is None or name in self.unknown:
                    reason = self.unknown.get(name, "it is no unit")
                    self.wiring.mark(numbers[names[place]], f"{reason} ({name})" if units is not None else reason)
            texts = sorted(self.read.get(name, ())) or [" ".join(names)]
            self.wiring.add_parameter(name, [Layout.parse(text) for text in texts], numbers)


def values_at(numbers: Tensor, place: int, dims: int) -> Tensor:
    """Numbers along one dimension as a shadow of that many dimensions."""
    return numbers.view([-1 if other == place else 1 for other in range(dims)])
