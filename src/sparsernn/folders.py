"""The folder is the registry: a file's name is its entry's name everywhere.

A folder package names in `KIND = "module:Class"` what its files define. The entry of a file is the one
public concrete subclass of that class defined in it, or else the one public instance; a file with neither
(an engine, a reader) is not an entry. Sub-folders with a KIND of their own add entries as "folder.file".
"""

import importlib
import inspect
import os
import pkgutil
import re
import symtable
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from sparsernn.errors import UserError, nearest

Entry = Any  # what a file of a folder defines: a class or an object
PACKAGE = __name__.rpartition(".")[0]


def names(folder: str) -> list[str]:
    """Names of a folder's entries, sorted: what a user may write."""
    return sorted(entries(folder))


def has(folder: str, name: str) -> bool:
    """Whether a folder has an entry of just this name; no other is imported."""
    return name in _file_names(folder) and _entry(folder, name) is not None


def entries(folder: str, inner: str = "") -> dict[str, Entry]:
    """Every entry of a folder by name, or those of one sub-folder; a file that cannot be imported is warned about
    and left out."""
    by_name = {}
    for name in _file_names(folder):
        if inner and not name.startswith(f"{inner}."):
            continue
        try:
            entry = _entry(folder, name)
        except Exception as error:
            where = f"{PACKAGE}/{folder}/{name}".replace(".", "/")
            warnings.warn(f"{where}.py is left out: {type(error).__name__}: {error}", stacklevel=2)
            continue
        if entry is not None:
            by_name[name] = entry
    return by_name


def broken(folder: str) -> dict[str, Exception]:
    """The files of a folder that cannot be imported here, each with its error."""
    errors: dict[str, Exception] = {}
    for name in _file_names(folder):
        try:
            _entry(folder, name)
        except Exception as error:
            errors[name] = error
    return errors


def find(folder: str, name: str) -> Entry:
    """The entry called `name`, by file name or one of its `known_as`; names resolve only within the folder.

    Raises: UserError naming the nearest known entry; the file's own error where it cannot be imported.
    """
    spelling = str(name).strip().lower().replace("-", "_")
    if spelling in _file_names(folder):
        entry = _entry(folder, spelling)
        if entry is not None:
            return entry
    by_name = entries(folder)
    spoken = {entry_name: entry_name for entry_name in by_name}
    for entry_name, entry in by_name.items():
        spoken |= {alias.lower().replace("-", "_"): entry_name for alias in getattr(entry, "known_as", ())}
    if spelling in spoken:
        return by_name[spoken[spelling]]
    advice = nearest(spelling, spoken, "pick one of these")
    raise UserError(f'"{name}" is not in {folder}', f"one of {', '.join(sorted(by_name)) or 'nothing yet'}", advice)


def name_of(folder: str, entry: object) -> str:
    """The name under which a class, or an object of it, is an entry of a folder."""
    for name, candidate in entries(folder).items():
        if candidate is entry or candidate is type(entry):
            return name
    described = getattr(entry, "__name__", type(entry).__name__)
    raise UserError(
        f"{described} is not an entry of {folder}",
        f"an object defined in {PACKAGE}/{folder}",
        f"put it in a file of its own in {PACKAGE}/{folder}",
    )


@cache
def _folder(folder: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{folder}")


def _file_names(folder: str) -> list[str]:
    package = _folder(folder)
    file_names: list[str] = []
    for module in _modules(*((path, _changed(path)) for path in package.__path__)):
        if module.ispkg:
            inner = f"{folder}.{module.name}"
            if hasattr(_folder(inner), "KIND"):
                file_names += [f"{module.name}.{name}" for name in _file_names(inner)]
        elif not module.name.startswith("_"):
            file_names.append(module.name)
    return sorted(file_names)


@cache
def _modules(*paths: tuple[str, int]) -> list[pkgutil.ModuleInfo]:
    """What lies in some folders, which are listed again once they have changed. paths: each with when it did."""
    return list(pkgutil.iter_modules([path for path, _ in paths]))


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:  # within an archive
        return 0


@cache
def _entry(folder: str, name: str) -> Entry:
    """What one file of a folder defines, or None."""
    inner, _, file = name.rpartition(".")
    package = _folder(f"{folder}.{inner}" if inner else folder)
    kind = _kind(package)
    if kind is None:
        return None
    module = importlib.import_module(f"{package.__name__}.{file}")
    public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    classes = [value for value in public.values() if _is_concrete(value, kind) and value.__module__ == module.__name__]
    candidates = list(dict.fromkeys(classes)) or _own_instances(module, public, kind)
    if len(candidates) > 1:
        called = ", ".join(getattr(value, "__name__", repr(value)[:40]) for value in candidates)
        raise UserError(
            f"{module.__file__} defines {len(candidates)} entries: {called}",
            f"one public {kind.__name__} in a file",
            "move the others to files of their own",
        )
    return candidates[0] if candidates else None


def _kind(package: ModuleType) -> type | None:
    described = getattr(package, "KIND", None)
    if described is None:
        return None
    module, _, name = described.partition(":")
    return getattr(importlib.import_module(module), name)


def _is_concrete(value: object, kind: type) -> bool:
    return inspect.isclass(value) and issubclass(value, kind) and value is not kind and not inspect.isabstract(value)


def _own_instances(module: ModuleType, public: dict[str, object], kind: type) -> list[object]:
    """Instances of `kind` bound by the file itself; one it merely imports belongs to another file."""
    candidates = {key: value for key, value in public.items() if isinstance(value, kind)}
    if not candidates:
        return []
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    bound = {key for key in candidates if re.search(rf"^{key}\b *[:=]", source, re.MULTILINE)}
    if len(bound) < len(candidates):  # slower than to look for a line that binds it
        table = symtable.symtable(source, str(module.__file__), "exec")
        bound = {symbol.get_name() for symbol in table.get_symbols() if not symbol.is_imported()}
    return list({id(value): value for key, value in candidates.items() if key in bound}.values())
