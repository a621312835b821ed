"""Free Spoken Digit Dataset: recordings as log-mel frames."""

import io
import wave
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sparsernn.data.files import cache_folder, find_file, members
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.store import StoreWriter, build_from
from sparsernn.data.task import Folder, Loaded, Task
from sparsernn.errors import UserError
from sparsernn.reading import readable

ARCHIVE = "fsdd/recordings.tar.gz"
RATE = 8000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@dataclass(frozen=True)
class SpokenDigits(Task):
    """3,000 recordings of the digits 0-9 by six speakers, 8 kHz, as standardised log-mel frames.

    The official split by recording number: 0-4 test (300), 5-9 validate (300), 10-49 train (2,400). The frames are
    computed once and kept in the cache folder.

    Arguments:
        bands: mel bands: features at each step.
        hop: samples between frames (80 are 10 ms).
        window: samples in a frame.
        speaker: hold out this speaker as the test part instead; "" keeps the official split.
        cache: folder of the computed frames; "" is the user's cache folder.
    Source: Jackson et al. 2018, Free Spoken Digit Dataset (recordings as a tar archive).
    """

    origin = "Free Spoken Digit Dataset, the folder recordings as recordings.tar.gz"
    files = {
        ARCHIVE: "9cbd40a399fee10d4611dc8ffe6de219695fd804a62dfb43373f183715b43877",
    }
    choices = {"speaker": ("", *SPEAKERS)}

    bands: int = 40
    hop: int = 80
    window: int = 256
    speaker: str = ""
    cache: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.bands, self.hop) < 1 or self.window < 2:
            raise UserError("bands, hop or window is too small", "at least 1, 1 and 2", "give 40, 80 and 256")

    def load(self, folder: Folder = None) -> Loaded:
        """Read the frames from the cache, or make them from the archive member by member."""
        archive = find_file(self, ARCHIVE, folder)
        options = {"spoken_digits": {**asdict(self), "cache": "", "speaker": ""}}
        cache = cache_folder(self.cache or None)
        store = build_from(archive, options, cache, lambda writer: self._build(archive, writer))
        offsets, digits, index, speaker = (store.array(name) for name in ("offsets", "digits", "index", "speaker"))
        test = speaker == SPEAKERS.index(self.speaker) if self.speaker else index < 5
        valid = ~test & (index >= 5) & (index < 10)
        frames = store.array("frames")
        rows = [np.flatnonzero(part) for part in (~test & ~valid, valid, test)]
        learned = np.concatenate([frames[offsets[row] : offsets[row + 1]] for row in rows[0]])
        values = ((frames - learned.mean(0)) / learned.std(0)).astype(np.float32)
        parts = (SequenceSplit(values, offsets, digits, rows=part, bucketed=True) for part in rows)
        note = f"speaker {self.speaker} held out" if self.speaker else ""
        return Loaded.of_classes(parts, tuple("0123456789"), inputs=self.bands, note=note)

    def _build(self, archive: Path, writer: StoreWriter) -> dict[str, object]:
        offsets = [0]
        filters = mel_filters(self.bands, self.window)
        for name, content in sorted(members(archive, ".wav")):
            digit, speaker, index = Path(name).stem.split("_")
            frames = log_mel(_samples(name, content), filters, self.window, self.hop)
            writer.append("frames", frames)
            offsets.append(offsets[-1] + len(frames))
            for array, value in (("digits", digit), ("index", index), ("speaker", SPEAKERS.index(speaker))):
                writer.append(array, np.array([int(value)]))
        if len(offsets) == 1:
            raise UserError(f"The archive {archive} holds no .wav file", f"the data of: {self.origin}", "get it again")
        writer.append("offsets", np.array(offsets))
        return {}


def _samples(name: str, content: bytes) -> np.ndarray:
    expected, do = "8 kHz mono 16-bit WAV", "get the archive again"
    with readable(f"The recording {name}", wave.Error, expected=expected, do=do):
        with wave.open(io.BytesIO(content)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
                raise wave.Error("not 8 kHz, mono, 16 bit")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def mel_filters(bands: int, window: int) -> np.ndarray:
    """Triangular filters evenly spaced on the mel scale up to half the sampling rate, [bins bands]."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, highest, bands + 2) / 2595) - 1)  # [bands+2] in hertz
    bins = np.linspace(0, RATE / 2, window // 2 + 1)[:, None]
    rising = (bins - centres[:-2]) / (centres[1:-1] - centres[:-2])
    falling = (centres[2:] - bins) / (centres[2:] - centres[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(samples: np.ndarray, filters: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Logarithm of the energy in every mel band for every frame, [frames bands]."""
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2  # [frames bins]
    return np.log(power @ filters + 1e-6).astype(np.float32)
