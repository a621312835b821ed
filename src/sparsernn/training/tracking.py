"""Progress on the screen, and CSV and TensorBoard files beside metrics.jsonl."""

import csv
import importlib.util
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sparsernn import durable
from sparsernn.errors import needs_package
from sparsernn.typed import choose

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Row = dict[str, Any]  # the figures of an epoch


class Logger(Protocol):
    """Something that is told about every epoch."""

    def write(self, history: Sequence[Row]) -> None:
        """Take note of the last row of the history."""

    def close(self) -> None:
        """Finish the file."""


class CsvLog:
    """metrics.csv: one line per epoch, one column per number."""

    def __init__(self, folder: Path, epochs_done: int):
        self.path = folder / "metrics.csv"

    def write(self, history: Sequence[Row]) -> None:
        columns = list(dict.fromkeys(name for row in history for name in row if not isinstance(row[name], list)))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(history)
        durable.replace(self.path, text.getvalue())

    def close(self) -> None:
        """Nothing is open between epochs."""


class TensorBoardLog:
    """tensorboard/: the numbers of every epoch as scalars."""

    def __init__(self, folder: Path, epochs_done: int):
        advice = 'install "sparsernn[train]", or set loggers to ["csv"]'
        with needs_package("The tensorboard logger cannot be used", do=advice):
            from torch.utils.tensorboard import SummaryWriter
        with durable.one_clear_error("The log", folder, "the checkpoints before are intact"):
            place = durable.inner_folder(folder / "tensorboard")
        self.writer = SummaryWriter(str(place), purge_step=epochs_done + 1)

    def write(self, history: Sequence[Row]) -> None:
        row = history[-1]
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "epoch":
                self.writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {"csv": CsvLog, "tensorboard": TensorBoardLog}


def check_logger_names(names: Sequence[str]) -> None:
    """Raises: UserError for a logger that does not exist."""
    for name in names:
        choose("a logger", name, LOGGERS)


def open_loggers(names: Sequence[str], folder: Path, epochs_done: int) -> list[Logger]:
    """The loggers of those names, writing into `folder`."""
    return [LOGGERS[name](folder, epochs_done) for name in names]


class Progress:
    """Loss, figures, sparsity and time left: a bar on a terminal, one plain line per epoch elsewhere.

    Arguments:
        shown: False shows nothing.
        epochs, steps: of the whole training.
        done: steps already done before a resume.
        metric: name of the figure to show.
    """

    def __init__(self, shown: bool, *, epochs: int, steps: int, done: int, metric: str):
        self.shown, self.epochs, self.steps, self.metric = shown, epochs, steps, metric
        self.started, self.done_before, self.done = time.perf_counter(), done, done
        self.bar: Bar | None = None
        if shown and steps and sys.stderr.isatty() and importlib.util.find_spec("rich"):
            self._open_bar()

    def step(self, loss: float) -> None:
        """One optimizer step was done."""
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, loss=f"{loss:.4f}")

    def epoch(self, row: Row) -> None:
        """An epoch was done."""
        figures = f"  valid {self.metric} {row[f'valid_{self.metric}']:.4f}" if f"valid_{self.metric}" in row else ""
        if self.bar is not None:
            self.bar.update(self.task, figures=f"{figures}  sparsity {row['sparsity']:.3f}")
        elif self.shown:
            passed = time.perf_counter() - self.started
            left = passed / max(self.done - self.done_before, 1) * (self.steps - self.done)
            print(
                f"epoch {row['epoch']}/{self.epochs}  loss {row['train_loss']:.4f}{figures}"
                f"  sparsity {row['sparsity']:.3f}  {row['seconds']:.1f} s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.stop()

    def _open_bar(self) -> None:
        from rich import progress
        from rich.console import Console

        fields = (
            progress.TextColumn("loss {task.fields[loss]}{task.fields[figures]}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeRemainingColumn(),
        )
        self.bar = progress.Progress(*fields, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task("training", total=self.steps, completed=self.done, loss="-", figures="")
        self.bar.start()
