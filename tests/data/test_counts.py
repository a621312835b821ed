"""Every loader finds as many examples, words and labels in the real files as their descriptions say."""

import collections

import numpy as np
import pytest

from sparsernn import folders

SIZES = {
    ("sequential_digits", ()): (1197, 200, 400),
    ("sequential_mnist", ()): (55_000, 5_000, 10_000),
    ("sequential_mnist", (("order", "permuted"), ("division", "one_shot"))): (63_000, 7_000, 7_000),
    ("ag_news", (("train", "subset"),)): (18_873, 2_098, 7_600),
    ("sst2", ()): (6_920, 872, 1_821),
    ("sst2", (("fine", True),)): (8_544, 1_101, 2_210),
    ("sst2", (("phrases", True),)): (67_349, 872, 1_821),
    ("spoken_digits", ()): (2_400, 300, 300),
    ("spoken_digits", (("speaker", "theo"),)): (2_250, 250, 500),
    ("etth1", ()): (8_521, 2_857, 2_857),
    ("yelp_sentences", ()): (57_134, 6_349, 126_670),
}
TOKENS = {
    "ptb_word": ((929_589, 73_760, 82_430), 10_000),
    "ptb_char": ((5_017_482, 393_042, 442_423), 50),
    "wikitext2": ((2_088_628, 217_646, 245_569), 33_278),
    "tinyshakespeare": ((1_003_855, 55_769, 55_770), 65),
}
LABELS = {
    ("mr", ()): (5_331, 5_331),
    ("sanders_twitter", ()): (1_689, 572, 2_333, 519),
    ("sanders_twitter", (("classes", "two"),)): (572, 519),
    ("sentiment_sentences", ()): (1_500, 1_500),
    ("sentiment_sentences", (("site", "yelp"),)): (500, 500),
    ("yelp_sentences", ()): (25_278 + 50_278, 38_205 + 76_392),
    ("amazon_fine_food", (("reviews", "sample"),)): (98, 47, 75, 138, 642),
    ("amazon", (("deduplicate", False), ("domain", "kitchen"))): (3_000, 3_000),
    ("amazon_blitzer", (("domain", "pooled"),)): (4_000, 4_000),
    ("ag_news", (("train", "subset"),)): (5_231 + 1_900, 5_299 + 1_900, 5_285 + 1_900, 5_156 + 1_900),
    ("imdb", ()): (25_000, 25_000),
}
DISTINCT = {"books": 2_984 + 2_861, "dvd": 2_952 + 2_765, "electronics": 2_925 + 2_783, "kitchen": 2_956 + 2_868}


def load(name, options, folder):
    return folders.find("data", name)(**dict(options)).load(folder)


@pytest.mark.parametrize("name, options", SIZES, ids=str)
def test_sizes(name, options, data_folder):
    loaded = load(name, options, data_folder)
    assert tuple(map(len, (loaded.train, loaded.valid, loaded.test))) == SIZES[name, options]
    assert next(loaded.test.batches(4)).inputs.shape[0] == 4


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name, data_folder):
    loaded = load(name, (), data_folder)
    counts = tuple(len(split.tokens) for split in (loaded.train, loaded.valid, loaded.test))
    assert (counts, loaded.inputs) == TOKENS[name] and len(loaded.vocabulary) == loaded.outputs == loaded.inputs


def test_ptb_without_sentence_ends_and_in_part(data_folder):
    whole = load("ptb_word", (("end_of_sentence", False),), data_folder)
    assert len(whole.train.tokens) == 929_589 - 42_068 and "not comparable" in whole.note
    third = load("ptb_word", (("fraction", 1 / 3),), data_folder)
    assert len(third.train.tokens) == 309_863 and third.inputs == 10_000 and "33%" in third.note


@pytest.mark.parametrize("name, options", LABELS, ids=str)
def test_labels(name, options, data_folder):
    task = folders.find("data", name)(**dict(options))
    counts = collections.Counter(document.label for document in task.documents(data_folder))
    assert tuple(counts[label] for label in range(len(task.label_names()))) == LABELS[name, options]


@pytest.mark.parametrize("domain", DISTINCT)
def test_amazon_reviews_that_differ(domain, data_folder):
    task = folders.find("data", "amazon")(domain=domain)
    assert sum(1 for _ in task.documents(data_folder)) == DISTINCT[domain]


def test_ten_folds_test_every_sentence_once(data_folder):
    labels = np.array([document.label for document in folders.find("data", "mr")().documents(data_folder)])
    parts = [folders.find("data", "mr")(fold=fold).divide(labels, labels) for fold in range(10)]
    assert sorted(np.concatenate([part["test"] for part in parts]).tolist()) == list(range(10_662))
    assert all(sum(map(len, part.values())) == 10_662 for part in parts)


def test_activities_of_every_sample(data_folder):
    loaded = load("activity_recognition", (), data_folder)
    targets = np.concatenate(
        [
            batch.targets[batch.targets >= 0]
            for split in (loaded.train, loaded.valid, loaded.test)
            for batch in split.batches(64)
        ]
    )
    assert np.bincount(targets).tolist() == [32_764, 31_868, 27_303, 52_209, 115_069]
    assert sum(map(len, (loaded.train, loaded.valid, loaded.test))) == 223
    assert loaded.labels == ("SEATED", "SITTING_DOWN", "STANDING_UP", "TURNING", "WALKING")


def test_keras_preparation_of_reviews(data_folder):
    loaded = load("imdb", (), data_folder)
    assert tuple(map(len, (loaded.train, loaded.valid, loaded.test))) == (22_500, 2_500, 25_000)
    batch = next(loaded.train.batches(256, shuffle_seed=0))
    assert batch.inputs.shape == (256, 100) and batch.lengths is None and loaded.inputs == 20_000
    assert loaded.vocabulary[:3] == ["<pad>", "<unk>", "the"]
    assert (batch.inputs[:, -1] != 0).all() and (batch.inputs[:, 0] == 0).any()


def test_transformer_load_is_standardised(data_folder):
    loaded = load("etth1", (), data_folder)
    assert np.allclose(loaded.train.series[:8640].mean(0), 0, atol=1e-4)
    assert np.allclose(loaded.train.series[:8640].std(0), 1, atol=1e-4)
