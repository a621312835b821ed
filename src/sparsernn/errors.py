"""The one error for a wrong value from a user: what happened, what was expected, what to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 800
"""Characters of a part of an error; what a damaged file says of itself can be far longer."""


class UserError(ValueError):
    """A value from outside cannot be used; raised where that value enters.

    The command line prints it without a traceback and exits with status 2.

    Arguments:
        happened: what is wrong, naming the value: "sparsity is 1.5".
        expected: what would have been right: "a number in [0, 1)".
        do: what to do now, starting with a verb: "pass 0.9 for 90 % zeros".
    """

    def __init__(self, happened: str, expected: str, do: str):
        super().__init__(happened, expected, do)
        self.happened, self.expected, self.do = happened, expected, do

    def __str__(self) -> str:
        happened, expected, do = map(_shortened, (self.happened, self.expected, self.do))
        return f"{happened}. Expected {expected}. {do[:1].upper()}{do[1:]}."


def nearest(name: object, names: Iterable[object], otherwise: str) -> str:
    """What to do about a name that is not among `names`: write the nearest; `otherwise` where none is near."""
    import difflib

    near = difflib.get_close_matches(str(name), list(map(str, names)), n=1, cutoff=0.4)
    return f"write {near[0]!r}, the nearest" if near else otherwise


@contextmanager
def needs_package(
    happened: str, expected: str = "the train extra", do: str = "install sparsernn[train]"
) -> Iterator[None]:
    """Turn the absence of a package that is imported within the block into a UserError."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{happened}: {error.name} is not installed", expected, do) from error


def _shortened(part: str) -> str:
    text = part.strip().removesuffix(".")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def reason(error: BaseException) -> str:
    """Why something could not be read or written, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, KeyError):
        return f"{error} is missing"
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip() if lines else type(error).__name__)[:200].removesuffix(".")
