"""What is learned of data is learned of training rows: other validation and test rows leave all of it as it is."""

import io
import struct
import tarfile
import wave

import numpy as np
import pytest

from sparsernn import folders
from sparsernn.data.table_file import TableFile

EVERY = ("train", "valid", "test")


def task(name, **options):
    return folders.find("data", name)(verify=False, **options)


def splits(loaded):
    return {part: getattr(loaded, part) for part in EVERY}


def assert_disjoint(loaded, count):
    """Every row is in exactly one part."""
    rows = np.concatenate([split.rows for split in splits(loaded).values()])
    assert sorted(rows.tolist()) == list(range(count)) and min(map(len, splits(loaded).values()))


def words_of(split, vocabulary):
    return {
        vocabulary[token] for row in split.rows for token in split.values[split.offsets[row] : split.offsets[row + 1]]
    }


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.4, 0.1, 0.5)])
def test_the_words_of_a_text_task_are_those_of_training_texts(made, shares):
    for label in ("pos", "neg"):
        texts = "".join(f"shared {label} only{label}{number}\n" for number in range(50))
        folder = made(f"mr/rt-polarity.{label}.gz", texts)
    loaded = task("mr", shares=shares).load(folder)
    assert_disjoint(loaded, 100)
    rare = {word for word in loaded.vocabulary if word.startswith("only")}
    assert rare == {word for word in words_of(loaded.train, loaded.vocabulary) if word.startswith("only")}
    assert len(rare) == len(loaded.train)


def table(made, lines, name="t.csv"):
    return str(made(name, "\n".join(lines) + "\n") / name)


def test_the_words_of_a_users_texts_are_those_of_training_rows(made):
    rows = [f"shared only{number} only{number},{'ab'[number % 2]}" for number in range(60)]
    loaded = TableFile(path=table(made, ["text,label", *rows]), text="text", label="label").load()
    assert_disjoint(loaded, 60)
    rare = {int(word.removeprefix("only")) for word in loaded.vocabulary if word.startswith("only")}
    assert rare == set(loaded.train.rows.tolist())


def test_the_words_of_a_users_running_text_are_those_of_its_first_lines(made):
    lines = [f"line{number} line{number} the same words again and again and again" for number in range(100)]
    loaded = TableFile(path=table(made, lines, "t.txt"), language_model=True).load()
    assert {word for word in loaded.vocabulary if word.startswith("line")} == {f"line{number}" for number in range(80)}


def test_the_words_of_a_language_model_are_those_of_its_training_text(made):
    for part, text in (("train", "a a b <unk>\n"), ("valid", "v v v\n"), ("test", "t t t t\n")):
        folder = made(f"wikitext-2/{part}.txt", text)
    assert set(task("wikitext2").load(folder).vocabulary) == {"a", "b", "<unk>", "<eos>"}


def assert_standardised_by_training_rows(load, changed):
    """Training values have mean 0 and deviation 1, and stay the same where the rows of other parts change.

    Arguments:
        load: from the steps that are multiplied, by part, to what was loaded and the training values.
        changed: factor of the steps of validation and test rows.
    """
    for factor in (1.0, changed):
        values = load(factor)
        assert values.mean(0) == pytest.approx(np.zeros(values.shape[1]), abs=1e-5)
        assert values.std(0) == pytest.approx(np.ones(values.shape[1]), abs=1e-4)
    assert np.array_equal(load(1.0), load(changed))


def values_of(split):
    """The file's own column of every step that is read: the first, before what is made of it."""
    return np.concatenate([split.values[split.offsets[row] : split.offsets[row + 1], :1] for row in split.rows])


@pytest.mark.parametrize("per", ["series", "step"])
def test_a_users_series_are_standardised_by_training_series(made, per):
    def lines(factors):
        for walk, factor in enumerate(factors):
            for step in range(6):
                value = factor * (walk % 5 + step * (1 + walk % 2))
                yield f"{walk},{step},{value},{'ab'[walk % 2 if per == 'series' else step % 2]}"

    options = {"id": "walk", "time": "time", "series": ("x",), "label": "label", "label_per": per}
    path = table(made, ["walk,time,x,label", *lines([1] * 40)])
    first = TableFile(path=path, **options).load()
    assert_disjoint(first, 40)
    held_back = {int(row) for split in (first.valid, first.test) for row in split.rows}

    def load(factor):
        factors = [factor if walk in held_back else 1 for walk in range(40)]
        path = table(made, ["walk,time,x,label", *lines(factors)], f"t{factor}.csv")
        loaded = TableFile(path=path, **options).load()
        assert all(np.array_equal(split.rows, splits(first)[part].rows) for part, split in splits(loaded).items())
        return values_of(loaded.train)

    assert_standardised_by_training_rows(load, 50.0)


def test_a_users_wide_series_are_standardised_by_training_rows(made):
    def lines(factors):
        yield "a,b,c,label"
        for row, factor in enumerate(factors):
            yield ",".join(f"{factor * (row % 7 + step)}" for step in range(3)) + f",{'xy'[row % 2]}"

    options = {"series_columns": "a:c", "label": "label"}
    first = TableFile(path=table(made, lines([1] * 40)), **options).load()
    assert_disjoint(first, 40)
    held_back = {int(row) for split in (first.valid, first.test) for row in split.rows}

    def load(factor):
        factors = [factor if row in held_back else 1 for row in range(40)]
        loaded = TableFile(path=table(made, lines(factors), f"t{factor}.csv"), **options).load()
        return values_of(loaded.train)

    assert_standardised_by_training_rows(load, 50.0)


