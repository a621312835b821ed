"""Loaders of public files, on small extracts made here in the same formats; and files that are wrong."""

import gzip
import io
import json
import struct
import tarfile
import wave

import numpy as np
import pytest

from sparsernn import folders
from sparsernn.errors import UserError


def task(name, **options):
    return folders.find("data", name)(**options)


def test_wikitext103(made):
    for part, text in (("train", " = A =\n the cat <unk>\n"), ("valid", "the cat\n"), ("test", "the dog\n")):
        folder = made(f"wikitext-103/wiki.{part}.tokens", text)
    loaded = task("wikitext103").load(folder)
    assert len(loaded.train.tokens) == 8 and len(loaded.valid.tokens) == 3
    assert [loaded.vocabulary[number] for number in loaded.test.tokens] == ["the", "<unk>", "<eos>"]


def test_a_text_can_be_scored_on_windows_of_its_training_part(made):
    words = [f"w{number}" for number in range(100)]
    for part in ("train", "valid", "test"):
        folder = made(f"wikitext-103/wiki.{part}.tokens", " ".join(words))
    loaded = task("wikitext103", steps=5, windows=True, test_on_train=0.1).load(folder)
    assert len(loaded.test) == 2 and "scored on 10%" in loaded.note
    (batch,) = loaded.test.batches(2)
    (whole,) = loaded.train.batches(20)
    assert {tuple(row.tolist()) for row in batch.inputs.T} < {tuple(row.tolist()) for row in whole.inputs.T}
    again = task("wikitext103", steps=5, windows=True, test_on_train=0.1, seed=1).load(folder)
    assert not np.array_equal(again.test.numbers, loaded.test.numbers)
    with pytest.raises(UserError, match="Set windows=True"):
        task("wikitext103", test_on_train=0.1)


def test_one_billion_words(made):
    top = "one_billion_words/1-billion-word-language-modeling-benchmark-r13output"
    for number in (1, 2):
        made(f"{top}/training-monolingual.tokenized.shuffled/news.en-0000{number}-of-00100", "a b c\na d\n")
    for number in (0, 1):
        folder = made(
            f"{top}/heldout-monolingual.tokenized.shuffled/news.en.heldout-0000{number}-of-00050",
            "a z\n" * (1 + number),
        )
    loaded = task("one_billion_words", shards=2, vocabulary=4).load(folder)
    assert loaded.inputs == 4 and len(loaded.train.tokens) == 14
    assert (len(loaded.valid.tokens), len(loaded.test.tokens)) == (6, 3)
    assert loaded.vocabulary[-1] == "<unk>" and loaded.test.tokens[1] == 3
    with pytest.raises(UserError, match="news.en-00003-of-00100"):
        task("one_billion_words").load(folder)


def test_yelp_polarity(made):
    rows = ['"1","it was \\n bad, ""really"""', '"2","good, good"'] * 20
    made("yelp_review_polarity_csv/train.csv", "\n".join(rows))
    folder = made("yelp_review_polarity_csv/test.csv", rows[0])
    loaded = task("yelp_polarity").load(folder)
    assert (len(loaded.train), len(loaded.valid), len(loaded.test)) == (36, 4, 1)
    assert "good" in loaded.vocabulary and loaded.outputs == 2
    made("yelp_review_polarity_csv/test.csv", '"3","x"')
    with pytest.raises(UserError, match="holds the label '3'"):
        task("yelp_polarity").load(folder)


def test_yelp_2018(made):
    reviews = [json.dumps({"stars": float(1 + row % 5), "text": f"text {row}"}) for row in range(100)]
    folder = made("yelp_2018/yelp_academic_dataset_review.json", "\n".join(reviews))
    loaded = task("yelp_2018", limit=50).load(folder)
    assert (len(loaded.train), len(loaded.valid), len(loaded.test)) == (40, 5, 5) and "first 50" in loaded.note
    made("yelp_2018/yelp_academic_dataset_review.json", '{"stars": 3}')
    with pytest.raises(UserError, match="Line 1 .* is not a review"):
        task("yelp_2018").load(folder)


def test_amazon_fine_food_prefers_the_full_file(made):
    made("amazon_fine_food/fine_food_reviews_1k.csv.gz", "Score,Summary,Text\n" + "3,a,b\n4,c,d\n" * 20)
    assert len(task("amazon_fine_food", verify=False).load(made("unrelated", "")).train) == 32
    folder = made("amazon_fine_food/Reviews.csv", "Id,Score,Time,Summary,Text\n" + '1,5,0,a,"b, c"\n2,1,0,d,e\n' * 50)
    loaded = task("amazon_fine_food").load(folder)
    assert len(loaded.train) == 80 and "sample" not in loaded.note


def test_ag_news_prefers_the_full_file(made):
    made("ag_news/train.csv", '"1","Title","First; second; third"\n"3","Other","Text"\n' * 20)
    folder = made("ag_news/test.csv.gz", '"4","a","b"\n')
    loaded = task("ag_news", verify=False).load(folder)
    assert len(loaded.train) == 36 and loaded.note == "" and loaded.outputs == 4


