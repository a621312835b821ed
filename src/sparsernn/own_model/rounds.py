"""Rounds of a shrinking on disk: the last model that was good enough, its masks and all points; written durably."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
import torch
from torch import Tensor, nn

from sparsernn.durable import one_clear_error, path_of, replace
from sparsernn.errors import UserError
from sparsernn.reading import json_file, readable, tensors
from sparsernn.seals import check_sealed, sealed
from sparsernn.structure.masks import Masks

RECORD, MASKS, WEIGHTS = "rounds.json", "masks.npz", "model-{}.safetensors"


@dataclass
class State:
    """Where a shrinking stands after a round.

    Attributes:
        points: of all rounds, as JSON values.
        share: that goes in the next round; failures: rounds below the floor since the last good one.
    """

    points: list[dict[str, Any]]
    share: float
    failures: int = 0


class Record(TypedDict):
    """What the file of a shrinking holds."""

    about: dict[str, Any]
    model: int | None
    points: list[dict[str, Any]]
    share: float
    failures: int


class Rounds:
    """The folder of one shrinking, or none.

    Arguments:
        folder: created if it is absent; None: nothing is written.
        about: what the shrinking hangs on, which has to be the same when it goes on.
    Raises: UserError if the folder holds another shrinking.
    """

    def __init__(self, folder: Path | str | None, about: dict[str, Any]):
        self.folder, self.about = None if folder is None else path_of(folder), about
        if self.folder is not None:
            with one_clear_error("The shrinking", self.folder, "nothing was lost"):
                self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self, model: nn.Module, masks: Masks) -> State | None:
        """Fill a model and its masks with those of the last good round; None if there was no round."""
        if self.folder is None or not (self.folder / RECORD).is_file():
            return None
        record = json_file(self.folder / RECORD, Record, expected="the rounds of a shrinking")
        differing = [name for name, value in self.about.items() if record["about"].get(name) != value]
        if differing:
            raise UserError(
                f"{self.folder} holds another shrinking: {', '.join(differing)} differ",
                "the same model and options, or an empty folder",
                "pass another folder",
            )
        if (number := record["model"]) is not None:
            weights = self.folder / WEIGHTS.format(number)
            with readable(weights, expected="the weights of a round", do="start again in another folder"):
                check_sealed(weights)
                model.load_state_dict(tensors(weights)[1])
            masks.load_state_dict(Masks.load(self.folder / f"{number}-{MASKS}").kept)
        return State(record["points"], record["share"], record["failures"])

    def save(self, state: State, model: nn.Module, masks: Masks, number: int | None) -> None:
        """Write a round; the record comes last, so that what it names is there.

        Arguments:
            number: of the last good round; None: the model is as it was given.
        """
        if self.folder is None:
            return
        if number is not None and not (self.folder / WEIGHTS.format(number)).is_file():
            copies: dict[str, Tensor] = {name: value.clone() for name, value in model.state_dict().items()}
            masks.save(self.folder / f"{number}-{MASKS}")
            replace(self.folder / WEIGHTS.format(number), sealed(safetensors.torch.save(copies)))
        record = {"about": self.about, "model": number, **vars(state)}
        replace(self.folder / RECORD, json.dumps(record, indent=1))


def fingerprint(model: nn.Module) -> str:
    """A checksum of a model's names and numbers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
