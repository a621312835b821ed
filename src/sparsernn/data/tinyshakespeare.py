"""Tiny Shakespeare: a million characters of plays, quick to learn."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, open_text
from sparsernn.data.language_modelling import LanguageModelling

BOUNDS = {"train": (0.0, 0.9), "valid": (0.9, 0.95), "test": (0.95, 1.0)}


@dataclass(frozen=True)
class TinyShakespeare(LanguageModelling):
    """Plays of Shakespeare: 1,115,394 characters, 65 different ones.

    There is no official split: the first 90 % train, the next 5 % validate, the last 5 % test.

    Source: the char-rnn example text (public domain).
    """

    origin = "tinyshakespeare (input.txt of the char-rnn examples)"
    files = {
        "tinyshakespeare/input.txt.gz": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    }

    steps: int = 100

    def tokens(self, part: str, folder: Folder) -> Iterator[str]:
        with open_text(find_file(self, "tinyshakespeare/input.txt.gz", folder)) as file:
            text = file.read()
        first, last = (round(len(text) * bound) for bound in BOUNDS[part])
        return iter(text[first:last])

    def metric(self) -> str:
        return "bits_per_character"
