"""IMDb: sparse variational dropout of weights, gates, neurons and words (Lobacheva et al. 2020, Table 2)."""

from sparsernn.data.imdb import Imdb
from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe
from sparsernn.recipes.papers.lobacheva2020 import IMDB
from sparsernn.recipes.papers.lobacheva2020_texts import SCALED, Texts

TASK = Imdb(keep="first", padding="right", unknown="token", shares=(0.85, 0.15, 0))
TEXTS = Texts("imdb", IMDB, TASK, cpu_units=IMDB.units, cpu_epochs=20, vectors="word2vec")

recipe = Recipe(
    title="IMDb: an LSTM made sparse by variational dropout of weights, gates, neurons and words",
    source="Lobacheva et al. 2020, Table 2, text classification",
    rows=TEXTS.rows,
    paper=TEXTS.of_paper(
        Deviation("output", "one, through a sigmoid", "two, through a softmax", "as the other classifiers")
    ),
    scaled=SCALED,
)
