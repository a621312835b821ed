"""Facts of Wen et al. 2018, Learning intrinsic sparse structures within long short-term memory."""

from collections.abc import Mapping
from dataclasses import replace

from sparsernn.recipes.papers.lobacheva2020 import LARGE, Pruning, WordLstm

NAME = "Wen et al. 2018"
LARGE_LSTM: WordLstm = replace(LARGE, neurons=Pruning(0.00245, l1=0.0), decays={})
"""Strength and dropout of the sample file of the authors' code."""
TABLE: Mapping[str, Mapping[str, object]] = {"iss": {"test_perplexity": 78.65, "neurons": [373, 315]}}
