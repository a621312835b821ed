"""The smallest network that is good enough: a few sparsities, trained one after the other, by validation rows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparsernn.deploy.packing import runs_without_torch
from sparsernn.durable import scratch
from sparsernn.experiments import results
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.rows import Row
from sparsernn.experiments.trained import read_final
from sparsernn.own_data.kinds.kind import File, Kind, Try
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Tried, Verdict, bytes_of, written

TRIED = "tried"
UNITS = {"accuracy": "points", "rmse": "% in error", "perplexity": "% in perplexity"}


@dataclass(frozen=True)
class Search:
    """Tries of sparse networks on a file, in folders of their own.

    Arguments:
        jobs: that train; they know the dense row.
        seed: of every training.
        quality: how far the validation figure may be behind the dense network's.
    """

    kind: Kind
    file: File
    jobs: Jobs
    seed: int
    quality: float

    def run(self, tries: Sequence[Try]) -> tuple[Try, tuple[Tried, ...]]:
        """The sparsest of the tries that is good enough, or the best where none is; and how those that ran did.

        Its training is copied to where the row's run belongs.
        """
        jobs, valid = self.jobs, self.file.validated()
        jobs.run(jobs.row("dense"), self.seed)
        answers, beside = self.kind.answers(valid), self.kind.beside(valid)
        dense = answers.of(self._answered(valid, "dense", jobs.folder("dense", self.seed), beside))
        tried: list[Tried] = []
        for one in tries:
            folder = self._trained(one)
            scored = self._answered(valid._replace(share=one.share), "sparse", folder, beside)
            figure = answers.of(scored)
            reached = behind(answers.metric, dense, figure) <= self.quality
            tried.append(Tried(one.sparsity, scored.bytes, figure, dense, reached))
            unit = UNITS[answers.metric]
            jobs.say(
                f"tried a sparsity of {one.sparsity:.3g}: {written(answers.metric, figure)} on validation rows, "
                f"{behind(answers.metric, dense, figure):+.2f} {unit} behind dense, {bytes_of(scored.bytes)}"
            )
            if reached:
                break
        best = min(range(len(tried)), key=lambda place: behind(answers.metric, dense, tried[place].valid))
        place = len(tried) - 1 if tried[-1].reached else best
        self._keep(tries[place])
        return tries[place], tuple(replace(one, saved=tried[place] is one) for one in tried)

    def _trained(self, one: Try) -> Path:
        folder = self._folder(one)
        self.jobs.run_in(folder, sparse_row(self.kind, self.file, one), self.seed)
        return folder

    def _folder(self, one: Try) -> Path:
        return self.jobs.out / TRIED / f"sparsity-{one.sparsity:.4f}"

    def _answered(self, valid: File, name: str, folder: Path, beside: object) -> Scored:
        if not runs_without_torch(read_final(folder)):
            return self.kind.trained(valid, name, folder)
        with scratch(self.jobs.out) as out:
            return self.kind.answered(valid, name, folder, out, beside)

    def _keep(self, one: Try) -> None:
        """Copy a training to where the sparse row's run belongs, whole or not at all."""
        place = results.run_folder(self.jobs.out, "sparse", self.seed)
        if not place.exists():
            half = self._folder(one).with_suffix(".copy")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(self._folder(one), half)
            half.rename(place)


def sparse_row(kind: Kind, file: File, one: Try) -> Row:
    """The row of a try."""
    return kind.rows(file, one.wishes)[-1]


def behind(metric: str, dense: float, figure: float) -> float:
    """How far a figure is behind the dense network's: in points of accuracy, or in per cent of another figure."""
    return dense - figure if metric == "accuracy" else 100 * (figure / max(dense, 1e-300) - 1)


def with_wishes(verdict: Verdict, most: int, quality: float | None, tried: tuple[Tried, ...]) -> Verdict:
    """The verdict with what was asked of size and quality, and whether it was reached."""
    says = list(verdict.says)
    if most:
        says.append(f"Its file takes {verdict.bytes[verdict.saved]:,} bytes; at most {most:,} were allowed.")
    if tried and quality is not None:
        metric, unit = verdict.metric, UNITS[verdict.metric]
        listed = ", ".join(f"{one.sparsity:.3g} ({written(metric, one.valid)})" for one in tried)
        saved = next(one for one in tried if one.saved)
        says.append(f"Sparsities tried, with their figures on validation rows: {listed}; dense: "
                    f"{written(metric, tried[0].dense)}.")  # fmt: skip
        if saved.reached:
            says.append(f"{saved.sparsity:.3g} is the sparsest tried that is at most {quality:g} {unit} behind.")
        else:
            says.append(f"None is at most {quality:g} {unit} behind: the quality asked for was not reached.")
    return replace(verdict, says=tuple(says), tried=tried)
