"""Weights that are drawn for one forward, and take the place of a model's parameters during it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.choice import count
from sparsernn.structure.masks import Masks


class Drawing:
    """Draws weights and puts them where parameters are, in every module that uses such a parameter, and back.

    Arguments:
        model: the unwrapped module.
        masks: where weights are absent drawn ones are zero.
        source: draws weights, by name; None for none.
    """

    def __init__(self, model: nn.Module, masks: Masks, source: Callable[[], Mapping[str, Tensor] | None]):
        self.model, self.masks, self.source = model, masks, source
        self._replaced: list[tuple[nn.Module, str, nn.Parameter]] = []

    def draw(self) -> dict[str, Tensor]:
        """New weights. Raises: UserError if one does not fit the parameter of its name."""
        weights = dict(self.source() or {})
        parameters = dict(self.model.named_parameters())
        for name, weight in weights.items():
            if name not in parameters or weight.shape != parameters[name].shape:
                raise UserError(
                    f"the method draws {name} of shape {tuple(weight.shape)}",
                    "a weight of this model in its own shape",
                    "let before_forward return names and shapes of run.weights",
                )
            kept = self.masks.kept.get(name)
            if kept is not None and count(kept) < kept.numel():
                weights[name] = weight.masked_fill(~kept, 0)
        return weights

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """From now on the model computes with these weights."""
        drawn = {id(self.model.get_parameter(name)): weight for name, weight in weights.items()}
        for module in self.model.modules() if drawn else ():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None and id(parameter) in drawn:
                    self._replaced.append((module, name, parameter))
                    # nn.Module's own assignment takes nothing but parameters in such a place.
                    module._parameters[name] = drawn[id(parameter)]  # type: ignore[assignment]

    def put_back(self) -> None:
        """The model computes with its parameters again."""
        for module, name, parameter in self._replaced:
            setattr(module, name, parameter)
        self._replaced = []
