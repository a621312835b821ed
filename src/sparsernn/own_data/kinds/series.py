"""Series with a label each, a row a step or a row a series."""

from __future__ import annotations

from sparsernn.own_data.features import logistic_regression
from sparsernn.own_data.kinds.kind import Choice, File, Kind, majority, targets_of
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers


class Series(Kind):
    """Logistic regression on simple features, and a network that reads both ways."""

    about = "logistic regression on simple features"
    choice = Choice("classifier", 64, 16, 2500, {"bidirectional": True, "pool": "mean", "dropout": 0.2})

    def baselines(self, file: File) -> list[Scored]:
        return [majority(file), logistic_regression(file.loaded, self.about)]

    def answers(self, file: File) -> Answers:
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels)


KIND = Series()
