"""Every file of the package is small and says in its name what it is."""

from pathlib import Path

import pytest

import sparsernn

SOURCE = Path(sparsernn.__file__).parent
FILES = sorted(file for file in SOURCE.rglob("*") if file.suffix in {".py", ".cpp", ".h"})
CATCH_ALL = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_file_is_short_and_not_a_catch_all(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 500
    assert not CATCH_ALL & set(file.relative_to(SOURCE).with_suffix("").parts)
