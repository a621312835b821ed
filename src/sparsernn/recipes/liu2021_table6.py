"""Text classification at 99.1 % sparsity (Liu et al. 2021, Table 6)."""

from __future__ import annotations

from sparsernn.recipes.liu2021_text import rows as text_rows
from sparsernn.recipes.recipe import Recipe, Row, Size

CORPORA = ("imdb", "sanders", "yelp_2018", "ag_news", "yelp_polarity")
KINDS = ("dense", "st_rnn")
EPS = 2.0


def rows(size: Size) -> list[Row]:
    """Rows DATA_METHOD; the dense rows are those of the other tables."""
    return text_rows(size, CORPORA, EPS, KINDS)


recipe = Recipe(
    title="Text classification with 99.1 % zeros: five data sets",
    source="Liu et al. 2021, Table 6",
    rows=rows,
)
