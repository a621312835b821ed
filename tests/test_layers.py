"""Who may import whom: the table of docs/how-it-fits.md, checked by import-linter."""

import configparser
import pkgutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

import sparsernn
import sparsernn.measure
import sparsernn.runtime

BOTTOM = {"errors", "folders", "denormals", "durable", "harmless", "reading", "seals", "typed", "version"}
TABLE = {
    "cells": set(),
    "runtime": {"native", "cells"},
    "structure": {"runtime.formats", "cells"},
    "kernels": {"cells", "runtime.formats", "native"},
    "running": {"cells", "structure", "kernels"},
    "nn": {"cells", "running"},
    "tracing": {"structure", "running"},
    "compaction": {"cells", "structure", "tracing", "running", "nn", "runtime"},
    "deploy": {"cells", "runtime", "models", "running", "kernels", "structure", "tracing"},
    "data": {"runtime.hashing"},
    "native": set(),
    "models": {"nn", "running", "structure"},
    "methods": {"structure", "running"},
    "sparsifying": {"methods", "structure", "tracing", "running", "compaction"},
    "callbacks": {"sparsifying", "methods", "structure"},
    "training": {"sparsifying", "methods", "structure"},
    "measure": {"structure", "kernels", "running"},
    "experiments": {
        "models",
        "methods",
        "data",
        "training",
        "structure",
        "running",
        "measure",
        "compaction",
        "deploy",
        "runtime",
    },
    "recipes": {"experiments", "methods", "data", "training"},
    "own_model": {
        "structure",
        "running",
        "tracing",
        "compaction",
        "measure",
        "methods",
        "sparsifying",
        "training",
        "reports",
    },
    "own_data": {
        "experiments",
        "methods",
        "structure",
        "sparsifying",
        "data",
        "training",
        "deploy",
        "runtime",
        "models",
    },
    "explain": {"experiments", "own_data", "models", "cells", "data", "training", "running"},
    "reports": {"measure.gate_maps"},
    "listing": set(),
    "options": set(),
    "errors": set(),
    "version": set(),
    "folders": {"errors"},
    "durable": {"errors"},
    "harmless": set(),
    "typed": {"errors"},
    "reading": {"errors", "typed"},
    "seals": {"reading"},
    "denormals": set(),
    "allocation": set(),
    "terminal": {"reports"},
}
PARTLY_GRANTED = (sparsernn.runtime, sparsernn.measure)
WITHOUT_TORCH = ("errors", "folders", "durable", "harmless", "reading", "seals", "typed", "cells", "native", "runtime")


def children(package) -> set[str]:
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def forbidden_to(layer: str) -> list[str]:
    """Everything of ours that the table does not grant to a layer, one module of a partly granted folder at a time."""
    allowed = TABLE[layer] | (set() if layer in BOTTOM else BOTTOM) | {layer}
    names = children(sparsernn) - {package.__name__.rpartition(".")[2] for package in PARTLY_GRANTED}
    for package in PARTLY_GRANTED:
        names |= {f"{package.__name__.rpartition('.')[2]}.{name}" for name in children(package)}
    return sorted(name for name in names if name not in allowed and name.partition(".")[0] not in allowed)


def write_contracts(path: Path) -> Path:
    contracts = configparser.ConfigParser()
    contracts["importlinter"] = {
        "root_package": "sparsernn",
        "include_external_packages": "True",
        "exclude_type_checking_imports": "False",
    }
    for layer in sorted(TABLE):
        contracts[f"importlinter:contract:{layer}"] = {
            "name": f"{layer} imports only what the table grants it",
            "type": "forbidden",
            "allow_indirect_imports": "True",
            "source_modules": f"sparsernn.{layer}",
            "forbidden_modules": "\n".join(["", *(f"sparsernn.{name}" for name in forbidden_to(layer))]),
        }
    contracts["importlinter:contract:torch"] = {
        "name": "what runs without torch never reaches it",
        "type": "forbidden",
        "source_modules": "\n".join(["", *(f"sparsernn.{name}" for name in WITHOUT_TORCH)]),
        "forbidden_modules": "torch",
    }
    with path.open("w") as file:
        contracts.write(file)
    return path


def test_every_folder_has_a_row():
    assert children(sparsernn) - {"cli", "__main__"} == set(TABLE)


def test_imports_follow_the_table(tmp_path, capsys):
    config = write_contracts(tmp_path / "importlinter.ini")
    status = lint_imports(config_filename=str(config), no_cache=True)
    if status:
        pytest.fail(capsys.readouterr().out)


def test_an_import_that_is_not_granted_is_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TABLE, "runtime", set())
    assert lint_imports(config_filename=str(write_contracts(tmp_path / "importlinter.ini")), no_cache=True) != 0
    assert "sparsernn.runtime.formats -> sparsernn.native" in capsys.readouterr().out


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules each of which imports the next, the first being the last; none if there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_module_imports_itself_by_way_of_others_not_even_for_types():
    graph = grimp.build_graph("sparsernn", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert " -> ".join(circle(imports)) == ""


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])
