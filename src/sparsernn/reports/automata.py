"""What the automata of a run look for: tables, drawings and phrases from its explanation.json."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from sparsernn.errors import UserError
from sparsernn.reports.figures import COLOURS, INK, PAPER, Picture
from sparsernn.reports.quantities import Table, percent, significant
from sparsernn.reports.reading import Json

Words = tuple[tuple[str, str], ...]
Scored = tuple[str, Sequence[Json]]

STATE, STEP, ABOVE, BELOW = 17, 128, 62, 62
LONGEST = 17
LONGEST_LOOP = 6
FONT = 'font-family="system-ui, Helvetica, Arial, sans-serif"'


@dataclass(frozen=True)
class Phrases:
    """The phrases of a pattern with so many main-path tokens.

    Arguments:
        tokens: how many.
        rows: pairs of (score, words), the highest and the lowest; a word is (text, "main" or "loop").
    """

    tokens: int
    rows: tuple[tuple[tuple[str, Words], tuple[str, Words]], ...]


@dataclass(frozen=True)
class Pattern:
    """One pattern on the page.

    Arguments:
        title: its number and what it is worth.
        drawing: the automaton.
        phrases: by number of tokens, the most first.
    """

    title: str
    drawing: Picture
    phrases: tuple[Phrases, ...]


@dataclass(frozen=True)
class Document:
    """One text: its words, the answer, and a table of what each pattern added and where it matched."""

    text: str
    answer: str
    table: Table


@dataclass(frozen=True)
class Explanation:
    """The section of one run.

    Arguments:
        label: the run's name.
        summary: how the phrases were found.
        structure: the lengths of all patterns before and after training.
        patterns: the most influential first.
        document: the contributions of the patterns to one text, with its words and what they were taken for.
    """

    label: str
    summary: str
    structure: Picture
    patterns: tuple[Pattern, ...]
    document: Document | None


def explanation(content: Json, label: str) -> Explanation | None:
    """The section of a run; None where it was not explained.

    Raises: UserError if the file is not what `sparsernn explain` writes.
    """
    if not content:
        return None
    try:
        return Explanation(
            label,
            summary(content),
            structure(content["before"], content["after"]),
            tuple(_pattern(pattern) for pattern in content["patterns"]),
            document(content),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the explanation of {label} cannot be shown: {error!r}",
            "explanation.json as `sparsernn explain` writes it",
            "explain the run once more",
        ) from error


def summary(content: Json) -> str:
    """How many automata, and where their phrases come from."""
    left = [length for length in content["after"] if length]
    where = "where a pattern's value is highest" if content["pool"] == "max" else "at the end of the text"
    mean = " The classifier reads the mean of a pattern's values over the text." if content["pool"] == "mean" else ""
    before = content["before"]
    return (
        f"{len(left)} of {len(before)} patterns and {sum(left)} of {sum(before)} transitions are left. "
        f"Phrases are those of {content['texts']:,} texts ({content['source']}), {content['search']} search, "
        f"scored {where}; words in brackets are read on a self-loop.{mean}"
    )


def runs(words: Sequence[Json]) -> Words:
    """A phrase as (text, "main" or "loop"): words of the main path one by one, those on a self-loop together, with the
    middle of long ones left out."""
    phrase: list[tuple[str, str]] = []
    for main, group in itertools.groupby(words, lambda word: bool(word["transition"])):
        listed = [str(word["word"]) for word in group]
        if main:
            phrase += [(word, "main") for word in listed]
        else:
            shown = listed if len(listed) <= LONGEST_LOOP else [*listed[:2], "…", *listed[-2:]]
            phrase.append((" ".join(shown), "loop"))
    return tuple(phrase)


def plain(words: Sequence[Json]) -> str:
    """A phrase as text, self-loops in brackets."""
    return " ".join(text if kind == "main" else f"[{text}]" for text, kind in runs(words))


def phrase_table(content: Json) -> Table:
    """A line for each pattern, number of tokens and rank: the phrases with the highest and the lowest scores."""
    rows = []
    for pattern in content["patterns"]:
        name = f"{pattern['number']}: {_worth(pattern)}"
        for group in reversed(pattern["phrases"]):
            tokens = str(group["tokens"])
            for top, bottom in _pairs(group):
                rows.append((name, tokens, plain(top[1]), top[0], plain(bottom[1]), bottom[0]))
                name = tokens = ""
    return Table(("pattern", "tokens", "highest", "score", "lowest", "score"), tuple(rows))


def word_table(content: Json) -> Table:
    """A line for each transition: the words that it likes best and least, and the mean score of the loop behind it."""
    rows = []
    for pattern in content["patterns"]:
        for number, transition in enumerate(pattern["transitions"], 1):
            best, worst = _listed(transition["top"]), _listed(transition["bottom"])
            rows.append((str(pattern["number"]), str(number), best, worst, f"{transition['loop']:.2f}"))
    return Table(("pattern", "transition", "highest", "lowest", "loop"), tuple(rows))


def _listed(scored: Sequence[tuple[str, float]]) -> str:
    return ", ".join(word for word, _ in scored)


def document(content: Json) -> Document | None:
    """The text that was explained, if one was."""
    about = content.get("document")
    if not about:
        return None
    labels = list(about["logits"])
    ordered = sorted(about["patterns"], key=lambda each: -_spread(each["contributions"]))
    rows = []
    for each in ordered:
        contributions = [_signed(each["contributions"][label]) for label in labels]
        score = "–" if each["score"] is None else significant(each["score"])
        phrase = plain(each["phrase"]) or "–"
        rows.append((str(each["number"]), significant(each["value"]), *contributions, phrase, score))
    for name in ("bias", "logits"):
        rows.append((name, "", *(_signed(about[name][label]) for label in labels), "", ""))
    table = Table(("pattern", "value", *labels, "strongest match", "its score"), tuple(rows))
    answer = f"{about['label']}, {percent(about['probabilities'][about['label']])}"
    return Document(" ".join(about["words"]), answer, table)


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _spread(values: Mapping[str, float]) -> float:
    return max(values.values()) - min(values.values())


def _worth(pattern: Json) -> str:
    backward = ", reads backward" if pattern["direction"] == "backward" else ""
    return f"toward {pattern['toward']}, weight {significant(pattern['pull'])}{backward}"


def _pairs(group: Json) -> list[tuple[Scored, Scored]]:
    """(score, words) of the highest and the lowest phrases, side by side."""
    top, bottom = _scored(group["top"]), _scored(group["bottom"])
    return list(itertools.zip_longest(top, bottom, fillvalue=("", [])))


def _scored(phrases: Sequence[Json]) -> list[Scored]:
    return [(significant(each["score"]), each["phrase"]) for each in phrases]


def _pattern(pattern: Json) -> Pattern:
    phrases = tuple(
        Phrases(group["tokens"], tuple(((high, runs(a)), (low, runs(b))) for (high, a), (low, b) in _pairs(group)))
        for group in reversed(pattern["phrases"])
    )
    title = f"Pattern {pattern['number']}, {_worth(pattern)}"
    return Pattern(title, drawing(pattern), phrases)


def drawing(pattern: Json) -> Picture:
    """The automaton: states, self-loops with their mean score, main paths with the words they like best and least."""
    transitions = pattern["transitions"]
    width, height = 2 * 46 + STEP * len(transitions), ABOVE + BELOW + 2 * STATE
    middle = ABOVE + STATE
    parts = [_state(46, middle, "q0", False)]
    for number, transition in enumerate(transitions, 1):
        x = 46 + STEP * number
        parts.append(_arrow(x - STEP + STATE, x - STATE - 1, middle))
        between = x - STEP / 2
        parts += [
            _text(between, middle - 8 - 14 * line, word, COLOURS[0])
            for line, (word, _) in enumerate(transition["top"][2::-1])
        ]
        parts += [
            _text(between, middle + 19 + 14 * line, word, COLOURS[1])
            for line, (word, _) in enumerate(transition["bottom"][:3])
        ]
        parts += [_loop(x, middle - STATE), _text(x, middle - STATE - 30, f"{transition['loop']:.2f}", INK)]
        parts.append(_state(x, middle, f"q{number}", True))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'
    caption = (
        "Above an arrow the words with the highest scores, below it those with the lowest; at a loop its mean score "
        "over the vocabulary. Any words may come before the first one."
    )
    return Picture(svg, f"Automaton {pattern['number']}", caption)


def structure(before: Sequence[int], after: Sequence[int]) -> Picture:
    """All patterns, one a column: the transitions that were there, filled where they are left."""
    tall, gap = max(before), 20
    width, height = gap * (len(before) + 1), gap * (tall + 1)
    dots = [
        f'<circle cx="{gap * (column + 1)}" cy="{gap * (row + 1)}" r="6.5" stroke="{COLOURS[0]}" '
        f'fill="{COLOURS[0] if row < left else PAPER}" stroke-opacity="{1 if row < left else 0.3}"/>'
        for column, (length, left) in enumerate(sorted(zip(before, after, strict=True), key=lambda pair: -pair[1]))
        for row in range(length)
    ]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(dots)}</svg>'
    return Picture(svg, "Transitions left", "A column is a pattern, its first transition on top; filled ones are left.")


def _state(x: float, y: float, name: str, final: bool) -> str:
    inner = f'<circle cx="{x}" cy="{y}" r="{STATE - 3}" fill="none" stroke="{INK}"/>' if final else ""
    return (
        f'<circle cx="{x}" cy="{y}" r="{STATE}" fill="{PAPER}" stroke="{INK}" stroke-width="1.4"/>{inner}'
        f"{_text(x, y + 4, name, INK)}"
    )


def _arrow(start: float, end: float, y: float) -> str:
    head = f"M {end} {y} l -8 -4 v 8 z"
    return f'<path d="M {start} {y} H {end - 6}" stroke="{INK}" stroke-width="1.3"/><path d="{head}" fill="{INK}"/>'


def _loop(x: float, y: float) -> str:
    curve = f"M {x - 7} {y + 2} C {x - 22} {y - 30}, {x + 22} {y - 30}, {x + 7} {y + 1}"
    head = f"M {x + 6.5} {y + 2} l 8 -5 l -7.5 -3.5 z"
    return f'<path d="{curve}" fill="none" stroke="{INK}" stroke-width="1.3"/><path d="{head}" fill="{INK}"/>'


def _text(x: float, y: float, text: str, colour: str) -> str:
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f'<text x="{x}" y="{y}" {FONT} font-size="12" text-anchor="middle" fill="{colour}">{escape(shown)}</text>'
