import importlib
import pkgutil
import sys

import pytest

import sparsernn
from sparsernn import folders
from sparsernn.errors import UserError

BOX = """
import abc
from dataclasses import dataclass

class Box(abc.ABC):
    known_as = ()

    @abc.abstractmethod
    def volume(self): ...

@dataclass
class Label:
    text: str
"""
CRATE = """
from sparsernn.boxes.box import Box

class Stiff(Box):
    pass

class Crate(Stiff):
    known_as = ("Wooden-Box",)

    def volume(self):
        return 1

class _Hidden(Crate):
    pass
"""


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    """A folder of the package made on the spot; returns a function that adds files to it."""

    def add(path: str, text: str) -> None:
        file = tmp_path / "boxes" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        importlib.invalidate_caches()

    add("__init__.py", 'KIND = "sparsernn.boxes.box:Box"')
    add("box.py", BOX)
    add("crate.py", CRATE)
    monkeypatch.setattr(sparsernn, "__path__", [*sparsernn.__path__, str(tmp_path)])
    yield add
    for name in [name for name in sys.modules if name.startswith("sparsernn.boxes")]:
        del sys.modules[name]
    vars(sparsernn).pop("boxes", None)
    folders._folder.cache_clear()
    folders._entry.cache_clear()


def test_the_entry_is_the_public_concrete_class_of_the_file(boxes):
    assert folders.names("boxes") == ["crate"]
    assert folders.find("boxes", "crate").__name__ == "Crate"
    assert folders.entries("boxes") == {"crate": folders.find("boxes", "crate")}


def test_an_imported_class_is_not_an_entry_again(boxes):
    boxes("reader.py", "from sparsernn.boxes.crate import Crate")
    assert folders.names("boxes") == ["crate"]


def test_a_new_file_is_a_new_entry(boxes):
    assert folders.names("boxes") == ["crate"]
    boxes("chest.py", CRATE.replace("Crate", "Chest"))
    assert folders.names("boxes") == ["chest", "crate"]


def test_other_names_and_spellings(boxes):
    crate = folders.find("boxes", "crate")
    assert folders.find("boxes", "wooden_box") is crate
    assert folders.find("boxes", "Wooden-Box") is crate
    assert folders.name_of("boxes", crate) == "crate"
    assert folders.name_of("boxes", crate()) == "crate"


def test_an_unknown_name_is_answered_with_the_nearest(boxes):
    with pytest.raises(UserError, match="\"crat\" is not in boxes. Expected one of crate. Write 'crate'"):
        folders.find("boxes", "crat")
    with pytest.raises(UserError, match="Pick one of these"):
        folders.find("boxes", "zzz")
    with pytest.raises(UserError, match="is not an entry of boxes"):
        folders.name_of("boxes", 3)


@pytest.mark.parametrize("name", ["os.path", "..methods", "box", "__init__", "sparsernn.boxes.crate", ""])
def test_names_resolve_only_to_entries_of_the_folder(boxes, name):
    with pytest.raises(UserError):
        folders.find("boxes", name)


def test_a_broken_file_is_shown_and_the_others_stay(boxes):
    boxes("crooked.py", "import not_installed_anywhere")
    with pytest.warns(UserWarning, match=r"boxes/crooked.py is left out: ModuleNotFoundError"):
        assert folders.names("boxes") == ["crate"]
    assert folders.find("boxes", "crate").__name__ == "Crate"
    assert isinstance(folders.broken("boxes")["crooked"], ModuleNotFoundError)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        folders.find("boxes", "crooked")


def test_two_entries_in_a_file_are_refused(boxes):
    boxes("twins.py", CRATE + "\nclass Second(Crate):\n    pass\n")
    with pytest.raises(UserError, match="twins.py defines 2 entries: Crate, Second"):
        folders.find("boxes", "twins")


def test_instances_and_sub_folders(boxes):
    kind = 'KIND = "sparsernn.boxes.box:Label"'
    boxes("labels/__init__.py", kind)
    boxes("labels/red.py", 'from sparsernn.boxes.box import Label\nRED = Label("red")')
    boxes(
        "labels/pink.py",
        "from sparsernn.boxes.labels.red import RED\nfrom sparsernn.boxes.box import Label\n"
        'PINK = Label(RED.text + "dish")',
    )
    assert folders.names("boxes") == ["crate", "labels.pink", "labels.red"]
    assert folders.names("boxes.labels") == ["pink", "red"]
    assert folders.find("boxes", "labels.pink").text == "reddish"
    assert folders.name_of("boxes.labels", folders.find("boxes", "labels.red")) == "red"


def folders_with_a_kind() -> list[str]:
    return [
        module.name
        for module in pkgutil.iter_modules(sparsernn.__path__)
        if module.ispkg and hasattr(importlib.import_module(f"sparsernn.{module.name}"), "KIND")
    ]


@pytest.mark.parametrize("folder", folders_with_a_kind())
def test_every_folder_of_the_package_can_be_read(folder):
    assert folders.broken(folder) == {}
    assert all(folders.find(folder, name) is entry for name, entry in folders.entries(folder).items())
