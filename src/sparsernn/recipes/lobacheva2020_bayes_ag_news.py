"""AG News: sparse variational dropout of weights, gates, neurons and words (Lobacheva et al. 2020, Table 2)."""

from sparsernn.data.ag_news import AgNews
from sparsernn.experiments.recipe import Recipe
from sparsernn.recipes.papers.lobacheva2020 import AG_NEWS
from sparsernn.recipes.papers.lobacheva2020_texts import SCALED, Texts

TASK = AgNews(keep="first", padding="right", unknown="token", shares=(0.95, 0.05, 0))
TEXTS = Texts("ag_news", AG_NEWS, TASK, cpu_units=128, cpu_epochs=15, vectors="GloVe")

recipe = Recipe(
    title="AG News: an LSTM made sparse by variational dropout of weights, gates, neurons and words",
    source="Lobacheva et al. 2020, Table 2, text classification",
    rows=TEXTS.rows,
    paper=TEXTS.of_paper(),
    scaled=SCALED,
)
