"""What a network costs: weights, bytes, multiply-accumulates and FLOPs, matrix by matrix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsernn.errors import UserError
from sparsernn.running.automata import automata_figures
from sparsernn.running.modules import Built
from sparsernn.running.torch_layers import RUN_BY_US
from sparsernn.structure import budget
from sparsernn.structure.masks import Masks
from sparsernn.structure.modes import modes_kept
from sparsernn.typed import choose


@dataclass(frozen=True)
class Matrix:
    """One weight matrix, how much of it exists and how often it multiplies a vector.

    Arguments:
        name: the parameter's name.
        rows: size of what it makes.
        columns: size of what it reads.
        kept: weights that exist; None means all of them.
        executions: matrix-vector products per token; 0 for a look-up such as an embedding.
        bytes_per_number: size of one stored weight.
        gates: matrices of one shape that are stacked in it.
    """

    name: str
    rows: int
    columns: int
    kept: int | None = None
    executions: float = 1.0
    bytes_per_number: int = 4
    gates: int = 1

    @property
    def weights(self) -> int:
        return self.rows * self.columns

    @property
    def existing(self) -> int:
        return self.weights if self.kept is None else self.kept

    @property
    def layer(self) -> str:
        """`rnn.weight_hh_l1` belongs to `rnn l1`, `head.weight` to `head`."""
        module, _, parameter = self.name.rpartition(".")
        level = re.search(r"_(l\d+(?:_reverse)?)$", parameter)
        return " ".join(part for part in (module, level.group(1) if level else "") if part) or parameter


@dataclass(frozen=True)
class Cost:
    """The cost of some matrices and the vectors (biases, norms, diagonals) beside them.

    One multiply-accumulate is two FLOPs. Only matrix products count: gate arithmetic, softmax and vectors are
    left out. `embedding=True` counts a look-up as the product with a one-hot vector it stands for.

    Arguments:
        matrices: the weight matrices.
        vectors: numbers in each vector parameter, by name.
        vector_bytes: bytes of all vectors together.
    """

    matrices: tuple[Matrix, ...]
    vectors: Mapping[str, int] = field(default_factory=dict)
    vector_bytes: int | None = None

    @property
    def weights(self) -> int:
        return sum(matrix.weights for matrix in self.matrices)

    @property
    def kept(self) -> int:
        return sum(matrix.existing for matrix in self.matrices)

    @property
    def biases(self) -> int:
        return sum(self.vectors.values())

    @property
    def dense_bytes(self) -> int:
        """Bytes of all numbers in memory, absent ones included; what a network takes on disk is for a file to say."""
        return sum(matrix.weights * matrix.bytes_per_number for matrix in self.matrices) + self._vector_bytes

    @property
    def _vector_bytes(self) -> int:
        return 4 * self.biases if self.vector_bytes is None else self.vector_bytes

    def macs(self, embedding: bool = False) -> float:
        """Multiply-accumulates per token with the weights that exist."""
        return sum(matrix.existing * _executions(matrix, embedding) for matrix in self.matrices)

    def dense_macs(self, embedding: bool = False) -> float:
        """Multiply-accumulates per token if no weight were absent."""
        return sum(matrix.weights * _executions(matrix, embedding) for matrix in self.matrices)

    def flops(self, embedding: bool = False) -> float:
        return 2 * self.macs(embedding)

    def training_flops(self, embedding: bool = False) -> float:
        """FLOPs per token of a training step: forward, gradient of the inputs, gradient of the weights.

        With `embedding` the gradient of the weights, and only that, also counts the look-ups.
        """
        return 2 * self.flops() + self.flops(embedding)

    def by_layer(self) -> dict[str, Cost]:
        """The same, layer by layer, in the model's order."""
        matrices: dict[str, list[Matrix]] = {}
        vectors: dict[str, dict[str, int]] = {}
        for matrix in self.matrices:
            matrices.setdefault(matrix.layer, []).append(matrix)
        for name, count in self.vectors.items():
            vectors.setdefault(Matrix(name, 1, count).layer, {})[name] = count
        width = self._vector_bytes // max(self.biases, 1)
        layers = {}
        for name in dict.fromkeys([*matrices, *vectors]):
            counts = vectors.get(name, {})
            layers[name] = Cost(tuple(matrices.get(name, ())), counts, width * sum(counts.values()))
        return layers

    def numbers(self) -> dict[str, float]:
        """Everything as plain numbers, for a result file."""
        return {
            "weights": self.weights,
            "weights_kept": self.kept,
            "biases": self.biases,
            "dense_bytes": self.dense_bytes,
            "macs_per_token": self.macs(),
            "macs_per_token_with_embedding": self.macs(embedding=True),
            "dense_macs_per_token": self.dense_macs(),
            "flops_per_token": self.flops(),
            "training_flops_per_token": self.training_flops(),
        }


