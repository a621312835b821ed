"""A classifier of automata in words: what each pattern looks for, what it is worth, and where it matches in a text."""

import json
from pathlib import Path

import numpy as np
import torch

from sparsernn import durable
from sparsernn.data.task import Batch
from sparsernn.data.text import SPECIALS
from sparsernn.errors import UserError
from sparsernn.explain.phrases import HIGHEST, LOWEST, Matches, matches, nearest_words
from sparsernn.explain.readable import Readable, Reading, batches, ends_of, open_run, read
from sparsernn.running.automata import LayerAutomata
from sparsernn.training.run_folder import Json

EXPLANATION = "explanation.json"
SIDES = {HIGHEST: True, LOWEST: False}
DIRECTIONS = ("forward", "backward")
NEAREST_AMONG = 5_000
"""The most frequent words, of which those are named that a transition likes best: rarer ones say little."""


def explain(
    folder: Path,
    data: Path | None = None,
    text: str | None = None,
    *,
    most: int = 4,
    one_sided: bool = False,
    out: Path | None = None,
) -> Json:
    """Explain the network of a finished run.

    Arguments:
        folder: of one run, or what `sparsernn train` printed.
        data: see `readable.open_run`.
        text: one text; where each pattern matches in it and what it adds to each class.
        most: phrases, and words of a transition, in a list.
        out: a folder in which explanation.json is left; in that of the run every report shows it.
        one_sided: rank by the search of the authors' code, which carries only one extreme along.
    Returns: {"folder", "search", "source", "texts", "pool", "labels", "bias", "before", "after", "patterns",
        "document"}; the patterns in order of what they are worth.
    Raises: UserError if the run or its data cannot be read.
    Source: Dodge et al. 2019, on visualization, and Table 1; nearest words: Schwartz et al. 2018.
    """
    if most < 1:
        raise UserError(f"top is {most}", "at least one phrase", "give a larger number")
    explanation = _explanation(open_run(folder, data), text, most, one_sided)
    if out is not None:
        durable.replace(out / EXPLANATION, json.dumps(explanation, indent=1, ensure_ascii=False, allow_nan=False))
    return explanation


def _explanation(opened: Readable, text: str | None, most: int, one_sided: bool) -> Json:
    ranked = _rank(opened, one_sided)
    layers = [LayerAutomata(opened.whole, direction) for direction in range(opened.whole.directions)]
    before = [length for automata in layers for length in automata.automata.sizes]
    after = [length for automata in layers for length in automata.live_lengths()]
    return {
        "folder": str(opened.folder),
        "search": "one-sided" if one_sided else "two-sided",
        "source": opened.texts.source,
        "texts": len(ranked[0].texts),
        "pool": opened.network.pool,
        "labels": list(opened.labels),
        "bias": _by_label(opened, opened.network.head.bias),
        "before": before,
        "after": after,
        "patterns": _patterns(opened, ranked, most),
        "document": None if text is None else document(opened, text, one_sided),
    }


def _rank(opened: Readable, one_sided: bool) -> list[Matches]:
    """Each direction's matches in the whole corpus, in the corpus's order."""
    parts: list[list[Matches]] = [[] for _ in range(opened.cell.directions)]
    rows = []
    for numbers, batch in batches(opened.texts.corpus()):
        rows.append(numbers)
        by_direction = _matches(opened, batch, read(opened.network, batch), one_sided)
        for part, batch_matches in zip(parts, by_direction, strict=True):
            part.append(batch_matches)
    order = np.argsort(np.concatenate(rows))
    return [Matches.joined(part, order) for part in parts]


def _matches(opened: Readable, batch: Batch, reading: Reading, one_sided: bool) -> list[Matches]:
    """Each direction's matches in a batch."""
    texts = [
        [opened.texts.words[int(number)] for number in ids[:length]]
        for ids, length in zip(batch.inputs.tolist(), reading.lengths.tolist(), strict=True)
    ]
    return [
        matches(opened.cell, direction, reading.x, ends_of(reading, direction, opened.network.pool), texts, one_sided)
        for direction in range(opened.cell.directions)
    ]


def _by_label(opened: Readable, values: torch.Tensor) -> dict[str, float]:
    return dict(zip(opened.labels, values.tolist(), strict=True))


def _numbered(opened: Readable) -> list[tuple[int, int, int, int]]:
    """(number from 1, direction, pattern, states) of every pattern that a path can get through."""
    alive = [
        (direction, pattern, states)
        for direction in range(opened.cell.directions)
        for pattern, states in enumerate(LayerAutomata(opened.cell, direction).live_lengths())
        if states
    ]
    return [(number, *each) for number, each in enumerate(alive, 1)]


def _patterns(opened: Readable, ranked: list[Matches], most: int) -> list[dict[str, object]]:
    frequent = [number for number, word in enumerate(opened.texts.words) if word not in SPECIALS][:NEAREST_AMONG]
    vectors = opened.vectors[frequent]
    words = [opened.texts.words[number] for number in frequent]
    nearest = [
        nearest_words(opened.cell, direction, vectors, words, most) for direction in range(opened.cell.directions)
    ]
    patterns: list[tuple[float, dict[str, object]]] = []
    for number, direction, pattern, states in _numbered(opened):
        weights, phrases = opened.columns(direction)[:, pattern], []
        for m in range(1, states + 1):
            best = {side: ranked[direction].ranked(pattern, m, high, most) for side, high in SIDES.items()}
            phrases.append({"tokens": m, **best})
        pull = float(weights.max() - weights.min())
        about = {
            "number": number,
            "direction": DIRECTIONS[direction],
            "states": states,
            "weights": _by_label(opened, weights),
            "toward": opened.labels[int(weights.argmax())],
            "pull": pull,
            "transitions": nearest[direction][pattern][:states],
            "phrases": phrases,
        }
        patterns.append((pull, about))
    return [about for _, about in sorted(patterns, key=lambda pattern: -pattern[0])]


def document(opened: Readable, text: str, one_sided: bool = False) -> dict[str, object]:
    """What one text comes to: {"words", "label", "probabilities", "logits", "bias", "patterns"}.

    A class's logit is the bias plus the contributions of all patterns: a pattern's value times its weight. The match
    is the single path with the highest score, or the lowest where the value is negative.
    """
    split = opened.texts.encoded([text])
    batch = split.batch(np.array([0]))
    reading = read(opened.network, batch)
    by_direction = _matches(opened, batch, reading, one_sided)
    logits = reading.logits[0]
    probabilities = logits.double().softmax(-1)
    patterns = []
    for number, direction, pattern, _ in _numbered(opened):
        value = float(reading.pooled[direction][0, pattern])
        contributions = opened.columns(direction)[:, pattern] * value
        match = _match(by_direction[direction], pattern, value >= 0)
        patterns.append({"number": number, "value": value, "contributions": _by_label(opened, contributions), **match})
    return {
        "words": list(by_direction[0].texts[0]),
        "label": opened.labels[int(logits.argmax())],
        "probabilities": _by_label(opened, probabilities),
        "logits": _by_label(opened, logits),
        "bias": _by_label(opened, opened.network.head.bias),
        "patterns": patterns,
    }


def _match(paths: Matches, pattern: int, highest: bool) -> dict[str, object]:
    """The score and phrase of the best path of any number of tokens; None and [] where the text is too short."""
    scores = paths.scores[int(not highest), 0, pattern]
    if np.isnan(scores).all():
        return {"score": None, "phrase": []}
    m = int(np.nanargmax(scores) if highest else np.nanargmin(scores)) + 1
    return {"score": float(scores[m - 1]), "phrase": paths.phrase(0, pattern, m, highest)}
