"""A row that begins with another row's trained weights and zeros."""

from dataclasses import dataclass, replace

from torch import nn

from sparsernn.errors import UserError
from sparsernn.experiments.rows import Prepared, RowSource, Runs
from sparsernn.methods.static import Static


@dataclass(frozen=True)
class Start(RowSource):
    """Begin with the trained weights and zeros of another row; without a method its zeros stay.

    Arguments:
        row: its name.
    """

    decides = "first weights"

    def describe(self) -> str:
        return f"from {self.row}"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        prepared, network = begun(prepared, self.row, runs)
        prepared.network.load_state_dict(network.state_dict())
        return prepared


def begun(prepared: Prepared, name: str, runs: Runs) -> tuple[Prepared, nn.Module]:
    """The row, keeping the zeros of the row `name` where it has no method, and that row's network.

    Raises: UserError where the networks' weights have other names or shapes.
    """
    network, masks = runs.network(name, prepared.row.settings.seed)
    shapes = [
        {key: tuple(value.shape) for key, value in each.state_dict().items()} for each in (network, prepared.network)
    ]
    differing = [key for key in sorted(shapes[0].keys() | shapes[1].keys()) if shapes[0].get(key) != shapes[1].get(key)]
    if differing:
        raise UserError(
            f"row {prepared.row.name!r} starts from row {name!r}, whose network differs at {', '.join(differing[:5])}",
            "the same model with the same sizes",
            "Give both rows the same model and options",
        )
    if prepared.method is None and masks.sparsity() > 0:
        prepared = replace(prepared, method=Static(masks=masks.kept))
    return prepared, network