def test_mnist_in_small(made):
    images, labels = np.arange(4 * 28 * 28, dtype=np.uint32).astype(np.uint8), bytes([1, 2, 3, 4])
    for part in ("train", "t10k"):
        made(f"mnist/{part}-images-idx3-ubyte.gz", struct.pack(">iiii", 2051, 4, 28, 28) + images.tobytes())
        folder = made(f"mnist/{part}-labels-idx1-ubyte.gz", struct.pack(">ii", 2049, 4) + labels)
    one, other = (
        next(task("sequential_mnist", order=order, verify=False).load(folder).train.batches(3)).inputs
        for order in ("pixel", "permuted")
    )
    assert one.shape == (3, 784, 1) and not one.equal(other) and one.sum() == pytest.approx(float(other.sum()))
    scaled = next(task("sequential_mnist", scale=2550, verify=False).load(folder).train.batches(3)).inputs
    assert scaled.shape == (3, 28, 28) and float(scaled.max()) == pytest.approx(0.1)
    made("mnist/t10k-labels-idx1-ubyte.gz", b"\0\0\x08\x01\0\0\0\x09abc")
    with pytest.raises(UserError, match="not a complete idx file"):
        task("sequential_mnist", verify=False).load(folder)


def recording(samples, rate=8000):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def archive(contents):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in contents.items():
            described = tarfile.TarInfo(name)
            described.size = len(content)
            file.addfile(described, io.BytesIO(content))
    return stream.getvalue()


def write_archive(folder, name, contents):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(contents))
    return folder


def test_spoken_digits_are_computed_once(tmp_path, cache):
    time = np.arange(2000) / 8000
    contents = {
        f"recordings/{digit}_theo_{index}.wav": recording(9000 * np.sin(2 * np.pi * 300 * (digit + 1) * time))
        for digit in range(10)
        for index in (0, 5, 10, 11)
    }
    folder = write_archive(tmp_path, "fsdd/recordings.tar.gz", contents)
    loaded = task("spoken_digits", verify=False, bands=8).load(folder)
    assert (len(loaded.train), len(loaded.valid), len(loaded.test)) == (20, 10, 10) and loaded.inputs == 8
    frames = loaded.train.values
    assert len(list(cache.iterdir())) == 1
    assert np.array_equal(task("spoken_digits", verify=False, bands=8).load(folder).train.values, frames)
    assert not list(tmp_path.rglob("*.wav"))


def test_a_recording_of_another_rate_is_refused(tmp_path):
    contents = {"recordings/1_theo_0.wav": recording(np.zeros(9), 44_100)}
    folder = write_archive(tmp_path, "fsdd/recordings.tar.gz", contents)
    with pytest.raises(UserError, match="1_theo_0.wav"):
        task("spoken_digits", verify=False).load(folder)


def test_a_truncated_archive_is_refused(tmp_path):
    folder = write_archive(tmp_path, "har/smartphone.tar.gz", {"DATA/s01/s01_01_sp.csv": np.random.bytes(9000)})
    path = folder / "har/smartphone.tar.gz"
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match="cannot be read"):
        task("activity_recognition", verify=False).load(folder)


@pytest.mark.parametrize("name", sorted({*folders.names("data")} - {"sequential_digits", "table_file"}))
def test_a_missing_file_is_named_with_its_origin_and_folder(name, tmp_path):
    described = task(name)
    with pytest.raises(UserError) as error:
        described.load(tmp_path)
    assert str(tmp_path.resolve()) in str(error.value) and described.origin in str(error.value)
    assert any(file in str(error.value) for file in described.files)


def test_an_altered_file_is_refused_unless_asked_for(made):
    folder = made("tinyshakespeare/input.txt.gz", "To be, or not to be. " * 50)
    with pytest.raises(UserError, match="SHA-256"):
        task("tinyshakespeare").load(folder)
    assert task("tinyshakespeare", verify=False).load(folder).metric == "bits_per_character"


def test_a_plain_copy_is_as_good_as_a_gzipped_one(made, data_folder):
    with gzip.open(data_folder / "tinyshakespeare/input.txt.gz") as file:
        folder = made("tinyshakespeare/input.txt", file.read())
    assert len(task("tinyshakespeare").load(folder).train.tokens) == 1_003_855


@pytest.mark.parametrize(
    "name, options",
    [
        ("sequential_digits", {"order": "rows"}),
        ("sequential_mnist", {"scale": 0}),
        ("imdb", {"padding": "up"}),
        ("imdb", {"length": -1}),
        ("imdb", {"shares": (0, 1, 1)}),
        ("amazon", {"domain": "book"}),
        ("mr", {"fold": 10}),
        ("sst2", {"fine": True, "phrases": True}),
        ("ptb_word", {"fraction": 0}),
        ("ptb_word", {"steps": 0}),
        ("etth1", {"window": 4000}),
        ("etth1", {"target": "oil"}),
        ("spoken_digits", {"speaker": "me"}),
        ("activity_recognition", {"every": 0}),
        ("sanders_twitter", {"classes": "five"}),
        ("ptb_word", {"vocabulary": 1}),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(name, options):
    with pytest.raises(UserError):
        task(name, **options)


def test_a_text_with_unknown_tokens_and_no_word_for_them(made):
    for part, text in (("train", "ab" * 9), ("valid", "ab"), ("test", "zb")):
        folder = made(f"ptb/ptb.char.{part}.txt.gz", " ".join(text) + "\n")
    with pytest.raises(UserError, match="'z' .* does not occur in the training text"):
        task("ptb_char", verify=False).load(folder)
