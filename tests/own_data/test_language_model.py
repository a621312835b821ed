"""A plain text of one's own: n-grams and networks on the same tokens, unknown words, and files as large as they say."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsernn import runtime
from sparsernn.data.table_file import TableFile
from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.trained import read_final
from sparsernn.own_data import prediction, training
from sparsernn.own_data.kinds import kind_of, language_model
from sparsernn.own_data.kinds.kind import NETWORK, File, Wishes
from sparsernn.own_data.kneser_ney import KneserNey


def text_file(folder, lines=400, tokenizer="words"):
    """Sentences whose every word but the first follows from the one before it, nine times in ten."""
    chance, after = random.Random(0), {"the": "cat", "cat": "sees", "sees": "a", "a": "dog", "dog": "today"}
    made = []
    for number in range(lines):
        words = [chance.choice(["the", "a"])]
        while len(words) < 8:
            words.append(after.get(words[-1], "the") if chance.random() < 0.9 else chance.choice(list(after)))
        made.append(" ".join([*words, f"rare{number}"] if number % 20 == 0 else words))
    path = folder / "text.txt"
    path.write_text("\n".join(made) + "\n")
    return TableFile(path=str(path), language_model=True, tokenizer=tokenizer)


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    return text_file(tmp_path)


def test_words_met_once_are_unknown_so_that_unknown_words_can_be_expected(task):
    loaded, _ = task.prepare()
    lines = Path(task.path).read_text().splitlines()
    trained = Counter(" ".join(lines[: round(0.8 * len(lines))]).split())
    names = [loaded.vocabulary[token] for token in np.asarray(loaded.train.tokens)]
    assert Counter(names)["<unk>"] == sum(count for count in trained.values() if count == 1) == 16
    assert set(names) == {word for word, count in trained.items() if count > 1} | {"<unk>", "<eos>"}


def test_training_leaves_both_files_and_each_gives_its_figure_again(task, tmp_path):
    asked = training.Training(task, cell="lstm", sparsity=0.7, units=12, epochs=4, out=tmp_path / "out", progress=False)
    figures = training.train(asked).verdict.figures
    loaded, _ = task.prepare()
    test, counts = np.asarray(loaded.test.tokens), np.bincount(np.asarray(loaded.train.tokens))
    ngrams = KneserNey.load(tmp_path / "out" / language_model.NGRAMS)
    assert figures["baseline"] == pytest.approx(math.exp(-ngrams.log_probabilities(test).mean()))
    assert figures["baseline"] < figures["majority"] and max(figures.values()) < len(counts)
    (again,) = prediction.predict(tmp_path / "out" / NETWORK, Path(task.path))["predictions"]
    artifact = runtime.load(tmp_path / "out" / NETWORK)
    assert figures["sparse"] == pytest.approx(math.exp(-artifact.log_probabilities(test).mean()), rel=1e-6)
    everything = np.concatenate([np.asarray(part.tokens) for part in (loaded.train, loaded.valid, loaded.test)])
    assert again["loss"] == pytest.approx(-artifact.log_probabilities(everything).mean(), rel=1e-6)
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert verdict["file_bytes"] == (tmp_path / "out" / NETWORK).stat().st_size
    assert verdict["baseline_bytes"] == (tmp_path / "out" / language_model.NGRAMS).stat().st_size
    assert verdict["test_rows"] == len(test) - 1
    sparse = read_final(next((tmp_path / "out").glob("sparse-seed*")))
    matrices = {id(one): one for one in sparse.parameters() if one.dim() > 1}.values()
    assert sum(int((one == 0).sum()) for one in matrices) / sum(one.numel() for one in matrices) > 0.65
    dense = read_final(next((tmp_path / "out").glob("dense-seed*")))
    loss = -np.concatenate(list(language_model.log_probabilities(dense.eval(), loaded.test))).mean()
    assert figures["dense"] == pytest.approx(math.exp(loss))


def file_of(task):
    loaded, preparation = task.prepare()
    return File(task, loaded, preparation, {}, loaded)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_the_small_dense_network_has_the_bytes_of_the_sparse_one(task, sparsity):
    file = file_of(task)
    method = training.make_method("magnitude", sparsity)
    dense, small, _ = kind_of(task, file.loaded).rows(file, Wishes("lstm", method, units=300))
    units, fewer, words = dense.options["units"], small.options["units"], file.loaded.outputs

    def weights(width):
        return words * width + 2 * 4 * width * width

    bytes = min(weights(units), weights(units) * (1 - sparsity) + weights(units) / 8)
    assert weights(fewer - 1) < bytes < weights(fewer + 1)


@pytest.mark.parametrize(("method", "where"), [("optimal_brain_damage", ("*weight*",)), ("synflow", None)])
def test_every_matrix_is_made_sparse_where_the_method_can(method, where, task):
    file = file_of(task)
    rows = kind_of(task, file.loaded).rows(file, Wishes("lstm", training.make_method(method, 0.5)))
    assert {row.settings.where for row in rows} == {where}


def test_characters_have_a_wider_network_than_words(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    file = file_of(text_file(tmp_path, tokenizer="characters"))
    wishes = Wishes("lstm", training.make_method("magnitude", 0.8))
    kind = kind_of(file.task, file.loaded)
    few = kind.rows(file, wishes)[0].options["units"]
    monkeypatch.setattr(language_model, "WORDS", 1)
    assert kind.rows(file, wishes)[0].options["units"] == kind.choice.units < few


def test_the_output_layer_begins_with_the_frequencies(task):
    file = file_of(task)
    source = language_model.TokenFrequencies()
    row = kind_of(task, file.loaded).rows(file, Wishes("lstm", training.make_method("magnitude", 0.8), units=8))[0]
    prepared = network.prepare(row, file.loaded, network.describe(file.loaded), runs=None)
    shares = prepared.network.head.bias.softmax(0)
    counts = torch.from_numpy(np.bincount(np.asarray(file.loaded.train.tokens), minlength=file.loaded.outputs))
    torch.testing.assert_close(shares, (counts + 0.5) / (counts + 0.5).sum())
    headless = torch.nn.Sequential()
    with pytest.raises(UserError, match="no running text"):
        source.prepare(type(prepared)(row, file.loaded, {}, headless, None, prepared.objective), None)
