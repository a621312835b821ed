"""The training of a row that was made ready."""

from sparsernn.experiments import spectra
from sparsernn.experiments.rows import Prepared
from sparsernn.experiments.trained import Trained
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import RunFolder


def train(prepared: Prepared, run: RunFolder, *, resume: bool, progress: bool) -> Trained:
    """Train a row's network in place, with everything that a run folder holds."""
    row, loaded, network = prepared.row, prepared.loaded, prepared.network
    start = spectra.at_start(row, loaded, network, prepared.method) if row.measure.spectra else None
    fitted = fit(
        network,
        loaded.train,
        loaded.valid,
        objective=prepared.objective,
        method=prepared.method,
        settings=row.settings,
        run=run,
        resume=resume,
        progress=progress,
    )
    return Trained(row, prepared.data, network, fitted.masks, fitted.seconds, start)
