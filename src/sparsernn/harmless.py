"""Text from files made harmless for terminals and spreadsheets."""

import json
import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, end a line, turn the direction of writing, or cannot be written at all."""
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")


def printable(text: str) -> str:
    """The text with control characters spelled out: \\x1b."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def cell(value: object) -> object:
    """What a spreadsheet shows as it is: text that it would run as a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def json_text(values: object, indent: int | None = None) -> str:
    """Values as JSON in which letters are legible and control characters are escaped."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return re.sub(CONTROL.pattern.replace("\x00-\x1f", ""), lambda match: f"\\u{ord(match[0]):04x}", text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