def _executions(matrix: Matrix, embedding: bool) -> float:
    return 1.0 if embedding and matrix.executions == 0 else matrix.executions


def count(model: nn.Module, masks: Masks | Mapping[str, Tensor] | None = None, example: tuple | None = None) -> Cost:
    """The cost of a model, with the weights that `masks` leaves.

    Every parameter of two or more dimensions multiplies one vector per token, an embedding's none. Give
    `example` (the arguments of one forward) and each module's products are counted as it runs instead: a head
    that reads only the last state of 100 steps then counts 1/100 per token. A tied weight is stored once.

    Arguments:
        model: any module.
        masks: a `Masks`, or a dict name -> bool tensor; tensors not named are whole.
        example: arguments of the model's forward; tokens are what its first recurrent module sees.
    Raises: UserError if a mask's shape is not its weight's, or the model has no parameter.
    """
    kept = Masks.of(masks or {}).kept
    uses = _measured_uses(model, example) if example is not None else None
    matrices: dict[int, Matrix] = {}
    vectors: dict[int, tuple[str, int, int]] = {}
    for name, owner, parameter in _parameters(model):
        existing = _existing(name, parameter, kept.get(name))
        if parameter.dim() < 2:
            vectors.setdefault(id(parameter), (name, existing, parameter.element_size()))
            continue
        times = 0.0 if isinstance(owner, nn.Embedding | nn.EmbeddingBag) else 1.0
        if uses is not None:
            times *= uses(name)
        rows, columns = parameter.shape[0], parameter[:1].numel()
        matrix = Matrix(name, rows, columns, existing, times, parameter.element_size())
        first = matrices.get(id(parameter), replace(matrix, executions=0.0))
        matrices[id(parameter)] = replace(first, executions=first.executions + times)
    if not matrices and not vectors:
        raise UserError(
            f"{type(model).__name__} has no parameter to count",
            "a module with weights",
            "count the float model, before it is quantized or exported",
        )
    return Cost(
        tuple(matrices.values()),
        {name: size for name, size, _ in vectors.values()},
        sum(size * width for _, size, width in vectors.values()),
    )


def own_figures(model: nn.Module) -> dict[str, int]:
    """What the model's cells say of themselves, added up: transitions and patterns of automata; {} for most cells."""
    total: Counter[str] = Counter()
    for module in model.modules():
        if isinstance(module, Built):
            total.update(automata_figures(module))
    return dict(total)


def _parameters(model: nn.Module) -> Iterable[tuple[str, nn.Module, Tensor]]:
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name, module, parameter


def _existing(name: str, parameter: Tensor, mask: Tensor | None) -> int:
    if mask is None:
        return parameter.numel()
    if mask.shape != parameter.shape:
        raise UserError(
            f"the mask of {name} has shape {tuple(mask.shape)}",
            f"the weight's shape {tuple(parameter.shape)}",
            "use the masks that belong to this model; compact returns those of the small one",
        )
    return int(mask.sum())


def _measured_uses(model: nn.Module, example: tuple) -> Callable[[str], float]:
    """Runs the example once; answers with the products per token of the module that owns a parameter."""
    rows: dict[str, float] = {}
    tokens: list[str] = []

    def watch(name: str, module: nn.Module) -> Callable:
        def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
            rows[name] = rows.get(name, 0.0) + _vectors(output)
            if _is_recurrent(module) and name not in tokens:
                tokens.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name, module)) for name, module in model.named_modules()]
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()(*example)
    finally:
        for handle in handles:
            handle.remove()
    total = rows[tokens[0]] if tokens else rows.get("", 1.0)

    def uses(parameter_name: str) -> float:
        owner = parameter_name.rpartition(".")[0]
        while owner and owner not in rows:
            owner = owner.rpartition(".")[0]
        return rows.get(owner, total) / total

    return uses


def _vectors(output: object) -> float:
    """How many vectors a module's output holds: its numbers over its last dimension."""
    while isinstance(output, tuple | list) and not isinstance(output, PackedSequence):
        output = output[0]
    tensor = output.data if isinstance(output, PackedSequence) else output
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a module gave {type(tensor).__name__} in the place of a tensor")
    return tensor.numel() / max(tensor.shape[-1], 1) if tensor.dim() else 1.0


def _is_recurrent(module: nn.Module) -> bool:
    """One of torch's or of this package's, or one of a user's own with weights that read a state."""
    names = [name for name, _ in module.named_parameters(recurse=False)]
    return isinstance(module, RUN_BY_US) or any(name.startswith("weight_hh") for name in names)


def sparse_step(sparse: float) -> float:
    """FLOPs of one training step whose forward and both gradients see only the kept weights."""
    return 3 * sparse


