"""Where automata match: the best and the worst path of each through a text, token by token."""

from dataclasses import dataclass

import numpy as np

from sparsernn.errors import UserError

STAY, FROM_HIGH = 0, 1


@dataclass(frozen=True)
class Paths:
    """One path for each automaton and each number m of main-path tokens.

    Attributes:
        scores: of the paths up to the end of the text; NaN where the text has fewer than m tokens. [row m]
        tokens: positions of the main-path tokens of the path of m tokens; -1 where there is none. [row m place]
    """

    scores: np.ndarray
    tokens: np.ndarray


def search_both(
    main: np.ndarray,
    loop: np.ndarray,
    lengths: np.ndarray | None = None,
    one_sided: bool = False,
) -> tuple[Paths, Paths]:
    """The paths with the largest and with the smallest product of scores, for every prefix of every automaton.

    Main-path scores may be negative, so the largest product can come of the smallest one before; both are carried
    along, with a back-pointer each. After its last main-path token a path stays on the last self-loop.

    Arguments:
        main: scores u of main paths. [time row place]
        loop: scores f >= 0 of self-loops. [time row place]
        lengths: tokens of each row; None: all. [row]
        one_sided: carry along only the largest (or only the smallest) product, as the authors' code does: not exact
            where scores are negative.
    Raises: UserError if the shapes disagree or a self-loop's score is negative.
    Source: Dodge et al. 2019, on visualization; equal scores are decided for the main path, as in the authors' code.
    """
    main, loop = np.asarray(main, np.float64), np.asarray(loop, np.float64)
    if main.ndim != 3 or main.shape != loop.shape or (loop < 0).any():
        raise UserError(
            f"scores of shapes {main.shape} and {loop.shape}, self-loops from {loop.min() if loop.size else 0:.3g}",
            "two arrays [time row place], self-loops not negative",
            "pass the main paths' scores and the self-loops' scores of the same tokens",
        )
    ends = np.full(main.shape[1], len(main)) if lengths is None else np.asarray(lengths)
    products, choices = _forward(main, loop, ends, one_sided)
    scores = np.where(np.isfinite(products), products, np.nan)
    return Paths(scores[0], _backward(choices, ends, False)), Paths(scores[1], _backward(choices, ends, True))


def _forward(main: np.ndarray, loop: np.ndarray, ends: np.ndarray, one_sided: bool) -> tuple[np.ndarray, np.ndarray]:
    """Largest and smallest products at the end [2 row place], and how each came about [time 2 row place]."""
    times, rows, places = main.shape
    best = np.stack([np.full((rows, places), -np.inf), np.full((rows, places), np.inf)])
    choices = np.zeros((times, 2, rows, places), np.int8)
    for time in range(times):
        before = np.concatenate([np.ones((2, rows, 1)), best[:, :, :-1]], 2)
        possible = np.isfinite(before)
        moved = np.where(possible, main[time] * np.where(possible, before, 0), np.nan)
        stayed = np.where(np.isfinite(best), loop[time] * np.where(np.isfinite(best), best, 0), best)
        running = (time < ends)[:, None]
        for side, better in ((0, np.greater_equal), (1, np.less_equal)):
            choice, score = np.full((rows, places), STAY, np.int8), stayed[side]
            for origin in (side,) if one_sided else (1 - side, side):
                takes = running & better(moved[origin], score)
                choice = np.where(takes, FROM_HIGH + origin, choice)
                score = np.where(takes, moved[origin], score)
            choices[time, side] = choice
            best[side] = np.where(running, score, best[side])
    return best, choices


def _backward(choices: np.ndarray, ends: np.ndarray, worst: bool) -> np.ndarray:
    """Follow the back-pointers of all paths at once. [row m place]"""
    times, _, rows, places = choices.shape
    tokens = np.full((rows, places, places), -1)
    row, m = np.meshgrid(np.arange(rows), np.arange(places), indexing="ij")
    place, side = m.copy(), np.full((rows, places), int(worst))
    for time in range(times - 1, -1, -1):
        open_ = (place >= 0) & (time < ends)[:, None]
        choice = np.where(open_, choices[time, side, row, np.maximum(place, 0)], STAY)
        moved = choice != STAY
        tokens[row[moved], m[moved], place[moved]] = time
        side = np.where(moved, choice - FROM_HIGH, side)
        place = np.where(moved, place - 1, place)
    tokens[place >= 0] = -1
    return tokens
