"""First word vectors from the training texts themselves: latent semantic analysis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import Loaded

MOST_TEXTS = 100_000


def latent_vectors(loaded: Loaded, width: int, seed: int = 0) -> Tensor:
    """Word vectors whose dot products are those of words that occur in the same texts, of unit mean square.

    The TF-IDF matrix of texts and words is factored by a truncated singular value decomposition; words that it does
    not reach keep small random vectors, padding a zero one.

    Shapes: -> [vocabulary width].
    Source: Deerwester et al. 1990.
    """
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    split = loaded.train
    if not isinstance(split, SequenceSplit):
        raise TypeError(f"{type(split).__name__} is no split of texts")
    rows = np.arange(len(split)) if split.rows is None else split.rows
    rows = rows[:: -(-len(rows) // MOST_TEXTS)]
    ids = [np.asarray(split.values[split.offsets[row] : split.offsets[row + 1]]) for row in rows]
    ends = np.concatenate([[0], np.cumsum([len(text) for text in ids])])
    ones = np.ones(ends[-1], np.float32)
    counts = csr_matrix((ones, np.concatenate(ids), ends), shape=(len(rows), loaded.inputs))
    weighed = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(loaded.inputs, width, generator=generator) * 0.1
    reached = min(width, min(weighed.shape) - 1)
    factored = TruncatedSVD(reached, n_iter=4, random_state=seed).fit(weighed)
    found = torch.from_numpy(factored.components_.T.astype(np.float32))
    norms = found.norm(dim=1, keepdim=True)
    known = norms.squeeze(1) > 1e-6
    vectors[known, :reached] = (found / norms.clamp_min(1e-6))[known] * reached**0.5
    vectors[0] = 0
    return vectors
