"""A row whose word vectors begin as the training texts say: latent semantic analysis."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.splits import training_texts
from sparsernn.data.task import Loaded
from sparsernn.experiments import network
from sparsernn.experiments.rows import Prepared, Runs, Source


@dataclass(frozen=True)
class LatentVectors(Source):
    """Begin the embedding with word vectors from all training texts."""

    decides = "first weights"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        width = network.embedding_of(prepared.network).embedding_dim
        vectors = latent_vectors(prepared.loaded, width, prepared.row.settings.seed)
        network.give_vectors(prepared.network, vectors)
        return prepared


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

    split, rows = training_texts(loaded)
    ids = [np.asarray(split.values[split.offsets[row] : split.offsets[row + 1]]) for row in rows]
    ends = np.concatenate([[0], np.cumsum([len(text) for text in ids])])
    ones = np.ones(ends[-1], np.float32)
    counts = csr_matrix((ones, np.concatenate(ids), ends), shape=(len(rows), loaded.inputs))
    weighed = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(loaded.inputs, width, generator=generator) * 0.1
    reached = min(width, min(weighed.shape) - 1)
    factored = TruncatedSVD(reached, n_iter=4, random_state=seed).fit(weighed)
    directions = torch.from_numpy(np.asarray(factored.components_).T.astype(np.float32))
    norms = directions.norm(dim=1, keepdim=True)
    occurring = norms.squeeze(1) > 1e-6
    vectors[occurring, :reached] = (directions / norms.clamp_min(1e-6))[occurring] * reached**0.5
    vectors[0] = 0
    return vectors