def test_a_users_forecast_is_standardised_by_its_first_rows_and_forecasts_nothing_of_a_later_part(made):
    def load(factor):
        rows = [f"{hour},{(1 if hour < 160 else factor) * (hour % 7)}" for hour in range(200)]
        path = table(made, ["hour,load", *rows], f"t{factor}.csv")
        options = {"time": "hour", "forecast": "load", "window": 10, "horizon": 5}
        loaded = TableFile(path=path, **options).load()
        hours = {
            part: {int(start) + 10 + step for start in split.starts for step in range(5)}
            for part, split in splits(loaded).items()
        }
        assert hours == {"train": set(range(10, 160)), "valid": set(range(160, 180)), "test": set(range(180, 200))}
        return loaded.train.series[:160]

    assert_standardised_by_training_rows(load, 50.0)


def test_the_transformers_load_is_standardised_by_its_first_twelve_months(made):
    columns = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")

    def load(factor):
        lines = ["date," + ",".join(columns)]
        for hour in range(14_400):
            value = (1 if hour < 8_640 else factor) * (hour % 24)
            lines.append("2016-07-01," + ",".join(f"{value + column}" for column in range(7)))
        loaded = task("etth1").load(made("ett/ETTh1.csv", "\n".join(lines) + "\n"))
        ends = [int(split.starts.max()) + split.window + split.horizon for split in splits(loaded).values()]
        firsts = [int(split.starts.min()) + split.window for split in splits(loaded).values()]
        assert ends == [8_640, 11_520, 14_400] and firsts == [96, 8_640, 11_520]
        return loaded.train.series[:8_640]

    assert_standardised_by_training_rows(load, 9.0)


def archive(made, name, contents):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for member, content in contents.items():
            described = tarfile.TarInfo(member)
            described.size = len(content)
            file.addfile(described, io.BytesIO(content))
    return made(name.removesuffix(".gz"), stream.getvalue())


def tone(pitch, loudness):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        samples = 9000 * loudness * np.sin(2 * np.pi * pitch * np.arange(2000) / 8000)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def test_spoken_digits_are_standardised_by_training_recordings(made):
    def contents(factors):
        names = [f"{digit}_theo_{index}" for digit in range(10) for index in (0, 5, 10, 11)]
        return {
            f"recordings/{name}.wav": tone(300 * (1 + number % 10) + 7 * number, factors.get(number, 1))
            for number, name in enumerate(sorted(names))
        }

    first = task("spoken_digits", bands=8).load(archive(made, "fsdd/recordings.tar", contents({})))
    assert_disjoint(first, 40)
    held_back = [int(row) for split in (first.valid, first.test) for row in split.rows]

    def load(factor):
        folder = archive(made, "fsdd/recordings.tar", contents(dict.fromkeys(held_back, factor)))
        return values_of(task("spoken_digits", bands=8).load(folder).train)

    assert_standardised_by_training_rows(load, 0.01)


def test_activities_are_standardised_by_training_people(made):
    header = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"

    def load(factor):
        contents = {}
        for person in (1, 2, 15, 16, 18, 19, 23):
            scale = 1 if person < 16 else factor
            rows = [
                ",".join(str(scale * (step % 5 + sensor + person)) for sensor in range(6)) + f",{step},WALKING"
                for step in range(20)
            ]
            contents[f"DATA/s{person:02d}/s{person:02d}_01_sp.csv"] = "\n".join([header, *rows]).encode()
        loaded = task("activity_recognition").load(archive(made, "har/smartphone.tar", contents))
        assert_disjoint(loaded, 7)
        assert [len(split) for split in splits(loaded).values()] == [3, 2, 2]
        return values_of(loaded.train)

    assert_standardised_by_training_rows(load, 50.0)


def test_no_digit_of_the_test_trains_or_validates(made):
    for part, first in (("train", 0), ("t10k", 60)):
        images = np.zeros((60 if part == "train" else 10, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(first, first + len(images))
        made(f"mnist/{part}-images-idx3-ubyte.gz", struct.pack(">iiii", 2051, *images.shape) + images.tobytes())
        labels = bytes(number % 10 for number in range(len(images)))
        folder = made(f"mnist/{part}-labels-idx1-ubyte.gz", struct.pack(">ii", 2049, len(images)) + labels)
    loaded = task("sequential_mnist").load(folder)
    digits = [set(split.inputs[:, 0, 0].tolist()) for split in splits(loaded).values()]
    assert digits == [set(range(55)), set(range(55, 60)), set(range(60, 70))]
    one_shot = task("sequential_mnist", division="one_shot").load(folder)
    assert one_shot.scored == "valid" and loaded.scored == "test"
    assert one_shot.valid.inputs.equal(one_shot.test.inputs) and len(one_shot.train) == 63


def test_the_parts_of_the_built_in_digits_share_none():
    digits = [
        set(map(bytes, split.inputs.numpy()))
        for split in splits(folders.find("data", "sequential_digits")().load()).values()
    ]
    assert not digits[0] & digits[1] and not digits[0] & digits[2] and not digits[1] & digits[2]
