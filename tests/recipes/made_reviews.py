"""Reviews and word vectors made up by a few rules, written as the real files are."""

import gzip
import random
from pathlib import Path

import numpy as np

from sparsernn.recipes.papers.dodge2019_text import VECTORS, WIDTH

GOOD, BAD, OTHER = ("great", "lovely", "superb"), ("awful", "broken", "dull"), ("the", "pan", "is", "a", "knife")


def write_reviews(folder: Path, count: int = 60) -> Path:
    """Kitchen reviews, each with two words that tell, and a vector for most words."""
    draw = random.Random(0)
    (folder / "amazon").mkdir()
    for name, telling in (("positive", GOOD), ("negative", BAD)):
        with gzip.open(folder / "amazon" / f"kitchen.{name}.txt.gz", "wt") as file:
            for number in range(count):
                words = draw.choices(OTHER, k=5) + draw.choices(telling, k=2)
                draw.shuffle(words)
                file.write(f"{' '.join(words)} {number}\n")
    words = [*GOOD, *BAD, *OTHER]
    numbers = np.random.default_rng(0).normal(size=(len(words), WIDTH)).astype(np.float16)
    (folder / VECTORS).parent.mkdir()
    np.savez(folder / VECTORS, vectors=numbers, words_utf8=np.frombuffer("\n".join(words).encode(), np.uint8))
    return folder
