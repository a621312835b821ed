"""Texts with a label: the pruned linear part, its network, and the file of both."""

import numpy as np
import pytest

from sparsernn import runtime
from sparsernn.cells.gru import GRU
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.errors import UserError
from sparsernn.own_data import fused, pruned_linear
from sparsernn.own_data.pruned_linear import Parts, Ranked, Texts
from sparsernn.own_data.text_targets import Classes
from sparsernn.runtime.grams import GramNetwork, Grams
from sparsernn.runtime.network import LayerSpec, NetworkSpec

ENCODER = GramEncoder("words")


def texts_of(rows):
    return Texts(ENCODER.ids([text for text, _ in rows]), np.array([label for _, label in rows]))


def fitted(train, valid, labels, words=()):
    """A linear classifier of 40 n-grams."""
    parts = Parts(train, valid, Classes(tuple(labels)))
    return Ranked.of(parts, 40, np.array(words, np.int64)).fit(40)


def sentences(labels, count, seed):
    """Each class has a word of its own among words of no meaning."""
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = number % len(labels)
        words = [f"w{chance.integers(30)}" for _ in range(6)]
        words[chance.integers(6)] = labels[label]
        rows.append((" ".join(words), label))
    return texts_of(rows)


@pytest.mark.parametrize("labels", [("bad", "good"), ("red", "green", "blue")])
def test_the_linear_part_keeps_what_tells_classes_apart(labels):
    train, valid = sentences(labels, 240, 0), sentences(labels, 60, 1)
    grams = fitted(train, valid, labels)
    assert len(grams.places) == 40
    assert set(ENCODER.word_places(labels)) <= set(grams.places)
    scores = GramNetwork(grams).scores(valid.encoded)
    assert (scores.argmax(1) == valid.targets).all()
    one_word = ENCODER.word_places(["w3"])
    assert one_word[0] in fitted(train, valid, labels, one_word).places


def test_a_class_without_a_training_text_is_never_the_answer():
    labels = ("red", "green", "blue", "never")
    train = sentences(labels[:3], 120, 0)
    grams = fitted(train, train, labels)
    scores = GramNetwork(grams).scores(train.encoded)
    assert scores.shape == (120, 4) and not (scores.argmax(1) == 3).any()


def network(vectors, head):
    """A network whose units stay near the sign of the word's one number."""
    cell = GRU()
    weights = {name: np.zeros(cell.shape(name, cell.sizes(1, 1)), "f4") for name in cell.axes}
    weights["weight_ih"][2] = 3
    layers = [LayerSpec(cell, weights)]
    return NetworkSpec("classification", layers, 1, head=head, bias=np.zeros(2, "f4"), pool="max", embedding=vectors)


@pytest.mark.parametrize("useful", [True, False])
def test_a_network_stays_only_where_it_lowers_the_loss(useful):
    rows = [(f"w{number % 7} {('plus', 'minus')[number % 2]} w{number % 5}", 1 - number % 2) for number in range(80)]
    valid = texts_of(rows)
    places = np.sort(ENCODER.word_places(["plus", "minus"]))
    grams = Grams(places, np.zeros((1, 2), "f4"), np.zeros(1, "f4"), np.zeros(2, bool), np.zeros((0, 0), "f4"), 1, "ab")
    plus = ENCODER.word_places(["plus"])[0]
    vectors = np.where(places == plus, 1.0, -1.0)[:, None].astype("f4") if useful else np.ones((2, 1), "f4")
    spec = network(None, np.array([[-2.0], [2.0]], "f4"))
    parts = Parts(valid, valid, Classes(("a", "b")))
    both = fused.grams_and_network(grams, spec, fused.WordVectors(places, vectors), parts, 10)
    assert (both.network is not None) == useful
    right = both.model().scores(valid.encoded).argmax(1) == valid.targets
    assert right.mean() == (1.0 if useful else 0.5)


def test_the_encoding_of_a_file_of_texts_is_read_back():
    encoder = encoder_from_json(ENCODER.to_json())
    text = "It's a Test, of words!"
    np.testing.assert_array_equal(encoder.ids([text])[0], ENCODER.ids([text])[0])
    assert encoder.ids([text])[0][0] == len(["it", "'", "s", "a", "test", ",", "of", "words", "!"])
    with pytest.raises(UserError, match="bits"):
        encoder_from_json('{"cleaning": "words", "bits": 20}')


def test_fewer_numbers_of_weights():
    values = np.array([[1.0, -0.31, 0.02], [0, 0, 0]])
    rounded = pruned_linear.rounded(values, 10)
    np.testing.assert_allclose(rounded, [[1.0, -0.3, 0.0], [0, 0, 0]], atol=1e-7)


def test_the_file_says_how_a_table_is_read(tmp_path):
    from sparsernn.data.preparation import Preparation

    labels = ("bad", "good")
    train = sentences(labels, 120, 0)
    grams = fitted(train, train, labels)
    preparation = Preparation("text", {"text": "text", "label": "label"}, labels, tokenizer="{}", length=200)
    fused.Fused(grams).save(tmp_path / "network", preparation, ENCODER)
    model = runtime.load_any(tmp_path / "network")
    assert (model.scores(train.encoded).argmax(1) == train.targets).all()
