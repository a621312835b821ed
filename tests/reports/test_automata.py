"""The section about automata: drawings that parse, text shown as text, self-loops in brackets, and a damaged file."""

from xml.etree import ElementTree

import pytest

from sparsernn.errors import UserError
from sparsernn.reports import automata

HOSTILE = '</text><script>alert("x")</script>'


def word(text, transition, position):
    return {"word": text, "transition": transition, "position": position}


def listed(*words):
    return [{"score": 0.5, "text": 3, "phrase": [word(*one) for one in words]}]


def made() -> dict:
    """The explanation of two patterns, of which one is left, with words that try to be markup."""
    loop = [(str(number), 0, number) for number in range(1, 10)]
    transition = {"top": [[HOSTILE, 2.0], ["good", 1.0]], "bottom": [["bad", -1.0]], "loop": 0.25}
    pattern = {
        "number": 1, "direction": "backward", "states": 2, "weights": {"no": -1.0, "yes": 2.0}, "toward": "yes",
        "pull": 3.0, "transitions": [transition, transition],
        "phrases": [
            {"tokens": 1, "top": listed((HOSTILE, 1, 0)), "bottom": []},
            {"tokens": 2, "top": listed(("a", 1, 0), *loop, ("b", 2, 10)), "bottom": listed(("c", 1, 0), ("d", 2, 1))},
        ],
    }  # fmt: skip
    about = {
        "words": ["a", HOSTILE], "label": "yes", "probabilities": {"no": 0.1, "yes": 0.9},
        "logits": {"no": -1.0, "yes": 1.2}, "bias": {"no": 0.0, "yes": 0.2},
        "patterns": [
            {"number": 1, "value": 0.5, "contributions": {"no": -1.0, "yes": 1.0}, "score": None, "phrase": []}
        ],
    }  # fmt: skip
    return {
        "search": "two-sided", "source": "texts.csv", "texts": 9, "pool": "mean", "labels": ["no", "yes"],
        "before": [2, 1], "after": [2, 0], "patterns": [pattern], "document": about,
    }  # fmt: skip


def test_a_phrase_has_its_self_loops_in_brackets_and_long_ones_cut():
    words = made()["patterns"][0]["phrases"][1]["top"][0]["phrase"]
    assert automata.plain(words) == "a [1 2 … 8 9] b"
    assert automata.plain(words[:3] + words[-1:]) == "a [1 2] b"


def test_tables_have_a_line_for_each_phrase_transition_and_pattern():
    found = made()
    phrases, words = automata.phrase_table(found), automata.word_table(found)
    assert phrases.rows[0][:4] == ("1: toward yes, weight 3.00, reads backward", "2", "a [1 2 … 8 9] b", "0.500")
    assert phrases.rows[1] == ("", "1", HOSTILE, "0.500", "", "")
    assert words.rows[0] == ("1", "1", f"{HOSTILE}, good", "bad", "0.25") and len(words.rows) == 2
    about = automata.document(found)
    assert [row[0] for row in about.table.rows] == ["1", "bias", "logits"]
    assert about.table.rows[0][2:] == ("-1.00", "+1.00", "–", "–") and about.answer == "yes, 90.0 %"
    assert automata.summary(found).startswith("1 of 2 patterns and 2 of 3 transitions are left.")


def test_drawings_parse_and_hold_words_as_text():
    shown = automata.explanation(made(), "run")
    drawn, dots = ElementTree.fromstring(shown.patterns[0].drawing.svg), ElementTree.fromstring(shown.structure.svg)
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("0.25") == 2 and {"q0", "q1", "q2", "good", "bad"} <= set(texts)
    assert not list(drawn.iter("{http://www.w3.org/2000/svg}script"))
    fills = [each.get("fill") for each in dots.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(fills) == 3 and len(set(fills[:2])) == 1 and fills[2] != fills[0]


def test_a_run_that_was_not_explained_has_no_section_and_a_damaged_file_is_named():
    assert automata.explanation({}, "run") is None
    with pytest.raises(UserError, match="explanation of run cannot be shown"):
        automata.explanation(made() | {"patterns": [{"number": 1}]}, "run")
