"""The figures that a row asks for."""

from dataclasses import dataclass, field

from sparsernn.typed import IF_GIVEN


@dataclass(frozen=True)
class Measure:
    """What is measured on a trained row.

    Arguments:
        compact: cut the network after training and measure what is left.
        test_batch_size: sequences scored at once; 1 for a language model read in one piece.
        latency_batches: batch sizes timed against the recipe's first row; empty times nothing.
        latency_seconds: upper bound on the time spent timing, all rows together.
        spectra: write the step Jacobians' spectra and the connections by gate, before and after training, to
            `spectra.json` in the run folder.
        lags: write how much gradient of a loss at the last step reaches the states before it, by kind of unit, to
            `lags.json` in the run folder; of cells that read their state.
        vanilla_units: give LSTM units whose input, forget and candidate gates are constant their settled memory from
            the first step on, before the network is cut (`compaction.vanilla_units`).
        test_in_sight: whether the row's settings were chosen with figures of these test rows in sight: "no", or "yes"
            and which.
    """

    compact: bool = True
    test_batch_size: int = 250
    latency_batches: tuple[int, ...] = (1, 32)
    latency_seconds: float = 20.0
    spectra: bool = False
    lags: bool = field(default=False, metadata=IF_GIVEN)
    vanilla_units: bool = field(default=False, metadata=IF_GIVEN)
    test_in_sight: str = field(default="no", metadata=IF_GIVEN)
