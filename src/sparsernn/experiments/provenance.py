"""Where a row's figures come from: the code, the settings, the files, and which rows were scored."""

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsernn import version
from sparsernn.data.files import checksums
from sparsernn.data.task import Loaded
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.rows import Row
from sparsernn.experiments.trained import COMPACT

FIRST_FRESH_SEED = 100
"""Seeds from this on are kept for splits that nobody looks at while settings are chosen."""
SOURCE = Path("src") / "sparsernn" / "version.py"


def provenance(row: AnyRow, data: Path | None, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a result file says of the way to its figures, as JSON values.

    `commit` is that of the checkout that holds the package, with a + where files differ from it, and None without a
    checkout; `version` is the package's. `bytes_of` is the file of the run folder whose size is the figure "bytes";
    results of earlier versions, which lack it, hold a computed one.

    Arguments:
        files: the SHA-256 of each file of data as it was when the run began; None: as it is now.
    """
    network = isinstance(row, Row)
    return {
        "version": version.__version__,
        "commit": commit(),
        "settings": without_folders(row.to_json()),
        "files": checksums(row.task, data) if files is None else dict(files),
        "bytes_of": COMPACT if network else None,
        "precision": row.settings.precision if network else "float64",
        "test_in_sight": in_sight(row) if network else "no",
    }


def in_sight(row: Row) -> str:
    """Whether the test figures of the row's own seed were in sight while its settings were chosen."""
    is_fresh = row.seeds.resplit and row.settings.seed >= FIRST_FRESH_SEED
    return "no: a split drawn when the settings were fixed" if is_fresh else row.measure.test_in_sight


def without_folders(value: Any) -> Any:
    """JSON values with the last part of absolute paths alone: folders differ between machines."""
    if isinstance(value, dict):
        return {name: without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def splits(row: AnyRow, loaded: Loaded) -> dict[str, Any]:
    """How many examples (of a text: targets) each split has, whether the seed drew it, and which rows were scored."""
    sizes = {"train": len(loaded.train), "valid": len(loaded.valid), "test": len(loaded.test)}
    return {**sizes, "drawn": row.seeds.resplit, "scored": loaded.scored}


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that the package runs from, or None if it runs from none."""
    place = Path(version.__file__).resolve()
    top = _git(place.parent, "rev-parse", "--show-toplevel")
    if not top or (Path(top) / SOURCE).resolve() != place:
        return None
    changed = _git(place.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{_git(place.parent, 'rev-parse', 'HEAD')}{'+' if changed else ''}"


def _git(folder: Path, *words: str) -> str:
    """What git answers; empty where there is no git or no checkout."""
    try:
        answer = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
