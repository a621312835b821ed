"""Cleaning rules, vocabularies and word vectors."""

import numpy as np
import pytest
import torch

from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.text import encode, learn_encoder
from sparsernn.data.word_vectors import word_vectors
from sparsernn.errors import UserError

TEXTS = ["The cat sat.", "the dog, the CAT!", "A fish"]


def cleaned(rule, text):
    encoder = encoder_from_json(learn_encoder([text], 100, rule).to_json())
    return [encoder.words[number] for number in next(encode(encoder, [text]))]


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("keras", ["it's", "good", "really", "br", "not", "bad"]),
        ("sentence", ["it", "'s", "good", ",", "really", "!", "br", "not", "bad"]),
        ("blanks", ["It's", "good,", "really!<br", "/>", "not-bad"]),
        ("words", ["it", "'", "s", "good", ",", "really", "!<", "br", "/>", "not", "-", "bad"]),
    ],
)
def test_cleaning_rules(rule, expected):
    assert cleaned(rule, "It's good, really!<br /> not-bad") == expected


def test_characters_and_byte_pairs_lose_nothing():
    assert "".join(cleaned("characters", "a b\tä")) == "a b\tä"
    encoder = learn_encoder(TEXTS * 50, 300, "bpe", after="</s>")
    ids = next(encode(encoder_from_json(encoder.to_json()), ["zebra ☃"]))
    assert len(encoder.words) <= 300 and encoder.words[ids[-1]] == "</s>" and 1 not in ids
    assert "".join(encoder.words[number] for number in ids[:-1]).startswith("Ġzebra")


def test_most_frequent_words_stay_and_the_order_is_fixed():
    assert learn_encoder(TEXTS, 5, "keras").words == ["<pad>", "<unk>", "the", "cat", "sat"]
    assert learn_encoder(TEXTS, 50, "keras", least=2).words == ["<pad>", "<unk>", "the", "cat"]
    assert learn_encoder(["<unk> a"], 50, "blanks").words == ["<pad>", "<unk>", "a"]


def test_words_met_once_are_forgotten_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr("sparsernn.data.text.WORDS_BEFORE_RARE_ONES_GO", 3)
    assert learn_encoder(["a a b c", "d e a f"], 50).words == ["<pad>", "<unk>", "a"]


@pytest.mark.parametrize(
    "keep, unknown, expected",
    [
        ("last", "token", [1, 2, 3]),
        ("first", "token", [2, 1, 2]),
        ("last", "drop", [2, 2, 3]),
    ],
)
def test_what_is_kept_of_a_long_text(keep, unknown, expected):
    encoder = learn_encoder(TEXTS, 4, "keras")
    assert next(encode(encoder, ["the dog the cat"], length=3, keep=keep, unknown=unknown)).tolist() == expected


def test_marks_are_put_around_texts():
    encoder = learn_encoder(TEXTS, 50, "keras", before="<s>", after="</s>")
    assert [encoder.words[number] for number in next(encode(encoder, ["the cat"]))] == ["<s>", "the", "cat", "</s>"]
    assert encoder.words[:4] == ["<pad>", "<unk>", "<s>", "</s>"]


def test_empty_text_is_an_empty_sequence():
    assert len(next(encode(learn_encoder(TEXTS, 9), [""]))) == 0


@pytest.mark.parametrize("described", ["", "{}x", '{"cleaning": "none", "words": []}', '{"cleaning": "keras"}', "[]"])
def test_a_damaged_vocabulary(described):
    with pytest.raises(UserError, match="vocabulary cannot be read"):
        encoder_from_json(described)


@pytest.mark.parametrize("options", [{"cleaning": "kears"}, {"size": 2}])
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError):
        learn_encoder(TEXTS, **{"size": 10, **options})


def glove_text(folder):
    (folder / "v.txt").write_text("the 1 2\nnew york 3 4\ncat 5 6\n", "utf8")
    return folder / "v.txt"


def glove_arrays(folder):
    words = np.frombuffer(b"the\nnew york\ncat", np.uint8)
    np.savez(folder / "v.npz", words_utf8=words, vectors=np.array([[1, 2], [3, 4], [5, 6]], np.float16))
    return folder / "v.npz"


@pytest.mark.parametrize("write", [glove_text, glove_arrays])
def test_word_vectors(write, tmp_path):
    path, vocabulary = write(tmp_path), ["<pad>", "<unk>", "cat", "new york", "zebra"]
    matrix = word_vectors(path, vocabulary, seed=3)
    assert matrix[2].tolist() == [5, 6] and matrix[3].tolist() == [3, 4] and not matrix[0].any()
    assert (matrix[[1, 4]].abs() <= 0.25).all() and matrix[4].any()
    assert torch.equal(matrix, word_vectors(path, vocabulary, seed=3))
    assert torch.allclose(word_vectors(path, vocabulary, normalise=True)[1:].norm(dim=1), torch.ones(4))


def test_word_vectors_that_are_wrong(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 2\ncat 1 x\n", "utf8")
    for path, words in ((tmp_path / "none.txt", ["cat"]), (tmp_path / "v.txt", ["cat"]), (tmp_path / "v.txt", ["dog"])):
        with pytest.raises(UserError):
            word_vectors(path, words)
    np.savez(tmp_path / "v.npz", words=np.zeros(2))
    with pytest.raises(UserError, match="cannot be read"):
        word_vectors(tmp_path / "v.npz", ["cat"])


def test_the_real_vectors(data_folder):
    near = word_vectors(data_folder / "glove/glove.6B.50d.top50k.txt.gz", ["<pad>", "the", "zzzzqq"])
    far = word_vectors(data_folder / "glove/glove.6B.100d.top100k.f16.npz", ["<pad>", "the", "zzzzqq"])
    assert near.shape == (3, 50) and far.shape == (3, 100)
    assert near[1, :3].tolist() == pytest.approx([0.418, 0.24968, -0.41242])


@pytest.mark.parametrize(
    "text, expected",
    [
        ("cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        ("\u6211\u559c\u6b61 iPhone15!", ["\u6211", "\u559c", "\u6b61", "iphone15", "!"]),
        ("\u0e44\u0e21\u0e48\u0e14\u0e35", ["\u0e44", "\u0e21\u0e48", "\u0e14\u0e35"]),
        ("\u30c6\u30b9\u30c8\u3002", ["\u30c6", "\u30b9", "\u30c8", "\u3002"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092e\u0947\u0902"],
        ),
        ("\ud55c\uad6d\uc5b4 \uc88b\uc544", ["\ud55c\uad6d\uc5b4", "\uc88b\uc544"]),
        ("don\u2019t \u2764\ufe0f", ["don", "\u2019", "t", "\u2764\ufe0f"]),
    ],
    ids=["normalised", "chinese", "thai", "japanese", "devanagari", "korean", "marks"],
)
def test_words_of_any_script(text, expected):
    assert cleaned("words", text) == list(expected)
