"""Result files that were written before they stated their splits and where their figures are from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

CHARACTERS, TOKENS = "bits_per_character", "bits_per_token"


class Told(NamedTuple):
    """What the files of some rows do not say themselves.

    Arguments:
        recipe, row: how the names of recipe and row begin; the first that fits holds.
        drawn: the shares of training, validation and test rows, where every seed drew a split of its own.
        scored: which rows the figures without a prefix are of.
        in_sight: at which sizes settings were chosen with test figures in sight.
    """

    recipe: str
    row: str = ""
    drawn: tuple[float, float, float] | None = None
    scored: str = "test"
    in_sight: tuple[str, ...] = ()


TENTHS, HALVES = (0.8, 0.1, 0.1), (0.4, 0.1, 0.5)
TOLD = (
    Told("dodge2019_", "sentences", TENTHS, in_sight=("cpu",)),
    Told("dodge2019_", "", HALVES, in_sight=("cpu",)),
    Told("liu2021_table", "sanders_tfidf", TENTHS),
    Told("liu2021_table", "sanders_bag_of_words", TENTHS),
    Told("liu2021_table", "sanders_", TENTHS, in_sight=("cpu", "full")),
    Told("liu2021_table", "tweets_apart_tfidf", TENTHS),
    Told("liu2021_table", "tweets_apart_bag_of_words", TENTHS),
    Told("liu2021_table", "tweets_apart_", TENTHS, in_sight=("cpu", "full")),
    Told("liu2021_table", "yelp_2018_", TENTHS),
    Told("liu2021_table", "amazon_", TENTHS),
    Told("liu2021_table", "imdb_tfidf"),
    Told("liu2021_table", "imdb_bag_of_words"),
    Told("liu2021_table", "imdb_", in_sight=("cpu", "full")),
    Told("liu2021_"),
    Told("quickstart"),
    Told("zhang2020_table4", scored="train"),
    Told("zhang2020_table5"),
    Told("zhang2020_", scored="valid"),
)


def translated(result: Mapping[str, Any], metric: str = "") -> Mapping[str, Any]:
    """A result as it would be written now; one that states its splits is returned as it is.

    Arguments:
        metric: the metric that the task names as its own, where that is known.
    """
    if not result or "splits" in result:
        return result
    read = {**result, "metrics": with_bits_of_tokens(result.get("metrics"), metric)}
    recipe, row, size = (str(result.get(word, "")) for word in ("recipe", "row", "size"))
    told = next((told for told in TOLD if recipe.startswith(told.recipe) and row.startswith(told.row)), None)
    if told is None:
        return read
    has_test = told.scored == "valid" and size == "quick"  # digits of scikit-learn stand in for MNIST
    scored = "test" if has_test else told.scored
    shares = dict(zip(("train", "valid", "test"), told.drawn or (), strict=False))
    read["splits"] = {**shares, "drawn": told.drawn is not None, "scored": scored}
    read["provenance"] = {"test_in_sight": "yes" if size in told.in_sight else "no"}
    return read


def with_bits_of_tokens(metrics: object, metric: str) -> object:
    """The metrics, the bits of a word under their own name: they were called bits of a character for all texts."""
    if metric == CHARACTERS or not isinstance(metrics, Mapping):
        return metrics
    return {name.replace(CHARACTERS, TOKENS): value for name, value in metrics.items()}
