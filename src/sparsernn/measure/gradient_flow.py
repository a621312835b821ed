"""How much gradient reaches the weights that exist, and how much reaches each step back in time, on one batch."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State
from sparsernn.kernels.sequence import reference
from sparsernn.running.modules import Built
from sparsernn.running.runner import Place, running_by
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap

Loss = Callable[[], Tensor]


def effective_gradient_flow(
    model: nn.Module, loss: Loss, masks: Masks | Mapping[str, Tensor] | None = None
) -> dict[str, object]:
    """Norms of the gradient of the weights that exist: of the whole model, of each matrix and of each of its gates.

    EGF_p = (1 / L) sum over the L weight matrices of ||gradient * mask||_p. Gradients, weights and random state are
    left as they were.

    Arguments:
        loss: a zero-argument callable that returns the loss on one batch.
        masks: a `Masks`, or a dict name -> bool tensor; tensors not named are whole.
    Returns: {"effective_l1", "effective_l2": EGF_p, "total_l2": the norm of all of it together, "tensors": name ->
        {"l1", "l2", "kept", "mean_absolute", "gates": gate -> {"l1", "l2"}}}. JSON values.
    Raises: UserError for a loss without a gradient, or a model without a matrix that is trained.
    Source: Tessera et al. 2021 (effective gradient flow).
    Deviations: a layer is a weight matrix (a recurrent layer has several); vectors are left out.
    """
    inner = unwrap(model)
    kept = masks.kept if isinstance(masks, Masks) else masks or {}
    weights = {name: weight for name, weight in inner.named_parameters() if weight.dim() > 1 and weight.requires_grad}
    with torch.random.fork_rng(), torch.enable_grad():
        gradients = _gradients(_checked(loss()), weights)
    layouts = {name: weight.layout for name, weight in Wiring.local(inner).weights.items()}
    tensors = {}
    for name, gradient in gradients.items():
        mask = kept.get(name, torch.ones_like(gradient, dtype=torch.bool)).to(gradient.device)
        seen = torch.where(mask, gradient, 0)
        tensors[name] = _norms(seen) | {"kept": int(mask.sum())}
        tensors[name]["mean_absolute"] = tensors[name]["l1"] / max(tensors[name]["kept"], 1)
        layout = layouts.get(name)
        if layout is not None and "gate" in layout.stored:
            gates = zip(layout.gates, layout.view(seen), strict=True)
            tensors[name]["gates"] = {gate: _norms(part) for gate, part in gates}
    return {
        "effective_l1": sum(tensor["l1"] for tensor in tensors.values()) / len(tensors),
        "effective_l2": sum(tensor["l2"] for tensor in tensors.values()) / len(tensors),
        "total_l2": sum(tensor["l2"] ** 2 for tensor in tensors.values()) ** 0.5,
        "tensors": tensors,
    }


def gradient_over_time(model: nn.Module, loss: Loss) -> dict[str, list[float]]:
    """The norm of d loss / d h_t at every step t of every recurrent layer, over all sequences and units of the batch.

    The gradient counts every way from h_t to the loss, through later states too. Layers are run step by step.

    Arguments:
        loss: a zero-argument callable that returns the loss on one batch; each recurrent module runs once in it.
    Returns: "cell l0", "cell l0_reverse", ... -> one number a step, in the order of time; 0 where a sequence has
        ended. JSON values.
    Raises: UserError if the model has no cell of `sparsernn.cells`, or one that runs more than once; for a loss
        without a gradient.
    """
    norms_by_layer = {}
    for label, gradients in state_gradients(model, loss).items():
        norms_by_layer[label] = [float(gradient.norm()) for gradient in gradients]
    return norms_by_layer


def state_gradients(model: nn.Module, loss: Loss) -> dict[str, list[Tensor]]:
    """d loss / d h_t for every step, by layer, as `gradient_over_time` says, which gives their norms. [batch unit]"""
    watcher = Watcher({id(module): name for name, module in unwrap(model).named_modules() if isinstance(module, Built)})
    if not watcher.paths:
        raise UserError(
            "the model has no cell of this package",
            "at least one, whose steps can be watched",
            "use a cell of sparsernn.cells in the place of torch's layer: its weights have the same names",
        )
    with torch.random.fork_rng(), torch.enable_grad(), running_by(watcher):
        value = _checked(loss())
    watcher.check_all_ran()
    gradients_by_layer = {}
    for label, states in watcher.states.items():
        gradients_by_layer[label] = list(torch.autograd.grad(value, states, retain_graph=True, materialize_grads=True))
    return gradients_by_layer


class Watcher:
    """A runner that goes step by step and notes every hidden state, in the order of time.

    Attributes:
        paths: id of each watched module -> its name in the model.
        states: "cell l0", "cell l0_reverse", ... -> the states of that layer.
    """

    def __init__(self, paths: dict[int, str]):
        self.paths, self.states = paths, {}
        self.ran: dict[int, set[str]] = {}

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        if id(place.module) not in self.paths or not problem.cell.reads_state:
            return registry.run(problem)
        states: list[Tensor] = []

        def watch(state: State) -> State:
            hidden, *others = state
            states.append(hidden if hidden.requires_grad else hidden.requires_grad_())
            return hidden, *others

        label = next(iter(place.names.values())).rpartition("_l")[2]
        ran = self.ran.setdefault(id(place.module), set())
        if label in ran:
            raise UserError("a cell runs twice", "one run over one batch", "let the loss call the model once")
        ran.add(label)
        result = reference.run(problem, watch)
        name = f"{self.paths[id(place.module)]} l{label}".strip()
        self.states[name] = states[::-1] if "reverse" in label else states
        return result

    def check_all_ran(self) -> None:
        """Raises: UserError if a watched module took no step."""
        for number, name in self.paths.items():
            if number not in self.ran:
                raise UserError(
                    f"{name or 'the cell'} took no step",
                    "a loss that runs every cell, each of which goes from step to step",
                    "call the model in loss; a cell that computes all steps at once has none between states",
                )


def _checked(value: Tensor) -> Tensor:
    if not value.requires_grad or value.numel() != 1:
        raise UserError(
            f"the loss is {value.numel()} numbers, or has no gradient",
            "one number that the model computed",
            "pass loss=lambda: cross_entropy(model(x), y)",
        )
    return value


def _gradients(value: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not weights:
        raise UserError("no weight matrix is trained", "one with requires_grad", "unfreeze a part of the model")
    gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    named = zip(weights.items(), gradients, strict=True)
    return {name: torch.zeros_like(weight) if gradient is None else gradient for (name, weight), gradient in named}


def _norms(values: Tensor) -> dict[str, float]:
    return {"l1": float(values.abs().sum()), "l2": float(values.square().sum().sqrt())}
