"""Near-duplicates are found exactly, whole groups stay together, and parts can be kept apart."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.data.amazon_blitzer import AmazonBlitzer
from sparsernn.data.cuts import cut_by_group
from sparsernn.data.mr import MovieReviews
from sparsernn.data.near_duplicates import Shingles, kept_apart, normalised
from sparsernn.data.sanders_twitter import SandersTwitter
from sparsernn.data.table_file import TableFile
from sparsernn.data.yelp_sentences import YelpSentences
from sparsernn.errors import UserError

WORDS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), min_size=2, max_size=12)


def jaccard(one: str, other: str) -> float:
    """By the definition, of runs of three words; 0 where a text has no word."""
    sets = []
    for words in (one.split(), other.split()):
        words += [""] * (3 - len(words)) if words else []
        sets.append({tuple(words[start : start + 3]) for start in range(len(words) - 2)})
    union = sets[0] | sets[1]
    return len(sets[0] & sets[1]) / len(union) if union else 0.0


@given(WORDS, st.integers(1, 11), st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_those_that_are_alike_are_those_of_the_definition(texts, cut, least):
    cut = min(cut, len(texts) - 1)
    rows, others = np.arange(cut), np.arange(cut, len(texts))
    expected = [any(jaccard(texts[row], texts[other]) >= least for other in others) for row in rows]
    assert Shingles.of(texts).alike(rows, others, least).tolist() == expected


def test_case_marks_addresses_and_names_of_users_do_not_count():
    tweet = "RT @me: The NEW phone is out, at last! http://a.b/c1"
    assert normalised(tweet) == ["the", "new", "phone", "is", "out", "at", "last"]
    shingles = Shingles.of(
        [tweet, "the new phone is out at last... https://d.e", "the old phone is not out yet", ":-)"]
    )
    assert shingles.alike(np.array([0, 2, 3]), np.array([1])).tolist() == [True, False, False]


def test_the_test_rows_stay_and_no_later_part_has_a_copy_before_it():
    texts = ["one two three four", "five six seven eight", "nine ten eleven twelve", "one two three four!",
             "Five six seven eight", "nine ten eleven twelve"]  # fmt: skip
    parts = {"train": np.array([0, 1, 2]), "valid": np.array([4, 5]), "test": np.array([3])}
    apart = kept_apart(Shingles.of(texts), parts)
    assert {name: rows.tolist() for name, rows in apart.items()} == {"train": [], "valid": [4, 5], "test": [3]}
    parts["test"] = np.array([3, 1])
    assert kept_apart(Shingles.of(texts), parts)["valid"].tolist() == [5]


def test_fifty_thousand_texts_take_seconds():
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(5_000)])
    texts = [" ".join(words[row]) for row in (5_000 * generator.random((50_000, 20)) ** 3).astype(int)]
    texts[40_000:] = texts[:10_000]
    started = time.process_time()
    alike = Shingles.of(texts).alike(np.arange(40_000), np.arange(40_000, 50_000))
    assert alike[:10_000].all() and not alike[10_000:].any()
    assert time.process_time() - started < 30


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(0, 9))
def test_a_group_is_in_one_part_alone(groups, seed):
    groups = np.array(groups)
    parts = cut_by_group(groups, (0.8, 0.1, 0.1), seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    names = [set(groups[part].tolist()) for part in parts]
    assert sum(map(len, names)) == len(set().union(*names))
    assert len(set(groups.tolist())) < 3 or all(names)
    assert all(np.array_equal(a, b) for a, b in zip(parts, cut_by_group(groups, (0.8, 0.1, 0.1), seed), strict=True))


def test_parts_of_groups_have_their_shares():
    groups = np.repeat(np.arange(100), 5)
    assert [len(part) for part in cut_by_group(groups, (0.8, 0.1, 0.1), 3)] == [400, 50, 50]
    assert not np.array_equal(cut_by_group(groups, (0.8, 0.1, 0.1), 3)[2], cut_by_group(groups, (0.8, 0.1, 0.1), 4)[2])


def reviews(count: int = 60) -> list[str]:
    return [f"the film number {number} was long and number {number} again" for number in range(count)]


def test_a_task_drops_training_texts_like_those_of_the_test(made):
    folder = made("mr/rt-polarity.pos.gz", "\n".join([*reviews(), *reviews()]) + "\n")
    made("mr/rt-polarity.neg.gz", "\n".join(text.replace("film", "play") for text in reviews()) + "\n")
    keep = MovieReviews(verify=False).load(folder)
    drop = MovieReviews(verify=False, near_duplicates="drop").load(folder)
    assert np.array_equal(keep.test.rows, drop.test.rows)
    assert len(drop.train) < len(keep.train) and "near-duplicates" in drop.note
    # the negative texts come first, each once
    train, valid, test = (
        {row % 60 for row in split.rows if row >= 60} for split in (drop.train, drop.valid, drop.test)
    )
    assert train and test and not train & (valid | test) and not valid & test


def test_a_users_texts_stay_whole_by_group_and_without_copies(tmp_path, made):
    rows = [(text, "ab"[number % 2], f"person {number // 3}") for number, text in enumerate(reviews())]
    path = made("texts.csv", "text,label,person\n" + "".join(",".join(row) + "\n" for row in rows)) / "texts.csv"
    loaded = TableFile(path=str(path), text="text", label="label", groups="person").load()
    people = [set(row // 3 for row in split.rows) for split in (loaded.train, loaded.valid, loaded.test)]
    assert len(set.union(*people)) == sum(map(len, people)) == 20 and "whole groups of person" in loaded.note
    copies = "text,label\n" + "".join(f"{text},{label}\n" for text, label, _ in [*rows, *rows])
    made("copies.csv", copies)
    options = {"path": str(path.with_name("copies.csv")), "text": "text", "label": "label"}
    keep, drop = TableFile(**options).load(), TableFile(**options, near_duplicates="drop").load()
    assert np.array_equal(keep.test.rows, drop.test.rows)
    assert not {row % 60 for row in drop.train.rows} & {row % 60 for row in drop.test.rows}
    assert {row % 60 for row in keep.train.rows} & {row % 60 for row in keep.test.rows}


def test_a_users_series_stay_whole_by_group(made):
    places = [(walk, step) for walk in range(40) for step in range(5)]
    lines = [f"{walk},{step},{walk % 2 * 9 + step},{'ab'[walk % 2]},{walk // 4}" for walk, step in places]
    path = made("walks.csv", "\n".join(["walk,time,x,label,person", *lines]) + "\n") / "walks.csv"
    options = {"path": str(path), "id": "walk", "time": "time", "series": ("x",), "label": "label"}
    for more in ({}, {"label_per": "step"}):
        loaded = TableFile(**options, **more, groups="person").load()
        people = [set(row // 4 for row in split.rows) for split in (loaded.train, loaded.valid, loaded.test)]
        assert len(set.union(*people)) == sum(map(len, people)) == 10
    with pytest.raises(UserError, match="more than one group"):
        TableFile(**options, groups="time").load()


def test_what_cannot_be_kept_apart_is_refused():
    with pytest.raises(UserError, match="split by time"):
        TableFile(path="a.csv", forecast="x", groups="person").kind  # noqa: B018
    with pytest.raises(UserError, match="something else than texts"):
        TableFile(path="a.csv", series=("x",), label="y", near_duplicates="drop").kind  # noqa: B018


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [(SandersTwitter(), 0.18, 0.24), (YelpSentences(), 0.12, 0.13), (AmazonBlitzer(domain="pooled"), 0.034, 0.036)],
    ids=["tweets", "Yelp", "Blitzer"],
)
def test_how_many_test_texts_have_a_copy_in_training(data_folder, task, low, high):
    documents = list(task.documents(data_folder))
    parts = np.array([document.part for document in documents])
    rows = task.divide(parts, np.array([document.label for document in documents]))
    shingles = Shingles.of(document.text for document in documents)
    near = shingles.alike(rows["test"], rows["train"]).mean()
    met = {documents[row].text for row in rows["train"]}
    exact = np.mean([documents[row].text in met for row in rows["test"]])
    print(f"{type(task).__name__}: {near:.1%} of the test texts have a near copy in training, {exact:.1%} an exact one")
    assert low < near < high