def rigl_step(sparse: float, dense: float, every: int) -> float:
    """Mean FLOPs of a step when every `every` + 1st also needs the gradient of absent weights.

    Source: Evci et al. 2020, appendix H.
    """
    if every < 1:
        raise UserError(f"every is {every}", "at least 1 step between rewirings", "give the method's own `every`")
    return (3 * sparse * every + 2 * sparse + dense) / (every + 1)


def snfs_step(sparse: float, dense: float) -> float:
    """FLOPs of a step that takes the gradient of every weight, absent or not (sparse momentum)."""
    return 2 * sparse + dense


def training_multiplier(
    cost: Cost, step_flops: Callable[[float, float], float] = lambda sparse, dense: sparse_step(sparse)
) -> float:
    """FLOPs of a training step with the weights that exist, over those of the dense network.

    Arguments:
        step_flops: as in `training_over_run`: `snfs_step`, or `functools.partial(rigl_step, every=1328)`.
    """
    dense = 2 * cost.dense_macs()
    return step_flops(cost.flops(), dense) / sparse_step(dense)


def average_over_steps(trajectory: Sequence[tuple[int, float]], steps: int) -> float:
    """The mean of a value that changes at some steps and holds in between.

    Arguments:
        trajectory: (step, value), in order of step; the first value also holds before its step.
        steps: length of the run.
    Raises: UserError if the trajectory is empty, out of order, or the run has no step.
    """
    starts = [step for step, _ in trajectory]
    if not starts or starts != sorted(starts) or steps < 1:
        raise UserError(
            f"a trajectory of {len(starts)} values over {steps} steps cannot be averaged",
            "at least one (step, value), in order of step, and at least one step",
            "read it from the run's metrics.jsonl",
        )
    ends = [*(min(step, steps) for step in starts[1:]), steps]
    begins = [0, *(min(step, steps) for step in starts[1:])]
    return sum((end - begin) * value for begin, end, (_, value) in zip(begins, ends, trajectory, strict=True)) / steps


def training_over_run(
    cost: Cost,
    trajectory: Sequence[tuple[int, float | Mapping[str, float]]],
    steps: int,
    step_flops: Callable[[float, float], float] = lambda sparse, dense: sparse_step(sparse),
) -> float:
    """Mean training FLOPs per token over a run whose sparsity changed.

    Arguments:
        cost: the model's cost; only its sizes and executions are used.
        trajectory: (step, sparsity) or (step, {matrix name: sparsity}), matrices not named being whole.
        steps: length of the run.
        step_flops: from the sparse and the dense forward FLOPs to those of a step, such as `snfs_step`.
    """
    dense = 2 * cost.dense_macs()
    points = []
    for step, sparsity in trajectory:
        zeros = _by_name(cost, sparsity)
        products = [matrix.weights * matrix.executions * (1 - zeros.get(matrix.name, 0.0)) for matrix in cost.matrices]
        sparse = 2 * sum(products)
        points.append((step, step_flops(sparse, dense)))
    return average_over_steps(points, steps)


def with_sparsity(cost: Cost, sparsity: Mapping[str, float] | float) -> Cost:
    """The same network with the given fraction of each matrix zero; matrices not named are whole."""
    zeros = _by_name(cost, sparsity)
    return _with_kept(cost, [round((1 - zeros.get(matrix.name, 0.0)) * matrix.weights) for matrix in cost.matrices])


def erdos_renyi(cost: Cost, sparsity: float) -> Cost:
    """The same network with the given fraction of all its weights zero, fewer of them in small matrices."""
    fans = [(matrix.columns, matrix.rows) for matrix in cost.matrices]
    return _with_kept(cost, budget.erdos_renyi(fans, sparsity))


def from_epsilon(cost: Cost, eps: float, per: str = "gate") -> Cost:
    """The same network in which every n_out x n_in matrix keeps eps (n_in + n_out) weights, at most all of them.

    Arguments:
        per: "gate" takes the matrices stacked in one tensor each by itself, "tensor" all as one.
    """
    choose("per", per, ("gate", "tensor"))
    stacked = [matrix.gates if per == "gate" else 1 for matrix in cost.matrices]
    fans = [(matrix.columns, matrix.rows // gates) for matrix, gates in zip(cost.matrices, stacked, strict=True)]
    kept = [gates * count for gates, count in zip(stacked, budget.from_epsilon(fans, eps), strict=True)]
    return _with_kept(cost, kept)


def _with_kept(cost: Cost, kept: Sequence[int]) -> Cost:
    pairs = zip(cost.matrices, kept, strict=True)
    return replace(cost, matrices=tuple(replace(matrix, kept=left) for matrix, left in pairs))


def _by_name(cost: Cost, sparsity: Mapping[str, float] | float) -> Mapping[str, float]:
    return (
        sparsity
        if isinstance(sparsity, Mapping)
        else dict.fromkeys((matrix.name for matrix in cost.matrices), sparsity)
    )
