"""What the patterns of a rational cell read in texts: their best and worst phrases, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn.cells.rational import Rational
from sparsernn.errors import UserError
from sparsernn.explain.paths import Paths, search_both
from sparsernn.running.automata import LayerAutomata
from sparsernn.running.loop import reverse
from sparsernn.running.modules import Recurrent

LOWEST, HIGHEST = "bottom", "top"


class Token(TypedDict):
    """A word of a phrase, the number of its main-path transition, or 0 on a self-loop, and its place in the text."""

    word: str
    transition: int
    position: int


class Ranked(TypedDict):
    """A phrase, its score, and the number of the text that it stands in."""

    score: float
    text: int
    phrase: list[Token]


@dataclass(frozen=True)
class Matches:
    """The best and the worst path of each pattern of one direction through some texts, for every number of tokens.

    Attributes:
        scores: in the cell's semiring, final weights included; NaN where there is no such path. [2 text pattern m]
        tokens: positions in the text of the main-path tokens, in the order of reading; -1: none. [2 text pattern m m]
        texts: the words of each text.
    """

    scores: np.ndarray
    tokens: np.ndarray
    texts: Sequence[Sequence[str]]

    @classmethod
    def joined(cls, parts: Sequence[Self], order: np.ndarray) -> Self:
        """Several batches as one, the texts in another order."""
        texts = [words for part in parts for words in part.texts]
        return cls(
            np.concatenate([part.scores for part in parts], 1)[:, order],
            np.concatenate([part.tokens for part in parts], 1)[:, order],
            [texts[number] for number in order],
        )

    def phrase(self, text: int, pattern: int, m: int, highest: bool) -> list[Token]:
        """The tokens of the best or worst path from its first to its last main-path token, in the order of the text."""
        tokens = self.tokens[int(not highest), text, pattern, m - 1, :m].tolist()
        place = {position: number for number, position in enumerate(tokens, 1)}
        return [
            {"word": self.texts[text][position], "transition": place.get(position, 0), "position": position}
            for position in range(min(tokens), max(tokens) + 1)
        ]

    def ranked(self, pattern: int, m: int, highest: bool, most: int) -> list[Ranked]:
        """The phrases of m tokens with the highest or lowest scores, each once."""
        scores = self.scores[int(not highest), :, pattern, m - 1]
        order = np.argsort(-scores if highest else scores, kind="stable")  # NaN last
        seen: set[tuple[tuple[str, int], ...]] = set()
        phrases: list[Ranked] = []
        for text in order[: np.count_nonzero(~np.isnan(scores))].tolist():
            phrase = self.phrase(text, pattern, m, highest)
            words = tuple((part["word"], part["transition"]) for part in phrase)
            if words not in seen and len(phrases) < most:
                seen.add(words)
                phrases.append({"score": float(scores[text]), "text": text, "phrase": phrase})
            if len(phrases) == most:
                break
        return phrases


def check_readable(module: nn.Module) -> Recurrent:
    """The module, if its patterns can be read. Raises: UserError if not."""
    cell = module.cell if isinstance(module, Recurrent) else module
    if not isinstance(module, Recurrent) or not isinstance(cell, Rational):
        raise UserError(
            f"the network's cell is {type(cell).__name__}, which has no automata",
            "a rational cell",
            "train one with --cell rational",
        )
    if module.num_layers > 1 or cell.epsilon:
        raise UserError(
            f"the automata have {module.num_layers} layers, epsilon transitions: {cell.epsilon}",
            "one layer, which reads words, and a token for every transition",
            "explain a network of one layer without epsilon",
        )
    return module


@torch.no_grad()
def matches(
    cell: Recurrent, direction: int, x: Tensor, ends: Tensor, texts: Sequence[Sequence[str]], one_sided: bool = False
) -> Matches:
    """Search all texts of a batch.

    Arguments:
        x: what the cell reads. [time batch input]
        ends: after how many tokens, in the order of reading, a path's score is taken. [batch pattern]
        texts: the words of each text; what x holds behind them is padding.
        one_sided: the search of the authors' code, which is not exact; see `explain.paths.search_both`.
    """
    lengths = torch.tensor([len(words) for words in texts])
    read = reverse(x, lengths) if direction else x
    layer = LayerAutomata(cell, direction)
    table, automata = layer.table, layer.automata
    adds = automata.algebra.one == 0
    main, loop = (_by_pattern(scores.exp() if adds else scores, table) for scores in layer.token_scores(read))
    rows = (len(lengths), *table.shape)
    extremes = search_both(main, loop, ends.reshape(-1).numpy(), one_sided)
    final = torch.cat([layer.final_weights(), x.new_zeros(1)])[table].double().numpy()  # [pattern m]
    absent = (table == automata.states).numpy() | (final == automata.algebra.zero)
    scores = np.stack([paths.scores.reshape(rows) for paths in extremes])
    with np.errstate(divide="ignore"):
        scores = np.log(scores) + final if adds else scores * final
    return Matches(
        np.where(absent | ~np.isfinite(scores), np.nan, scores),
        np.stack([_in_text(paths, rows, direction, lengths.numpy()) for paths in extremes]),
        texts,
    )


def _by_pattern(scores: Tensor, table: Tensor) -> np.ndarray:
    """Scores by state in rows of the search. [time batch state] -> [time batch*pattern place]"""
    padded = torch.cat([scores, scores.new_zeros(*scores.shape[:-1], 1)], -1)[..., table]
    return padded.flatten(1, 2).double().numpy()


def _in_text(paths: Paths, rows: tuple[int, ...], direction: int, lengths: np.ndarray) -> np.ndarray:
    tokens = paths.tokens.reshape(*rows, rows[-1])
    return np.where(tokens < 0, -1, lengths[:, None, None, None] - 1 - tokens) if direction else tokens


@torch.no_grad()
def nearest_words(
    cell: Recurrent, direction: int, vectors: Tensor, words: Sequence[str], most: int
) -> list[list[dict[str, object]]]:
    """For each pattern and transition the words with the highest and the lowest score of the main path.

    Each transition is {"top": [[word, score], ...], "bottom": ..., "loop": mean score of the self-loop behind it}.

    Shapes: vectors [words input].
    """
    layer = LayerAutomata(cell, direction)
    automata = layer.automata
    main, loop = layer.token_scores(vectors)
    order = main.argsort(dim=0, stable=True)
    transitions = []
    for state in range(automata.states):
        low, high = order[:most, state].tolist(), order[-most:, state].flip(0).tolist()
        transitions.append(
            {
                HIGHEST: [[words[word], float(main[word, state])] for word in high],
                LOWEST: [[words[word], float(main[word, state])] for word in low],
                "loop": float(loop[:, state].mean()),
            }
        )
    by_pattern = []
    for row in layer.table.tolist():
        by_pattern.append([transitions[state] for state in row if state < automata.states])
    return by_pattern
