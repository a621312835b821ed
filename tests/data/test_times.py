"""Times as people write them: read as seconds, and the next ones written in the same way."""

import datetime
import zoneinfo

import numpy as np
import pytest

from sparsernn.data.times import Clock, moment, step_of

UTC = datetime.UTC


def date(*parts):
    return datetime.datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "first, second, seconds, following",
    [
        ("1949-01", "1949-02", date(1949, 1, 1), "1949-03"),
        ("1991 Jul", "1991 Aug", date(1991, 7, 1), "1991 Sep"),
        ("Nov-99", "Dec-99", date(1999, 11, 1), "Jan-00"),
        ("1970 Q3", "1970 Q4", date(1970, 7, 1), "1971 Q1"),
        ("Q1 2020", "Q2 2020", date(2020, 1, 1), "Q3 2020"),
        ("2019-W51", "2019-W52", date(2019, 12, 16), "2020-W01"),
        ("2012/01/30", "2012/01/31", date(2012, 1, 30), "2012/02/01"),
        ("Jan 1 2000", "Feb 1 2000", date(2000, 1, 1), "Mar 1 2000"),
        ("2020-01-31", "2020-02-29", date(2020, 1, 31), "2020-03-31"),
        ("30.12.2020", "31.12.2020", date(2020, 12, 30), "01.01.2021"),
        ("19580329", "19580405", date(1958, 3, 29), "19580412"),
        ("202001011230", "202001011300", date(2020, 1, 1, 12, 30), "202001011330"),
        ("01/30/2020 11:00 PM", "01/31/2020 12:00 AM", date(2020, 1, 30, 23), "01/31/2020 01:00 AM"),
        (
            "10/Oct/2000:23:00:00 -0700",
            "10/Oct/2000:23:30:00 -0700",
            date(2000, 10, 11, 6),
            "11/Oct/2000:00:00:00 -0700",
        ),
        ("2021-05-01 00:00:00+00:00", "2021-05-01 00:30:00+00:00", date(2021, 5, 1), "2021-05-01 01:00:00+00:00"),
        ("2020-01-01T00:00:00.000Z", "2020-01-01T00:15:00.000Z", date(2020, 1, 1), "2020-01-01T00:30:00.000Z"),
        ("Friday, January 31, 2020", "Saturday, February 1, 2020", date(2020, 1, 31), "Sunday, February 2, 2020"),
        ("13 Mar 2020 18.00.00", "13 Mar 2020 19.00.00", date(2020, 3, 13, 18), "13 Mar 2020 20.00.00"),
        ("20 octobre 2021", "21 octobre 2021", date(2021, 10, 20), "22 octobre 2021"),
        ("31 janv. 2021", "28 févr. 2021", date(2021, 1, 31), "31 mars. 2021"),
        ("Feb 2021", "Mär 2021", date(2021, 2, 1), "Apr 2021"),
        ("1 de octubre de 2021", "1 de noviembre de 2021", date(2021, 10, 1), "1 de diciembre de 2021"),
        ("30 września 2021", "31 października 2021", date(2021, 9, 30), "30 listopada 2021"),
        ("31 MAYIS 2021", "30 HAZIRAN 2021", date(2021, 5, 31), "31 TEMMUZ 2021"),
        ("1 мая 2021", "1 июня 2021", date(2021, 5, 1), "1 июля 2021"),
        ("2021年9月30日", "2021年10月1日", date(2021, 9, 30), "2021年10月2日"),
        ("2021년 9월 30일 9시 5분", "2021년 9월 30일 10시 5분", date(2021, 9, 30, 9, 5), "2021년 9월 30일 11시 5분"),
        ("31. 12. 2021 9:00", "31. 12. 2021 10:00", date(2021, 12, 31, 9), "31. 12. 2021 11:00"),
        ("2021. 12. 30.", "2021. 12. 31.", date(2021, 12, 30), "2022. 01. 01."),
        ("2021-10-30 23:00 CEST", "2021-10-31 00:00 CEST", date(2021, 10, 30, 21), "2021-10-31 01:00 CEST"),
        (
            "Wed Oct 20 2021 02:00:00 GMT+0200 (Central European Summer Time)",
            "Wed Oct 20 2021 03:00:00 GMT+0200 (Central European Summer Time)",
            date(2021, 10, 20),
            "Wed Oct 20 2021 04:00:00 GMT+0200 (Central European Summer Time)",
        ),
        ("09:30", "10:00", 9.5 * 3600, "10:30"),
        ("1577836800", "1577840400", 1577836800, "1577844000"),
        ("1.5", "2.0", 1.5, "2.5"),
    ],
)
def test_a_time_and_the_next_one(first, second, seconds, following):
    clock = Clock(Clock().unsure([first, second]))
    made = clock.seconds([first, second])
    assert made[0] == seconds
    step = step_of(made, clock.dates)
    assert clock.written(step.after(float(made[1])), [first, second]) == following
    assert clock.written(float(made[0]), [second, first]) == first


def test_a_format_that_is_told():
    clock = Clock("%y|%j")
    assert clock.seconds(["20|032"])[0] == date(2020, 2, 1)
    assert clock.written(date(2020, 2, 2), ["20|032"]) == "20|033"
    with pytest.raises(ValueError):
        clock.seconds(["2020-01-01"])


@pytest.mark.parametrize(
    "cells, order",
    [
        (["13/01/2020"], "dayfirst"),
        (["01/13/2020"], "monthfirst"),
        (["10/03/2004 22:00", "10/03/2004 23:00", "11/03/2004 00:00"], "dayfirst"),
        (["01/02/2020", "01/03/2020"], "monthfirst"),
        (["05/06/2020"], "?"),
        (["2020-05-06"], ""),
        (["0-04-28"], "dayfirst"),
        (["03. 11. 2021"], "?"),
    ],
)
def test_the_order_of_day_and_month(cells, order):
    assert Clock().unsure(cells) == order


def test_steps_of_working_days_and_of_hours():
    days = np.arange("2020-01-01", "2020-02-15", dtype="datetime64[D]")
    days = days[np.is_busday(days)].astype("datetime64[s]").astype(float)
    step = step_of(days)
    assert step.working and moment(step.after(date(2020, 2, 14))).date() == datetime.date(2020, 2, 17)
    assert step.places(days).tolist() == list(range(len(days)))
    assert step_of(np.arange(0, 36000, 900.0)).words() == "15 minutes"


@pytest.mark.parametrize("cell", ["soon", "2020-13-01", "32.01.2020", "", None, "1e999"])
def test_what_is_no_time(cell):
    clock = Clock()
    clock.seconds(["2020-01-01 00:00"])
    with pytest.raises(ValueError):
        clock.seconds([cell])


def test_zones_are_taken_into_account():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    hours = [datetime.datetime(2023, 10, 28, 22, tzinfo=UTC) + datetime.timedelta(hours=hour) for hour in range(6)]
    made = Clock().seconds([hour.astimezone(berlin).isoformat() for hour in hours])
    assert np.diff(made).tolist() == [3600] * 5
