"""Series to forecast as they come: gaps, order, clock changes, many series, several columns, columns known ahead."""

import datetime
import json
import math
import re
import zoneinfo

import numpy as np
import pytest

from sparsernn.data.preparation import Preparation
from sparsernn.data.table_file import TableFile, encode_file
from sparsernn.errors import UserError

DAY = datetime.timedelta(days=1)
START = datetime.datetime(2023, 1, 2)


def written(folder, rows, header="t,x", name="t.csv"):
    (folder / name).write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(folder / name)


def days(count, step=DAY):
    return [(START + number * step, number) for number in range(count)]


def prepared(path, **options):
    options = {"forecast": "x", "time": "t", "horizon": 3, "window": 8, **options}
    loaded, preparation = TableFile(path=path, **options).prepare()
    return loaded, Preparation.from_json(json.loads(json.dumps(preparation.to_json())))


def inputs(loaded, preparation, split="train"):
    batch = next(getattr(loaded, split).batches(10_000))
    return batch.inputs.numpy() * preparation.deviations + preparation.means, batch.targets.numpy()


@pytest.mark.parametrize(
    "missing, expected",
    [("interpolate", [19, 20, 21]), ("forward", [19, 19, 21]), ("zero", [19, 0, 21]), ("drop", [19, 21, 22])],
)
def test_a_gap(missing, expected, tmp_path):
    rows = days(80)
    rows[20] = (rows[20][0], "n/a")
    path = written(tmp_path, rows)
    with pytest.raises(UserError, match="empty .'n/a'. in line 22 .* --missing"):
        prepared(path)
    loaded, preparation = prepared(path, missing=missing)
    values, _ = inputs(loaded, preparation)
    series = np.concatenate([values[0, :, 0], values[1:, -1, 0]])
    assert np.allclose(series[19:22], expected, atol=0.01) and preparation.remarks


@pytest.mark.parametrize("order", ["descending", "shuffled"])
def test_rows_are_put_in_the_order_of_time(order, tmp_path):
    rows = days(80)
    rows = rows[::-1] if order == "descending" else [rows[number * 37 % 80] for number in range(80)]
    loaded, preparation = prepared(written(tmp_path, rows))
    values, _ = inputs(loaded, preparation)
    assert np.allclose(np.diff(values[:, :, 0]), 1, atol=0.01) and "order of time" in preparation.remarks[0]
    encoded = encode_file(preparation, tmp_path / "t.csv")
    assert encoded.times[0][0] == str(START + 80 * DAY)


def test_times_that_are_missing_or_repeat_are_counted(tmp_path):
    rows = days(200)
    rows = [row for number, row in enumerate(rows) if number not in (50, 51, 120)]
    rows.insert(10, rows[10])
    _, preparation = prepared(written(tmp_path, rows))
    said = " ".join(preparation.remarks)
    assert "3 of 200 times" in said and "1 day" in said and "time of 1 row is that" in said and "--missing" in said
    loaded, filled = prepared(written(tmp_path, rows), missing="interpolate")
    values, _ = inputs(loaded, filled)
    assert np.allclose(np.diff(values[:, :, 0]), 1, atol=0.01) and "are filled" in " ".join(filled.remarks)


def test_a_value_that_stands_still_for_long_is_said(tmp_path):
    rows = [(time, min(number, 150) + max(0, number - 290)) for time, number in days(400)]
    _, preparation = prepared(written(tmp_path, rows))
    assert preparation.remarks == ("'x' keeps one value for 141 rows on end; were gaps filled?",)


def test_a_clock_that_goes_back_is_no_disorder(tmp_path):
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    hours = [
        datetime.datetime(2023, 10, 27, tzinfo=datetime.UTC) + n * datetime.timedelta(minutes=30) for n in range(200)
    ]
    rows = [(hour.astimezone(berlin).replace(tzinfo=None), number) for number, hour in enumerate(hours)]
    loaded, preparation = prepared(written(tmp_path, rows))
    values, _ = inputs(loaded, preparation)
    assert np.allclose(np.diff(values[:, :, 0]), 1, atol=0.01)
    assert preparation.remarks == ("clocks go back an hour, 1 times; these rows stay in their order",)
    expected = (rows[-1][0] + datetime.timedelta(minutes=30)).isoformat(" ")
    assert encode_file(preparation, tmp_path / "t.csv").times[0][0] == expected


