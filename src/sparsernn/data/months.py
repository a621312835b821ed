"""Names of months in the languages of many files, read and written."""

import unicodedata
from collections.abc import Sequence
from functools import cache

LANGUAGES = tuple(
    tuple(names.split())
    for names in (
        "january february march april may june july august september october november december",
        "januar februar märz april mai juni juli august september oktober november dezember",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        "januari februari maart april mei juni juli augustus september oktober november december",
        "januari februari mars april maj juni juli augusti september oktober november december",
        "januar februar marts april maj juni juli august september oktober november december",
        "januari februari maret april mei juni juli agustus september oktober november desember",
        "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
        "styczeń luty marzec kwiecień maj czerwiec lipiec sierpień wrzesień październik listopad grudzień",
        "ledna února března dubna května června července srpna září října listopadu prosince",
        "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
        "январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь",
        "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
    )
)
"""Names of the twelve months, a language a row; English comes first."""
SHORTER = {"mrz": 3, "mrt": 3, "sept": 9, "jänner": 1}
"""What stands for a month and is no beginning of its name."""


def _plain(name: str) -> str:
    """A name in lower case, without accents and the point of an abbreviation."""
    letters = unicodedata.normalize("NFKD", name.casefold().removesuffix(".").replace("ı", "i"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


@cache
def month_of(name: str) -> int:
    """The number of a month, from 1, by its name or the beginning of it, in any of the languages.

    Raises: ValueError where it is none, or could be several.
    """
    plain = _plain(name)
    spelled = {_plain(short): number for short, number in SHORTER.items()}
    spelled |= {_plain(month): number for names in LANGUAGES for number, month in enumerate(names, 1)}
    numbers = {number for month, number in spelled.items() if month.startswith(plain)}
    numbers = {spelled[plain]} if plain in spelled else numbers
    if len(numbers) != 1 or len(plain) < 3:
        raise ValueError(name)
    return numbers.pop()


def month_like(number: int, examples: Sequence[str]) -> str:
    """A month in lower case, in the language and at the length of some examples, of which there is at least one."""
    plain = [_plain(example) for example in examples]
    language = next((names for names in LANGUAGES if all(_begins(names, one) for one in plain)), LANGUAGES[0])
    name = language[number - 1]
    whole = any(len(one) > 4 or one in map(_plain, language) and len(one) > 3 for one in plain)
    return name if whole else name[: max(map(len, plain))]


def _begins(names: Sequence[str], plain: str) -> bool:
    return any(_plain(name).startswith(plain) for name in names)
