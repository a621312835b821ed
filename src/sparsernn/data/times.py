"""Times as people and programs write them: dates, months, quarters, weeks, hours; and how the next one is written."""

import datetime
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from sparsernn.data.months import month_like, month_of
from sparsernn.data.numerals import is_gap, numeral
from sparsernn.errors import UserError

UTC, DAY = datetime.UTC, datetime.timedelta(days=1)
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
ORDERS = ("dayfirst", "monthfirst")
ORDERED = 2000
"""Values by which the order of day and month is told."""

_Y, _YY, _D = r"(?P<y>\d{4})", r"(?P<y>\d{4}|\d{2})", r"(?P<d>\d{1,2})(?:st|nd|rd|th|er|º)?"
_B, _OF = r"(?P<b>(?:[^\W\d_][\u0300-\u036f]*){3,12})\.?", r"(?:[-/. ]{0,2}| (?:de|of) )"
_DATES = (
    _Y + r"(?P<s>[-/. ]|\. )(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})\.?",
    r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
    r"(?P<first>\d{1,2})(?P<s>[-/. ]|\. )(?P<second>\d{1,2})(?P=s)" + _YY + r"\.?",
    _D + _OF + _B + r"(?:[-/., ]{0,2}'?| de )" + _YY,
    _B + r"[-/. ]{0,2}" + _D + r",?[-/. ]+" + _Y,
    _Y + r"[-/. ]?" + _B + r"[-/. ]{0,2}(?P<d>\d{1,2})",
    _Y + r"(?:[-/. ]|-?M)(?P<m>\d{1,2})",
    r"(?P<y>\d{4})(?P<m>\d{2})",
    _Y + r"[-/., ]{0,2}" + _B,
    _B + r"(?:[-/., ]{0,2}'?| de )" + _YY,
    r"(?P<m>\d{1,2})[-/.](?P<y>\d{4})",
    _Y + r"[-/. ]?[Qq](?P<q>[1-4])",
    r"[Qq](?P<q>[1-4])[-/., ]{0,2}" + _YY,
    r"(?P<q>[1-4])[Qq][-/., ]?" + _YY,
    _Y + r"[-/. ]?[HhSs](?P<h>[12])",
    _Y + r"-?[Ww](?P<w>\d{1,2})(?:-?(?P<wd>[1-7]))?",
    _Y + r"\s*[年년]\s*(?P<m>\d{1,2})\s*[月월](?:\s*(?P<d>\d{1,2})\s*[日일])?",
)
ZONES = {
    "BST": 1, "CET": 1, "CEST": 2, "WET": 0, "WEST": 1, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "AEST": 10,
    "AEDT": 11, "NZST": 12, "NZDT": 13, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
"""Hours ahead of UTC. Only how they differ within a file counts: where a name has two meanings, either will do."""
_ZONE = (
    r"(?:\s*(?P<z>(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|Z|UTC|GMT|" + "|".join(ZONES) + ")"
    r"(?:\[[\w/]+\]|\s*\([^()]+\))?)?"
)
_CLOCK = (
    r"(?P<H>\d{1,2})(?:[:.h](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?)?"
    r"(?:\s*(?P<p>[AaPp])(?:\.?[Mm]\.?))?" + _ZONE
)
_SHORT_CLOCK = r"(?P<H>\d{2})(?:(?P<M>\d{2})(?P<S>\d{2})?)?" + _ZONE
_WEEKDAY = r"(?:(?P<n>" + "|".join(f"{day[:3]}(?:{day[3:]})?" for day in DAYS) + r")\.?,?\s+)?"
_BETWEEN = r"(?:[Tt]|,?\s+|\s+-\s+|:)"
_HOURS = r"\s*(?P<H>\d{1,2})[時时시点](?:\s*(?P<M>\d{1,2})[分분])?(?:\s*(?P<S>\d{1,2})[秒초])?"
_AFTER = ("", _BETWEEN + _CLOCK, "[Tt ]" + _SHORT_CLOCK, _HOURS)
PATTERNS = [
    *(_WEEKDAY + date + after for after in _AFTER for date in _DATES),
    _DATES[1] + _SHORT_CLOCK,
    _WEEKDAY + _B + r" +" + _D + r" (?P<H>\d{2}):(?P<M>\d{2}):(?P<S>\d{2})(?: [A-Z]{3,4})?(?: (?P<z>[+-]\d{4}))? " + _Y,
    r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?(?:\s*(?P<p>[AaPp])(?:\.?[Mm]\.?))?",
]
"""How times are written, as regular expressions with a group a part."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _matches(text: str) -> Iterator[re.Match[str]]:
    """What the patterns make of a text, one after the other."""
    return (matched for pattern in PATTERNS if (matched := _compiled(pattern).fullmatch(text)))


class Step(NamedTuple):
    """From one time to the next: whole months, working days, or seconds (or plain numbers)."""

    months: int
    seconds: float
    working: bool = False

    def after(self, time: float, count: int = 1) -> float:
        """The time so many steps later."""
        if self.working:
            day = np.busday_offset(np.datetime64(moment(time).date()), count, "forward")
            return float(day.astype("datetime64[s]").astype(np.int64)) + time % 86400
        if not self.months:
            return time + count * self.seconds
        last = moment(time)
        number = last.year * 12 + last.month - 1 + count * self.months
        year, month = divmod(number, 12)
        end = (datetime.date(year + (month == 11), (month + 1) % 12 + 1, 1) - DAY).day
        at_end = (last + DAY).day == 1 and last.day > 27
        return last.replace(year=year, month=month + 1, day=end if at_end else min(last.day, end)).timestamp()

    def places(self, times: np.ndarray) -> np.ndarray:
        """How many steps after the first each time is, as fractions."""
        if self.working:
            days = times.astype("datetime64[s]").astype("datetime64[D]")
            return np.busday_count(days[0], days).astype(np.float64)
        if not self.months:
            return (times - times[0]) / self.seconds
        months = times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
        return (months - months[0]) / self.months

    def words(self) -> str:
        """The step in words."""
        if self.working:
            return "a working day"
        if self.months:
            return f"{self.months} month{'s' * (self.months > 1)}"
        for unit, name in ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute")):
            if self.seconds >= unit and self.seconds % unit == 0:
                count = int(self.seconds // unit)
                return f"{count} {name}{'s' * (count > 1)}"
        return f"{self.seconds:g}"


def moment(seconds: float) -> datetime.datetime:
    """A time as a date, in UTC."""
    return datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=seconds)


class Clock:
    """Reads a column of times: numbers stay, dates become seconds since 1970.

    Arguments:
        date_format: as for `datetime.strptime`; or "dayfirst" or "monthfirst" for dates such as 10/03/2004; "" sees by
            the first values.
    """

    def __init__(self, date_format: str = ""):
        self.order = date_format if date_format in ORDERS else ""
        self.format = "" if self.order else date_format
        self._pattern: re.Pattern[str] | None = None
        self._numeric: bool | None = None

    @property
    def dates(self) -> bool:
        """Whether the column holds dates, and no plain numbers."""
        return not self._numeric

    def seconds(self, cells: Sequence[object]) -> np.ndarray:
        """Some cells as numbers.

        Raises: ValueError(place) for the first that is no time.
        """
        texts = ["" if is_gap(cell) else str(cell).strip() for cell in cells]
        if self._numeric is None:
            self._numeric = not self.format and all(map(_is_number, texts)) and not _compact(texts)
        if self._numeric:
            return np.array([self._number(place, text) for place, text in enumerate(texts)])
        return np.array([self._second(place, text) for place, text in enumerate(texts)])

    def _number(self, place: int, text: str) -> float:
        number = numeral(text)
        if number is None or number.unit:
            raise ValueError(place)
        return number.value

    def _second(self, place: int, text: str) -> float:
        try:
            if self.format:
                date = datetime.datetime.strptime(text, self.format)
                return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
            return self._seen(text)
        except (ValueError, OverflowError):
            raise ValueError(place) from None

    def _seen(self, text: str) -> float:
        if text[4:5] == text[7:8] == "-":
            try:
                date = datetime.datetime.fromisoformat(text)
                return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
            except ValueError:
                pass
        if self._pattern is not None and (matched := self._pattern.fullmatch(text)):
            return _seconds(matched, self.order)
        for matched in _matches(text):
            try:
                seconds = _seconds(matched, self.order)
            except ValueError:
                continue
            self._pattern = matched.re
            return seconds
        return _by_pandas(text, self.order)

    def unsure(self, cells: Iterable[object]) -> str:
        """The order of day and month that some dates show; "?" where they could be either, "" where it is plain."""
        if self.format or self.order:
            return self.order
        pairs = [matched for cell in cells if (matched := _ordered(str(cell).strip()))]
        if not pairs:
            return ""
        if any(int(pair["first"]) > 12 for pair in pairs):
            return "dayfirst"
        return "monthfirst" if any(int(pair["second"]) > 12 for pair in pairs) else _steadier(pairs)

    def written(self, seconds: float, examples: Sequence[object]) -> str:
        """A time as the file writes them; `examples` are some of the file's own, the nearest one last."""
        text = str(examples[-1]).strip()
        if self._numeric:
            decimals = len(text.partition(".")[2])
            return f"{seconds:.{decimals}f}" if decimals or seconds == round(seconds) else repr(seconds)
        if self.format:
            return moment(seconds).strftime(self.format)
        matched = self._pattern.fullmatch(text) if self._pattern else next(_matches(text), None)
        if matched is None:
            return moment(seconds).isoformat(" ")
        shown = [other for one in examples if (other := matched.re.fullmatch(str(one).strip()))]
        return _rewritten(matched, moment(seconds), shown, self.order)


def _is_number(text: str) -> bool:
    number = numeral(text) if text else None
    return number is not None and not number.unit


def _compact(texts: Sequence[str]) -> bool:
    """Whether whole numbers are days (20200131), months (202001), or days with hours, minutes and seconds."""
    sizes = {len(text) for text in texts}
    if len(sizes) != 1 or not sizes <= {6, 8, 10, 12, 14} or not all(map(str.isdecimal, texts)):
        return False
    limits = ((0, 4, 1800, 2100), (4, 6, 1, 12), (6, 8, 1, 31), (8, 10, 0, 24), (10, 12, 0, 59), (12, 14, 0, 60))
    for start, end, least, most in limits:
        values = [int(text[start:end]) for text in texts if text[start:end]]
        if values and not (least <= min(values) and max(values) <= most):
            return False
    numbers = sorted({int(text) for text in texts})
    return sizes != {6} or len(numbers) > 1 and any(b - a != 1 for a, b in zip(numbers, numbers[1:], strict=False))


def _ordered(text: str) -> re.Match[str] | None:
    """The match of a date whose day and month could be either, by their values alone."""
    for pattern in PATTERNS:
        if "<first>" in pattern and (matched := _compiled(pattern).fullmatch(text)):
            return matched
    return None


def _steadier(pairs: Sequence[re.Match[str]]) -> str:
    """The order of day and month in which the steps between dates are more alike; "?" where both are."""
    spread = {}
    for order in ORDERS:
        try:
            times = np.diff([_seconds(pair, order) for pair in pairs])
        except ValueError:
            continue
        jump = bool(len(times)) and times.max() > 2 * 86400
        spread[order] = (int((times < 0).sum()), len(np.unique(times)) if len(times) else 0, jump)
    if len(spread) < 2:
        return next(iter(spread), "dayfirst")
    if spread["dayfirst"] == spread["monthfirst"]:
        same = all(int(pair["first"]) == int(pair["second"]) for pair in pairs)
        return "dayfirst" if same else "?"
    return min(spread, key=spread.__getitem__)


def _seconds(matched: re.Match[str], order: str) -> float:
    parts = {name: value for name, value in matched.groupdict().items() if value is not None}
    if "n" in parts and "y" not in parts:
        raise ValueError
    date = _date(parts, order) if "y" in parts else datetime.date(1970, 1, 1)
    hour = int(parts.get("H", 0))
    if "p" in parts:
        hour = hour % 12 + 12 * (parts["p"] in "pP")
    late, hour = divmod(hour, 24)
    fraction = float("0." + parts.get("f", "0"))
    time = datetime.time(hour, int(parts.get("M", 0)), min(59, int(parts.get("S", 0))))
    return (
        datetime.datetime.combine(date, time, UTC).timestamp() + 86400 * late + fraction - _offset(parts.get("z", ""))
    )


def _date(parts: dict[str, str], order: str) -> datetime.date:
    year = int(parts["y"])
    if len(parts["y"]) == 2:
        year += 1900 if year >= 69 else 2000
    if "w" in parts:
        return datetime.date.fromisocalendar(year, int(parts["w"]), int(parts.get("wd", 1)))
    if "first" in parts:
        day, month = int(parts["first"]), int(parts["second"])
        return datetime.date(year, day, month) if order == "monthfirst" else datetime.date(year, month, day)
    month = int(parts.get("m", 1))
    if "b" in parts:
        month = month_of(parts["b"])
    elif "q" in parts:
        month = 3 * int(parts["q"]) - 2
    elif "h" in parts:
        month = 6 * int(parts["h"]) - 5
    return datetime.date(year, month, int(parts.get("d", 1)))


def _offset(zone: str) -> int:
    if zone.upper() in ZONES:
        return 3600 * ZONES[zone.upper()]
    sign, digits = zone.strip("UTCGMutcgm")[:1], zone.strip("UTCGMutcgm")[1:].replace(":", "")
    if sign not in ("+", "-"):
        return 0
    hours, minutes = (digits, "0") if len(digits) < 3 else (digits[:-2], digits[-2:])
    return (1 if sign == "+" else -1) * (3600 * int(hours) + 60 * int(minutes))


def _by_pandas(text: str, order: str) -> float:
    """What pandas makes of a date that is written otherwise.

    Raises: ValueError, also where day and month could be either and the order is not known.
    """
    try:
        import pandas
    except ImportError:
        raise ValueError(text) from None
    if not any(character.isdigit() for character in text):
        raise ValueError(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        orders = [order] if order else ORDERS
        times = {pandas.to_datetime(text, dayfirst=one == "dayfirst", utc=True).timestamp() for one in orders}
    if len(times) > 1:
        raise ValueError(text)
    return times.pop()


def _rewritten(matched: re.Match[str], date: datetime.datetime, shown: Sequence[re.Match[str]], order: str) -> str:
    """The text of a match with the parts of another date in their places."""
    date += datetime.timedelta(seconds=_offset(matched.groupdict().get("z") or ""))
    hour = date.hour
    if matched.groupdict().get("p"):
        hour = hour % 12 or 12
    iso = date.isocalendar()
    month_first = order == "monthfirst"
    values = {
        "y": iso.year if matched.groupdict().get("w") else date.year,
        "m": date.month, "d": date.day, "H": hour, "M": date.minute, "S": date.second, "w": iso.week, "wd": iso.weekday,
        "first": date.month if month_first else date.day, "second": date.day if month_first else date.month,
        "q": (date.month + 2) // 3, "h": 1 + (date.month > 6),
    }  # fmt: skip
    text, end = "", 0
    names = [name for name in matched.re.groupindex if matched[name] is not None and name not in ("s", "z")]
    for name in sorted(names, key=matched.start):
        text += matched.string[end : matched.start(name)] + _part(name, values, date, [one[name] for one in shown])
        end = matched.end(name)
    return text + matched.string[end:]


def _part(name: str, values: dict[str, int], date: datetime.datetime, shown: Sequence[str | None]) -> str:
    examples = [one for one in shown if one]
    example = examples[-1]
    if name in ("b", "n"):
        day = DAYS[date.weekday()]
        word = month_like(date.month, examples) if name == "b" else day if max(map(len, examples)) > 4 else day[:3]
        return word.upper() if example.isupper() else word.lower() if example.islower() else word.capitalize()
    if name == "p":
        return ("p" if date.hour >= 12 else "a") if example.islower() else ("P" if date.hour >= 12 else "A")
    if name == "f":
        return f"{date.microsecond:06d}000"[: len(example)]
    if name == "y":
        return f"{values[name]:04d}" if len(example) == 4 else f"{values[name] % 100:02d}"
    return f"{values[name]:0{min(map(len, examples))}d}"


def step_of(times: np.ndarray, dates: bool = True) -> Step:
    """The usual step between times that do not fall, counted in months or working days where that is even.

    Arguments:
        dates: whether the times are seconds since 1970, and no plain numbers.
    """
    apart = np.diff(times)
    apart = apart[apart > 0]
    if not len(apart):
        return Step(0, 1.0)
    usual = float(np.median(apart))
    if not dates:
        return Step(0, usual)
    if usual == 86400 and len(times) > 10:
        weekday = (times // 86400 + 3) % 7
        return Step(0, usual, working=bool((weekday < 5).all()))
    if 27 * 86400 < usual < 400 * 86400:
        some = [moment(time) for time in times[:ORDERED]]
        ends = all((date + DAY).day == 1 for date in some)
        if ends or len({date.day for date in some}) == 1:
            months = np.diff([12 * date.year + date.month for date in some])
            return Step(int(np.median(months[months > 0])), usual)
    return Step(0, usual)


def no_time(cell: object, column: str, where: str) -> UserError:
    """The error for a cell that is no time."""
    return UserError(
        f"{str(cell)[:40]!r} in column {column!r} is not a time ({where})",
        "numbers, or dates such as 2016-07-01 00:00:00",
        "correct the row, or pass --date-format, such as %d/%m/%Y",
    )