def test_several_series_taken_for_one_are_refused(tmp_path):
    path = written(tmp_path, [(*row, name) for name in "abc" for row in days(60)], "t,x,who")
    with pytest.raises(UserError, match="earlier than the one before it, and times repeat.*--id"):
        prepared(path)
    loaded, preparation = prepared(path, id="who")
    assert list(encode_file(preparation, path).names) == ["a", "b", "c"] and len(loaded.test) == 3 * 4


def test_a_short_series_is_left_out_and_gets_no_forecast(tmp_path):
    rows = [(*row, name) for name, count in (("long", 100), ("short", 7), ("longer", 120)) for row in days(count)]
    path = written(tmp_path, rows, "t,x,who")
    _, preparation = prepared(path, id="who")
    assert any("1 of 3 series have fewer than 8 + 3 rows" in remark for remark in preparation.remarks)
    encoded = encode_file(preparation, path)
    assert list(encoded.names) == ["long", "short", "longer"] and list(encoded.faults) == [1]
    assert "has 7 rows" in encoded.faults[1]


def test_several_columns_are_forecast(tmp_path):
    path = written(tmp_path, [(time, number, -2 * number, 5) for time, number in days(100)], "t,x,y,z")
    loaded, preparation = prepared(path, forecast="x,y", series=("z",))
    assert (loaded.inputs, loaded.outputs, preparation.targets) == (3, 6, 2) and loaded.labels == ("x", "y")
    batch = next(loaded.test.batches(1))
    last = batch.inputs.numpy()[0, -1] * preparation.deviations + preparation.means
    expected = [last[0] + 1, last[0] + 2, last[0] + 3, last[1] - 2, last[1] - 4, last[1] - 6]
    assert np.allclose(preparation.unscaled(batch.targets.numpy()[0]), expected, atol=0.01)


def test_what_is_known_ahead_is_read_a_horizon_early(tmp_path):
    rows = [(time, math.sin(number), number) for time, number in days(100)]
    path = written(tmp_path, rows, "t,x,plan")
    loaded, preparation = prepared(path, foreseen=("plan",))
    values, _ = inputs(loaded, preparation)
    assert np.allclose(values[0, :, 1], np.arange(8) + 3, atol=0.01)
    ahead = [(START + number * DAY, "", 500 + number) for number in range(100, 103)]
    encoded = encode_file(preparation, written(tmp_path, [*rows, *ahead], "t,x,plan", "new.csv"))
    window = encoded.values[encoded.starts[0] : encoded.ends[0], 1] * preparation.deviations[1] + preparation.means[1]
    assert np.allclose(window[-3:], [600, 601, 602], atol=0.01) and encoded.times[0][0] == str(START + 100 * DAY)
    assert not encoded.remarks
    assert any("known ahead" in remark for remark in encode_file(preparation, path).remarks)


def test_words_are_features(tmp_path):
    rows = [(time, number, ("sun", "rain", "fog")[number % 3]) for time, number in days(100)]
    path = written(tmp_path, rows, "t,x,sky")
    loaded, preparation = prepared(path, series=("sky",))
    assert loaded.inputs == 4 and preparation.levels == {"sky": ["fog", "rain", "sun"]}
    values, _ = inputs(loaded, preparation)
    assert np.allclose(values[0, :3, 1:], [[0, 0, 1], [0, 1, 0], [1, 0, 0]], atol=0.01)
    with pytest.raises(UserError, match="'sun' in column 'sky' is not a number"):
        prepared(path, forecast="sky")
    many = written(tmp_path, [(time, number, f"w{number}") for time, number in days(100)], "t,x,sky")
    with pytest.raises(UserError, match="100 different words"):
        prepared(many, series=("sky",))


@pytest.mark.parametrize("count, horizon", [(144, 24), (80, 20), (36, 6), (30, 1)])
def test_a_horizon_longer_than_a_tenth_of_the_rows(count, horizon, tmp_path):
    loaded, preparation = prepared(written(tmp_path, days(count)), horizon=horizon, window=0)
    assert min(map(len, (loaded.train, loaded.valid, loaded.test))) > 0
    last = {}
    for part in ("train", "valid", "test"):
        targets = preparation.unscaled(inputs(loaded, preparation, part)[1])
        last[part] = (targets.min(), targets.max())
    assert last["train"][1] < last["valid"][0] and last["valid"][1] < last["test"][0]


