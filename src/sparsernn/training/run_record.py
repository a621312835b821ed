"""What a run left in its folder, read without a lock: a training may go on beside it."""

from pathlib import Path
from typing import Any, Self

from torch import nn

from sparsernn.errors import UserError, reason
from sparsernn.reading import DAMAGE, check_shapes, json_file, json_lines, tensors
from sparsernn.seals import check_sealed
from sparsernn.structure.masks import Masks
from sparsernn.training.tracking import Row

RECIPE, ENVIRONMENT, METRICS = "recipe.json", "environment.json", "metrics.jsonl"
MASKS, WEIGHTS, CHECKPOINTS = "masks.npz", "weights.safetensors", "checkpoint"
Json = dict[str, Any]  # an object as it is read from JSON


class RunRecord:
    """The files of a run; nothing is written and nobody is kept from writing.

    Arguments:
        path: the run's folder.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The files of a run that was begun. Raises: UserError if there is none."""
        require_run(Path(path))
        return cls(path)

    @property
    def recipe(self) -> Json:
        """What the run was begun with."""
        return json_file(self.path / RECIPE)

    @property
    def environment(self) -> Json:
        """What the run was begun on; empty before training begins."""
        return json_file(self.path / ENVIRONMENT) if (self.path / ENVIRONMENT).exists() else {}

    @property
    def metrics(self) -> list[Row]:
        """One row per epoch."""
        return json_lines(self.path / METRICS, whole=True) if (self.path / METRICS).exists() else []

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end: the weights are written last."""
        return (self.path / WEIGHTS).exists()

    def require_finished(self, file: str = WEIGHTS) -> Path:
        """The path of a file that the end of a training leaves. Raises: UserError if the training has not ended."""
        path = self.path / file
        if not path.exists():
            raise UserError(
                f"{self.path} is not finished: it has no {file} yet",
                "a run that is trained to its end",
                "Wait if it is still training, or run it again with --resume",
            )
        return path

    def check_weights(self, model: nn.Module) -> None:
        """Compare the final weights' names and shapes with a model's, which may be on the device "meta".

        Raises: UserError if they differ or the training has not ended.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        check_shapes(self.require_finished(), shapes)

    def load_weights(self, model: nn.Module) -> None:
        """Put the final weights into a model of the same shapes. Raises: UserError."""
        path = self.require_finished()
        try:
            check_sealed(path)
            model.load_state_dict(tensors(path)[1])
        except DAMAGE as error:
            raise UserError(
                f"{path} does not fit the model: {reason(error)}",
                "the weights of a finished run of this model",
                "Build the model of the run's recipe",
            ) from error

    def load_masks(self) -> Masks:
        """The final masks."""
        return Masks.load(self.require_finished(MASKS))


def require_run(path: Path) -> None:
    """Raises: UserError if no run was begun in a folder."""
    if not (path / RECIPE).exists():
        raise UserError(f"{path} holds no run", f"a folder with {RECIPE}", "Check the path, or start without resume")
