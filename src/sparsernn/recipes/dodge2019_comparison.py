"""What one layer of 24 automata compares with: an LSTM and two layers of automata (Dodge et al. 2019, footnote 6)."""

from dataclasses import replace

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Stated
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import dodge2019_text as text

CORPORA = ("kitchen", "dvd", "books", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_two_layers and CORPUS_lstm; splits pair by seed."""
    return [made for corpus in CORPORA for made in trio(size, corpus)]


def trio(size: Size, corpus: str) -> list[Row]:
    """The rows of one data set."""
    one = text.begun(size, corpus)
    lstm = {"inputs": text.WIDTH, "units": text.LSTM_UNITS, "dropout": one.options["dropout"], "embedding_frozen": True}
    slower = replace(one.settings, learning_rate=text.LSTM_RATE)
    return [
        one,
        replace(one, name=f"{corpus}_two_layers", options={**one.options, "layers": 2}),
        replace(one, name=f"{corpus}_lstm", options={"cell": "lstm", **lstm}, settings=slower),
    ]


def stated(row: AnyRow) -> Stated:
    """As of every row with automata; of an LSTM the paper gives neither size nor learning rate."""
    facts = text.stated(row)
    if not row.name.endswith("_lstm"):
        return facts
    others = {field: value for field, value in facts.items() if ".cell_options." not in field}
    unstated = dict.fromkeys(("model.options.units", "settings.learning_rate"), NOT_STATED)
    return {**others, **unstated, "model.options.cell": "lstm"}


recipe = Recipe(
    title="Amazon reviews, GloVe-100: one layer of automata, two layers, an LSTM",
    source="Dodge et al. 2019, footnote 6",
    rows=rows,
    paper=text.beside(
        "the footnote on an LSTM and on two layers",
        (),
        text.GLOVE,
        text.ASSIGNED,
        Deviation("model.options.units", NOT_STATED, text.LSTM_UNITS, "as wide as its input", "*_lstm"),
        Deviation("settings.learning_rate", NOT_STATED, text.LSTM_RATE, "that of the automata is too large", "*_lstm"),
        stated=stated,
    ),
    scaled=(text.SCALED[0], text.OPENED),
)
