"""Texts with a label: the pruned linear part, its network, and the file of both."""

import csv

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from sparsernn import runtime
from sparsernn.cells.gru import GRU
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.data.table_file import TableFile
from sparsernn.errors import UserError
from sparsernn.own_data import fused, prediction, pruned_linear, training
from sparsernn.own_data.classifier import load
from sparsernn.own_data.kinds import text
from sparsernn.own_data.kinds.kind import File
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


def test_words_that_add_up_to_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    chance = np.random.default_rng(0)
    worth = chance.normal(0, 3, 150)
    rows = [chance.choice(150, 10, replace=False) for _ in range(900)]
    texts = [" ".join(f"word{number}" for number in row) for row in rows]
    numbers = [100 + worth[row].sum() + chance.normal(0, 0.5) for row in rows]
    with (tmp_path / "sums.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "sum"), *zip(texts, numbers, strict=True)])
    task = TableFile(path=str(tmp_path / "sums.csv"), text="text", label="sum", labels="numbers")
    out = tmp_path / "out"
    figures = training.train(training.Training(task, epochs=2, units=8, out=out, progress=False)).verdict.figures
    parts = [part.rows for part in (task.load().train, task.load().test)]
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    matrix = vectors.fit_transform([texts[row] for row in parts[0]])
    right = [np.array([numbers[row] for row in part]) for part in parts]
    tests = vectors.transform([texts[row] for row in parts[1]])
    errors = [
        np.sqrt(np.square(Ridge(strength).fit(matrix, right[0]).predict(tests) - right[1]).mean())
        for strength in (0.01, 0.1, 1.0)
    ]
    assert figures["sparse"] <= 1.02 * min(errors) < 0.5 * figures["majority"]
    model = runtime.load_any(out / "network.sparsernn")
    assert isinstance(model, GramNetwork) and model.labels == ("value",)
    given = prediction.predict(out, None, texts=[texts[row] for row in parts[1]])["predictions"]
    error = np.sqrt(np.square(np.array([one["value"] for one in given]) - right[1]).mean())
    assert error == pytest.approx(figures["sparse"])
    with pytest.raises(UserError, match="no labels"):
        load(out / "network.sparsernn")


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_all_are_timed_from_the_text_itself(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    rows = [(f"a {('good', 'bad')[number % 2]} day number {number % 9}", "yn"[number % 2]) for number in range(100)]
    with (tmp_path / "days.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    task = TableFile(path=str(tmp_path / "days.csv"), text="text", label="label", tokenizer=tokenizer)
    loaded, preparation = task.prepare()
    file = File(task, loaded, preparation, training.row_numbers(loaded), loaded)
    first = rows[file.parts["test"][0]][0]
    (expected,) = encoder_from_json(preparation.tokenizer).ids([first])
    read = text.KIND.example(file)
    for batch in (read(), read()):
        assert batch.inputs.tolist() == [expected.tolist()] and batch.lengths.tolist() == [len(expected)]


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


@pytest.mark.parametrize(
    "texts, words",
    [
        (["\U0001f600", "\U0001f621\U0001f621", "\U0001f600\U0001f389"], ["\U0001f389", "\U0001f600", "\U0001f621"]),
        (["\u597d\u5403\u6781\u4e86 ok", "\u96be\u5403\u6b7b\u4e86 no"], ["ok", "\u597d", "\u5403"]),
        (["a good film", "b bad film"], ["good", "film", "bad"]),
    ],
)
def test_the_baseline_has_words_in_every_script(texts, words):
    vectors = text.vectorizer(texts)
    assert vectors.fit_transform(texts).shape[0] == len(texts)
    assert set(words) <= set(vectors.vocabulary_)
    assert ("a" in vectors.vocabulary_) is False
