"""What a person does, sample by sample, from the sensors of a phone."""

import csv
import io
from dataclasses import dataclass

import numpy as np

from sparsernn.data.files import find_file, members
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import Folder, Loaded, Task
from sparsernn.errors import UserError
from sparsernn.reading import readable

ARCHIVE = "har/smartphone.tar.gz"
SENSORS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
LABELS = ("SEATED", "SITTING_DOWN", "STANDING_UP", "TURNING", "WALKING")
FIRST_VALID, FIRST_TEST = 16, 19


@dataclass(frozen=True)
class ActivityRecognition(Task):
    """Phone sensors of 23 people: 223 recordings, 259,213 samples of 6 sensors, a label for every sample.

    There are about 102 samples a second. The split is by person: s01-s15 train, s16-s18 validate, s19-s23 test. Sensors
    are standardised with the training people's mean and deviation.

    Arguments:
        every: keep every n-th sample; 1 keeps all.
    Source: Matey-Sanz, Casteleyn, Granell 2023, smartphone part.
    """

    origin = "Smartphone activity data (Matey-Sanz et al. 2023), the smartphone files as tar.gz"
    files = {ARCHIVE: "9529e98fd73962c38ee163c66942ff3cebc06b259d8b5d04b996cd316e2653c5"}

    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"every is {self.every}", "a whole number of at least 1", "give 1 to keep all samples")

    def load(self, folder: Folder = None) -> Loaded:
        """Read the archive member by member."""
        sensors, labels, people = [], [], []
        for name, content in sorted(members(find_file(self, ARCHIVE, folder), "_sp.csv")):
            values, targets = _recording(name, content)
            sensors.append(values[:: self.every])
            labels.append(targets[:: self.every])
            people.append(int(name.split("/")[-2][1:]))
        offsets = np.concatenate([[0], np.cumsum([len(values) for values in sensors])]).astype(np.int64)
        person = np.array(people)
        rows = [
            np.flatnonzero(part)
            for part in (person < FIRST_VALID, (person >= FIRST_VALID) & (person < FIRST_TEST), person >= FIRST_TEST)
        ]
        learned = np.concatenate([sensors[row] for row in rows[0]])
        values = ((np.concatenate(sensors) - learned.mean(0)) / learned.std(0)).astype(np.float32)
        targets = np.concatenate(labels)
        parts = (SequenceSplit(values, offsets, targets, rows=part, bucketed=True, per_step=True) for part in rows)
        return Loaded.of_classes(parts, LABELS, inputs=len(SENSORS), per_step=True, note="split by person")


def _recording(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Sensors [samples 6] and class numbers [samples] of one file."""
    expected = "columns of six sensors and a known label"
    with readable(f"The recording {name}", expected=expected, do="get it again"):
        rows = list(csv.DictReader(io.StringIO(content.decode("utf8"))))
        values = np.array([[float(row[sensor]) for sensor in SENSORS] for row in rows])
        return values, np.array([LABELS.index(row["label"]) for row in rows], np.int64)
