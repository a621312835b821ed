"""The network of a finished run, or of a packed file, in a form that runs elsewhere."""

from pathlib import Path

import torch

from sparsernn import runtime
from sparsernn.deploy.c_source import export_c
from sparsernn.deploy.packing import spec_of
from sparsernn.deploy.rtneural import export_rtneural
from sparsernn.deploy.spec_model import SpecModel
from sparsernn.deploy.to_onnx.exporting import export_onnx
from sparsernn.errors import UserError
from sparsernn.experiments.trained import read_final
from sparsernn.runtime.layers import checked_sizes
from sparsernn.runtime.network import Network, NetworkSpec
from sparsernn.typed import choose

FORMS = ("onnx", "c99", "rtneural")
Figures = dict[str, object]


def export(target: Path, to: str, out: Path, name: str, int8: bool) -> Figures:
    """Write a network, and say what was written.

    Arguments:
        target: of one run, or a file that `pack` wrote.
        to: one of `FORMS`.
        out: a file, or for C the folder of two.
        name: of the functions in C.
        int8: whether matrices are rounded to 8 bits.
    Raises: UserError for an unknown form, or a network that the form cannot hold.
    """
    choose("--to", to, FORMS)
    network = runtime.load(target) if target.is_file() else read_final(target).eval()
    if to == "c99":
        source = export_c(network, out, name, int8=int8)
        return {one: str(value) if isinstance(value, Path) else value for one, value in vars(source).items()}
    if to == "rtneural":
        if int8:
            raise UserError("RTNeural has no 8 bits", "numbers as they are", "leave --int8 out")
        _require_folder(out)
        return {"file": str(out), "layers": len(export_rtneural(network, out)["layers"])}
    spec = network.spec if isinstance(network, Network) else spec_of(network)
    written = export_onnx(SpecModel(spec), out, example=_example(spec), int8=int8)
    largest = max(written.differences.values(), default=0.0)
    return {"file": str(out), "bytes": written.bytes, "largest difference": largest, "zeros": written.zeros}


def _require_folder(out: Path) -> None:
    if not out.resolve().parent.is_dir():
        raise UserError(f"{out.parent} is no folder", "a folder that exists", "give another --out")


def _example(spec: NetworkSpec) -> tuple[torch.Tensor, ...]:
    """Three sequences of made-up numbers or words, and lengths where the head reads the end of each."""
    generator = torch.Generator().manual_seed(0)
    if spec.embedding is None:
        inputs = checked_sizes(spec.layers[0].cell, spec.layers[0].weights)["input"]
        x = torch.randn(3, 7, inputs, generator=generator)
    else:
        x = torch.randint(len(spec.embedding if spec.rows is None else spec.rows), (3, 7), generator=generator)
    return (x, torch.tensor([4, 7, 2])) if spec.kind in ("classification", "forecasting", "tagging") else (x,)
