"""Text classification at 95.69 % sparsity: tweets, films, Yelp, food (Liu et al. 2021, Table 4)."""

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers.liu2021_text import BASELINES_ARE_OURS, compared, scaled
from sparsernn.recipes.papers.liu2021_text import rows as text_rows

CORPORA = ("imdb", "sanders", "tweets_apart", "yelp_2018", "amazon")
KINDS = ("dense", "st_rnn", "set", "static", "bag_of_words", "tfidf")
EPS = liu2021.EPS["table4"]


def rows(size: Size) -> list[AnyRow]:
    """Rows DATA_METHOD. Data without an official split are split anew by each seed, alike for all rows of the seed.

    `tweets_apart` are the tweets of `sanders` without near-duplicates of test tweets in training, which is our own.
    """
    return text_rows(size, CORPORA, EPS, KINDS, liu2021.TABLE_4)


recipe = Recipe(
    title="Text classification with 95.69 % zeros: IMDb, tweets, Yelp 2018, Amazon",
    source="Liu et al. 2021, Table 4",
    rows=rows,
    paper=compared("Table 4, on text classification", CORPORA, BASELINES_ARE_OURS),
    scaled=scaled(CORPORA),
)
