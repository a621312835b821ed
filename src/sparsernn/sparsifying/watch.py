"""What a training loop does that would make a run useless without anybody noticing; each is told once."""

from torch import Tensor

from sparsernn.methods.method import Method
from sparsernn.sparsifying.sparse_run import SparseRun
from sparsernn.structure.choice import count

SOME_ZEROS = 0.2  # as many exact zeros among the weights that exist as hardly any initialisation has
PATIENCE = 10  # steps after which a penalty that was never asked for is told
LATE = 20  # backward passes behind the last step are too many from a twentieth of all steps on


class Watch:
    """Looks at the loop at every step, and at the end.

    Attributes:
        penalty_asked: whether the penalty was asked for since training began.
        written: whether absent weights were written by somebody else than the optimizer that is known.
    """

    def __init__(self) -> None:
        self.penalty_asked = self.written = False
        self._penalty_missed: bool | None = None
        self._penalty_told = False
        self._most_passes = 1

    def step_begins(self, run: SparseRun) -> None:
        """Gradients of a step are ready, and nothing has moved."""
        if not self.written and (alive := run.masks.alive(run.model)):
            self.written = True
            run.warn(
                f"{sum(alive.values())} absent weights were not zero when step {run.step_count + 1} began, and are "
                "zero again: something beside the known optimizer writes weights (a lookahead or average, a loaded "
                "checkpoint); pass it to attach(), or load the Sparsifier's state with the weights"
            )
        if run.step_count == 0:
            self._look_for_zeros(run)
        if self._penalty_missed is None and not self.penalty_asked:
            self._penalty_missed = self._has_a_penalty(run)
        if self._lacks_the_penalty() and run.step_count + 1 >= PATIENCE:
            self._penalty_told = True
            run.warn(self._penalty_sentence(run))

    def step_ends(self, passes: int) -> None:
        """A step is over. passes: how many backward passes it took."""
        self._most_passes = max(self._most_passes, passes)

    def summary(self, run: SparseRun, passes: int) -> list[str]:
        """Sentences about the whole run. passes: how many backward passes came after the last step."""
        sentences = []
        if alive := run.masks.alive(run.model):
            sentences.append(
                f"{sum(alive.values())} absent weights were not zero in the end ({', '.join(list(alive)[:3])}), "
                "and are now: something beside the known optimizer wrote them, or they are of a checkpoint whose "
                "Sparsifier state was not loaded"
            )
        if run.steps and passes and run.step_count == 0:
            sentences.append(
                f"no step of {run.steps} was seen, but {passes} backward passes: the Sparsifier does not know the "
                "optimizer that steps; pass it to attach()"
            )
        elif run.steps and passes > self._most_passes + run.steps // LATE:
            sentences.append(
                f"{passes} backward passes came after step {run.step_count}, the last one that was seen: another "
                "optimizer took over; pass it to attach()"
            )
        if self._lacks_the_penalty():
            sentences.append(self._penalty_sentence(run))
        if run.step_count > run.steps > 0:
            sentences.append(
                f"{run.step_count} steps were counted and steps={run.steps}: schedules were at their end after "
                f"{100 * run.steps // run.step_count} % of the training"
            )
        return sentences

    def outcome(self, run: SparseRun) -> list[str]:
        """Sentences about what the method has made in the end."""
        if not run.method.target or not all(bool(kept.all()) for kept in run.masks.kept.values()):
            return []
        return [
            f"nothing is absent although the sparsity is {run.method.target:.2f}: there are too few groups for "
            "that, as where a forward joins all units of a layer, so that they go together or not at all"
        ]

    def _look_for_zeros(self, run: SparseRun) -> None:
        """A sparse checkpoint whose zeros nobody calls absent."""
        zeros = total = 0
        for name in run.selected:
            weight, kept = run.model.get_parameter(name), run.masks.kept[name].to(run.device)
            present, zero = count(kept), count(kept & (weight == 0))
            if not _is_an_initialisation(weight):
                zeros, total = zeros + zero, total + present
        if zeros > SOME_ZEROS * max(total, 1):
            run.warn(
                f"{zeros} of {total} selected weights are exactly zero when training begins, and are trained like the "
                "others: if they come from a sparse checkpoint, pass its masks as where=masks, and they stay zero"
            )

    def _has_a_penalty(self, run: SparseRun) -> bool:
        if type(run.method).penalty is Method.penalty:
            return False
        penalty = run.method.penalty(run)
        return penalty is not None and bool(penalty != 0)

    def _lacks_the_penalty(self) -> bool:
        return bool(self._penalty_missed) and not (self.penalty_asked or self._penalty_told)

    def _penalty_sentence(self, run: SparseRun) -> str:
        return (
            f"the penalty of {type(run.method).__name__} was never asked for, so that it has no effect: add "
            "sparsifier.penalty() to the loss"
        )


def _is_an_initialisation(weight: Tensor) -> bool:
    """Whether no row has more than one number, as in identities and zeros that training starts from."""
    return weight.dim() < 2 or int((weight != 0).flatten(1).sum(1).max()) <= 1
