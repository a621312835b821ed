"""What there is to choose from: the entries of the folders, each in a line."""

import inspect
import re
import sys
import warnings

from sparsernn import folders

FOLDERS = {"methods": "methods", "cells": "cells", "recipes": "recipes", "tasks": "data", "kernels": "kernels"}
FIRST = {"recipes": "quickstart", "methods": "magnitude", "cells": "gru"}
"""Where to begin."""
SOURCE = re.compile(r"^\s*Source: (.*(?:\n(?!\s*\n|\s*[A-Z]\w*:).*)*)", re.MULTILINE)


def entries(kind: str) -> list[dict[str, str]]:
    """Name, first line and source of every entry of a kind; a file that cannot be imported is listed with its error."""
    folder = FOLDERS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_name = folders.entries(folder)
    home = f"{folders.PACKAGE}.{folder}"
    described = [{"name": name, **describe(entry, f"{home}.{name}")} for name, entry in by_name.items()]
    described += [
        {"name": name, "summary": "", "source": "", "error": f"{type(error).__name__}: {error}"}
        for name, error in folders.broken(folder).items()
    ]
    return sorted(described, key=lambda entry: entry["name"])


def describe(entry: object, module: str) -> dict[str, str]:
    """First line and source, as a class's docstring, an object's own fields or its file's docstring give them."""
    text = inspect.getdoc(entry if inspect.isclass(entry) else sys.modules[module]) or ""
    source = SOURCE.search(text)
    summary = getattr(entry, "title", None) or text.partition("\n")[0]
    field = getattr(entry, "source", None)
    in_text = " ".join(source[1].split()) if source else ""
    return {"summary": summary, "source": field if isinstance(field, str) else in_text}