def test_too_few_rows_for_the_horizon_name_one_that_would_do(tmp_path):
    path = written(tmp_path, days(80))
    with pytest.raises(UserError, match="Pass --horizon 19"):
        prepared(path, horizon=40, window=0)
    prepared(path, horizon=19, window=0)


@pytest.mark.parametrize(
    "numbers, told, expected",
    [
        ('"{0},5"', {}, lambda number: number + 0.5),
        ('"{0},005.25"', {}, lambda number: 1000 * number + 5.25),
        ('"${0},000"', {"decimal": "."}, lambda number: 1000 * number),
        ('"{0},250"', {"decimal": ","}, lambda number: number + 0.25),
        ("{0} %", {}, lambda number: number),
    ],
)
def test_numbers_of_other_countries(numbers, told, expected, tmp_path):
    rows = [(time, numbers.format(number + 1)) for time, number in days(100)]
    loaded, preparation = prepared(written(tmp_path, rows), **told)
    values, _ = inputs(loaded, preparation)
    assert np.allclose(values[0, :, 0], [expected(number + 1) for number in range(8)], rtol=1e-3)


def test_what_could_be_either_is_asked_for(tmp_path):
    rows = [(time, f"{number + 1},250") for time, number in days(100)]
    (tmp_path / "t.csv").write_text("t;x\n" + "".join(f"{time};{value}\n" for time, value in rows))
    with pytest.raises(UserError, match="--decimal"):
        prepared(str(tmp_path / "t.csv"))
    times = [f"0{day}/0{day % 9 + 1}/2020" for day in (5, 5, 5)]
    with pytest.raises(UserError, match="--date-format"):
        prepared(written(tmp_path, [(time, 1) for time in times]))


def test_one_bad_row_does_not_stop_a_forecast(tmp_path):
    _, preparation = prepared(written(tmp_path, days(100)))
    rows = days(100)
    rows[95] = (rows[95][0], "oops")
    rows[97] = (rows[97][0], 97, "too", "many")
    encoded = encode_file(preparation, written(tmp_path, rows, name="new.csv"))
    assert len(encoded) == 1 and not encoded.faults and any("2 rows" in remark for remark in encoded.remarks)
    window = encoded.values[encoded.starts[0] : encoded.ends[0], 0] * preparation.deviations[0] + preparation.means[0]
    assert np.allclose(window, [92, 93, 94, 94, 96, 97, 98, 99], atol=0.01)


def test_a_time_in_two_columns(tmp_path):
    rows = [(f"{13 + number // 24}/03/2004", f"{number % 24:02d}.00.00", number) for number in range(100)]
    path = written(tmp_path, rows, "Date,Time,x")
    _, preparation = prepared(path, time="Date,Time")
    assert list(encode_file(preparation, path).times[0]) == [f"17/03/2004 0{hour}.00.00" for hour in (4, 5, 6)]


@pytest.mark.parametrize("horizon, window", [(1, 0), (1, 3), (2, 0), (4, 1)])
def test_a_series_is_refused_only_where_it_is_shorter_than_the_refusal_says(horizon, window, tmp_path):
    for count in range(2, 24):
        path = written(tmp_path, days(count), name=f"{count}.csv")
        try:
            loaded, _ = prepared(path, horizon=horizon, window=window)
        except UserError as error:
            assert count < int(re.search(r"at least (\d+) rows", str(error))[1])
        else:
            assert all(len(getattr(loaded, part).starts) for part in ("train", "valid", "test"))


def test_a_number_that_marks_gaps_is_said(tmp_path):
    rows = [(time, -999 if number % 40 == 3 else number % 7) for number, (time, _) in enumerate(days(200))]
    (remark,) = prepared(written(tmp_path, rows))[1].remarks
    assert remark.startswith("'x' is -999 in 5 rows") and "--missing interpolate" in remark
    rows = [(time, 99 if number % 40 == 3 else number % 90) for number, (time, _) in enumerate(days(200))]
    assert prepared(written(tmp_path, rows, name="near.csv"))[1].remarks == ()


def test_a_column_is_not_forecast_from_its_own_future(tmp_path):
    path = written(tmp_path, days(100))
    with pytest.raises(UserError, match="'x' is to be forecast and said to be known ahead"):
        prepared(path, foreseen=("x",))
    with pytest.raises(UserError, match="Check that 't' tells series apart, and no rows"):
        prepared(path, id="t", time="", window=0, horizon=1)
