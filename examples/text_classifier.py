"""A classifier of reviews, from a CSV file to one small file that predicts without torch.

    SPARSERNN_DATA=data python examples/text_classifier.py [--epochs 12] [--out reviews]

The reviews are the 3,000 sentences of Kotzias et al. 2015 (docs/tasks.md says where they come from).
"""

import argparse
import csv
import sys
from pathlib import Path

from sparsernn import Classifier
from sparsernn.data.sentiment_sentences import SentimentSentences
from sparsernn.errors import UserError
from sparsernn.own_data.classifier import load

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=0, help="passes over the texts; 0 chooses")
parser.add_argument("--out", type=Path, default=Path("reviews"), help="folder of the files that are written")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

# A CSV file, as yours may be: a row a text, with its label.
task, table = SentimentSentences(), options.out / "reviews.csv"
try:
    documents = list(task.documents(None))
except UserError as error:
    sys.exit(f"The data are absent: {error}")
with table.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    writer.writerows([document.text, task.label_names()[document.label]] for document in documents)

with table.open(newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]

# One call trains a dense network, a small dense one and a sparse one, beside TF-IDF with logistic regression.
classifier = Classifier(bytes="50kB", epochs=options.epochs).fit(texts, labels)
for sentence in classifier.verdict_.says:
    print(sentence)

# What is kept is one file. It needs neither torch nor the data.
path = options.out / "reviews.sparsernn"
classifier.save(path)
print(f"{path}: {path.stat().st_size:,} bytes")

again = load(path)
for text in ("The battery died after a day, a waste of money.", "Wonderful acting, and a story that stays with you."):
    print(dict(zip(again.classes_.tolist(), again.predict_proba([text])[0].round(3).tolist(), strict=True)), text)
