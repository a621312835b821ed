"""`sparsernn export` on a packed file: every form, and what is wrong in one sentence."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sparsernn import runtime
from sparsernn.cli import app
from sparsernn.deploy.packing import pack
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.nn import GRU


@pytest.fixture
def packed(tmp_path):
    torch.manual_seed(0)
    pack(tmp_path / "packed", GRU(3, 5, batch_first=True))
    return tmp_path / "packed"


def exported(packed, *words):
    result = CliRunner().invoke(app, ["export", str(packed), *map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_c_and_json_are_written_where_they_are_told(packed, tmp_path):
    written = exported(packed, "--to", "c99", "--out", tmp_path / "c", "--name", "net")
    assert (written["state"], written["inputs"], written["outputs"]) == (5, 3, 5)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["net.c", "net.h"]
    assert exported(packed, "--to", "rtneural", "--out", tmp_path / "net.json")["layers"] == 1
    assert json.loads((tmp_path / "net.json").read_text())["layers"][0]["type"] == "gru"


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_an_onnx_file_of_a_packed_classifier_reads_lengths(pool, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: sparsernn[export]")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: sparsernn[export]")
    torch.manual_seed(0)
    pack(tmp_path / "packed", Classifier(4, 3, units=6, vocabulary=20, bidirectional=True, pool=pool))
    written = exported(tmp_path / "packed", "--to", "onnx", "--out", tmp_path / "net.onnx")
    assert written["bytes"] == (tmp_path / "net.onnx").stat().st_size
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    ids, lengths = np.arange(44).reshape(4, 11) % 20, np.array([11, 2, 7, 1])
    (scores,) = session.run(None, {"x": ids, "lengths": lengths})
    np.testing.assert_allclose(scores, runtime.load(tmp_path / "packed").run(ids, lengths), atol=1e-5)


def test_an_unknown_form_is_one_sentence(packed, tmp_path):
    result = CliRunner().invoke(app, ["export", str(packed), "--to", "tflite", "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, UserError) or "tflite" in result.output
    assert not (tmp_path / "x").exists()
