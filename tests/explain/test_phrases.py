"""Phrases of automata: scores against the cell's own outputs and all paths, positions in both directions, ranking."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsernn.cells.gru import GRU
from sparsernn.cells.rational import Rational
from sparsernn.errors import UserError
from sparsernn.explain.phrases import check_readable, matches, nearest_words
from sparsernn.running.automata import LayerAutomata
from tests.explain.test_paths import every_path

LENGTHS = (3, 1, 2)
WORDS = "abcdefgh"


def made(seed, **options):
    """A cell with weights of every size, a batch of texts of different lengths, and the texts."""
    torch.manual_seed(seed)
    cell = Rational(4, len(LENGTHS), lengths=LENGTHS, bidirectional=True, **options).double().eval()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    x, lengths = torch.randn(6, 3, 4, dtype=torch.double), torch.tensor([6, 1, 4])
    return cell, x, lengths, [list(WORDS[:length]) for length in lengths.tolist()]


def at_the_end(lengths):
    return lengths.unsqueeze(1).expand(-1, len(LENGTHS))


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), semiring=st.sampled_from(["max_times", "max_plus"]))
def test_the_best_path_of_any_length_is_the_output_of_a_maximum_semiring(seed, semiring):
    cell, x, lengths, texts = made(seed, semiring=semiring)
    _, (last, _) = cell(x, lengths=lengths)
    for direction in (0, 1):
        found = matches(cell, direction, x, at_the_end(lengths), texts)
        best = np.nanmax(np.where(np.isnan(found.scores[0]), -np.inf, found.scores[0]), axis=-1)
        assert np.allclose(best, last[direction].detach(), rtol=1e-9)


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("final", ["all", "learned"])
def test_all_paths_make_the_output_and_the_outermost_are_found(direction, final):
    cell, x, lengths, texts = made(5, final=final)
    _, (last, _) = cell(x, lengths=lengths)
    found = matches(cell, direction, x, at_the_end(lengths), texts)
    main, loop = (scores.detach().numpy() for scores in LayerAutomata(cell, direction).token_scores(x))
    layer = LayerAutomata(cell, direction)
    weights, table = layer.final_weights().detach(), layer.table.tolist()
    for text, length in enumerate(lengths.tolist()):
        read = np.arange(length)[::-1] if direction else np.arange(length)
        for pattern, states in enumerate(LENGTHS):
            own, total = table[pattern][:states], 0.0
            for m in range(1, states + 1):
                paths = list(every_path(main[read, text][:, own], loop[read, text][:, own], m))
                weight = float(weights[own[m - 1]])
                total += weight * sum(score for score, _ in paths)
                for side, outermost in enumerate((max, min)):
                    if not paths:
                        assert np.isnan(found.scores[side, text, pattern, m - 1])
                        continue
                    score, positions = outermost(paths)
                    assert np.isclose(found.scores[side, text, pattern, m - 1], weight * score)
                    assert found.tokens[side, text, pattern, m - 1, :m].tolist() == read[list(positions)].tolist()
            assert np.isclose(total, last[direction][text, pattern].item())


def test_a_path_is_scored_where_it_is_asked_to_end():
    cell, x, lengths, texts = made(1)
    short = matches(cell, 0, x[:2, :1], torch.full((1, 3), 2), [texts[0][:2]])
    inside = matches(cell, 0, x[:, :1], torch.full((1, 3), 2), [texts[0]])
    assert np.allclose(short.scores, inside.scores, equal_nan=True)
    assert np.array_equal(short.tokens, inside.tokens)


def test_phrases_are_in_the_order_of_the_text_and_each_is_ranked_once():
    cell, x, lengths, texts = made(2)
    twice = torch.cat([x[:, :1]] * 2 + [x], 1)
    found = matches(cell, 1, twice, at_the_end(torch.tensor([6, 6, 6, 1, 4])), [texts[0], texts[0], *texts])
    ranked = found.ranked(0, 3, True, 9)
    assert [one["text"] for one in ranked] in ([0, 4], [4, 0])
    assert ranked[0]["score"] >= ranked[1]["score"]
    for one in ranked:
        positions = [part["position"] for part in one["phrase"]]
        transitions = [part["transition"] for part in one["phrase"] if part["transition"]]
        assert positions == sorted(positions) and transitions == [3, 2, 1]
        assert [part["word"] for part in one["phrase"]] == [WORDS[position] for position in positions]


def test_nearest_words_are_ordered_by_the_score_of_the_main_path():
    cell, *_ = made(3)
    vectors = torch.randn(8, 4, dtype=torch.double)
    main, loop = LayerAutomata(cell).token_scores(vectors)
    listed = nearest_words(cell, 0, vectors, WORDS, 3)
    assert [len(transitions) for transitions in listed] == list(LENGTHS)
    first = listed[0][1]
    order = [WORDS[place] for place in main[:, 1].argsort().tolist()]
    assert [word for word, _ in first["bottom"]] == order[:3] and [word for word, _ in first["top"]] == order[:-4:-1]
    assert first["loop"] == pytest.approx(loop[:, 1].mean().item())


def test_what_has_no_automata_that_read_words_is_refused():
    for cell in (GRU(3, 4), Rational(3, 4, 2), Rational(3, 4, epsilon=True)):
        with pytest.raises(UserError):
            check_readable(cell)
