"""What the windows of a series amount to, each computed from its own values alone.

A window is put together from shorter ones, log2(size) of them and a few more,
and never from the window before it: a running sum would carry the rounding of
old, larger values along for ever. So no answer depends, to the last bit, on
where the series begins or ends, and a NaN spreads to exactly the windows that
hold it.

Answers are as many as there are full windows, oldest first: the last of them
is of the last values. A series shorter than the window has none.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CANCELLED = 1e-4
"""A sum of squared deviations below this share of the sum of squares is not taken as a difference of the two.

Above it their difference is right to about 1e-11.
"""


class Scratch:
    """Memory in which several ``WindowSums`` are computed in turn, so that it stays in the processor's cache."""

    def __init__(self, rows: int, length: int) -> None:
        """Make room for ``rows`` of ``length`` values each."""
        self._shape = rows, length
        self._rooms: dict[int, FloatArray] = {}
        self.holder: WindowSums | None = None
        """Whose sums lie here; set it to None when values have changed."""

    def room(self, size: int) -> FloatArray:
        """Return the room for windows of ``size`` values."""
        if size not in self._rooms:
            self._rooms[size] = aligned(*self._shape)
        return self._rooms[size]


class WindowSums:
    """Sums over the windows of one or more rows of values, computed again whenever the values have changed.

    Windows of all sizes share those of the powers of two.

    >>> values = aligned(1, 4)
    >>> sums = WindowSums(Scratch(1, 4), values, 4)
    >>> of_three = sums.of(3)
    >>> values[0, :4] = [1.0, 2.0, 6.0, 7.0]
    >>> sums.refresh()
    >>> of_three
    array([[ 9., 15.]])
    """

    def __init__(self, scratch: Scratch, values: FloatArray, length: int) -> None:
        """Watch the first ``length`` of each row of ``values``, which are ``aligned`` and as wide as ``scratch``."""
        self._scratch = scratch
        self._length = length
        # Rows lie end to end, so that one step sums all of them; windows across two rows are not looked at.
        self._rooms = {1: values}
        self._steps: list[Callable[[], object]] = []

    def of(self, size: int) -> FloatArray:
        """Return the array in which ``refresh`` puts the sum of each full window of ``size`` values, for each row.

        That of size 1 holds the values themselves.
        """
        return self._room(size)[:, : max(self._length - size + 1, 0)]

    def first(self, step: Callable[..., object], *operands: FloatArray | Mask | float) -> None:
        """Let ``refresh`` begin with ``step`` of ``operands``, to write the values; say so before ``of`` is called."""
        self._steps.append(functools.partial(step, *operands))

    def refresh(self) -> None:
        """Sum the windows of the values, unless the memory still holds them (``Scratch.holder``)."""
        if self._scratch.holder is not self:
            for step in self._steps:
                step()
            self._scratch.holder = self

    def _room(self, size: int) -> FloatArray:
        if size not in self._rooms:
            # Views and memory are made once: in the hot loop they would cost as much as the sums.
            share = 1 << (size - 1).bit_length() - 1
            older, newer = self._room(share).ravel(), self._room(size - share).ravel()[share:]
            room = self._rooms[size] = self._scratch.room(size)[: len(self._rooms[1])]
            self._steps.append(functools.partial(np.add, older[: newer.size], newer, room.ravel()[: newer.size]))
        return self._rooms[size]


class WindowSpreads:
    """Sums of squared deviations from the mean, over the windows of values that change again and again.

    They are the difference of the sum of squares and the square of the sum.
    Where values differ by so little that the difference has lost its digits
    (``CANCELLED``), they are merged from shorter windows instead.

    >>> sums = WindowSums(Scratch(2, 3), aligned(2, 3), 3)
    >>> spreads_of_three = WindowSpreads(sums, 3, np.empty(3))
    >>> sums.of(1)[:] = [[1.0, 2.0, 6.0], [1.0, 4.0, 36.0]]
    >>> spreads_of_three.now()
    array([14.])
    """

    def __init__(self, sums: WindowSums, size: int, room: FloatArray) -> None:
        """Read ``sums``, of values in a first row and of their squares in a second; answer in ``room``."""
        self._size = size
        self._values, _ = sums.of(1)
        self._refresh = sums.refresh
        self._sums, self._squares = sums.of(size)
        self._spread = room[: self._sums.size]
        self._inverse = np.array(1 / size)

    def now(self) -> FloatArray:
        """Return the spread of each full window."""
        self._refresh()
        spread = self._spread
        np.multiply(self._sums, self._sums, spread)
        np.multiply(spread, self._inverse, spread)
        np.subtract(self._squares, spread, spread)
        # That no window needs more is mostly told by the smallest spread and the largest square.
        if spread.size and not spread[spread.argmin()] >= CANCELLED * self._squares[self._squares.argmax()]:
            self._mend(spread)
        return spread

    def _mend(self, spread: FloatArray) -> None:
        cancelled = spread < CANCELLED * self._squares
        if cancelled.any():
            spread[cancelled] = spreads(self._values, self._size)[cancelled]


class PriceWindows:
    """What readings of one series of closes share, of one series after another of ``length``.

    It is computed when first asked for, in memory that is kept: to make arrays
    and views anew for each series would cost more than the arithmetic.
    """

    def __init__(self, length: int) -> None:
        """Make room for ``length`` closes."""
        self.length = length
        self._row = aligned(1, length)
        self._scratch = Scratch(2, length)
        self.closes = self._row[0, :length]
        self.room = aligned(1, length)[0]
        """As much room as the closes take, for whoever is at work."""

    def take(self, closes: FloatArray) -> None:
        """Go on to other ``closes``."""
        self.closes[:] = closes
        self._scratch.holder = None

    @functools.cached_property
    def prices(self) -> WindowSums:
        """The sums of closes."""
        sums = WindowSums(self._scratch, self._row, self.length)
        sums.first(np.equal, self.closes[1:], self.closes[:-1], self.repeats)
        return sums

    @functools.cached_property
    def repeats(self) -> Mask:
        """Whether each close but the first equals the one before, known with the sums of closes."""
        return np.empty(max(self.length - 1, 0), dtype=bool)

    @functools.cached_property
    def returns(self) -> WindowSums:
        """The sums of returns, and of their squares; one value fewer than there are closes."""
        sums, returns, squares = self._changes()
        sums.first(np.divide, self.closes[1:], self.closes[:-1], returns)
        sums.first(np.subtract, returns, ONE, returns)
        sums.first(np.multiply, returns, returns, squares)
        return sums

    @functools.cached_property
    def moves(self) -> WindowSums:
        """The sums of gains, and of losses, in dollars; one value fewer than there are closes."""
        sums, gains, losses = self._changes()
        sums.first(np.subtract, self.closes[1:], self.closes[:-1], gains)
        sums.first(np.negative, gains, losses)
        sums.first(np.clip, sums.of(1), 0, math.inf, sums.of(1))
        return sums

    def _changes(self) -> tuple[WindowSums, FloatArray, FloatArray]:
        sums = WindowSums(self._scratch, aligned(2, self.length), max(self.length - 1, 0))
        return sums, *sums.of(1)


ONE = np.array(1.0)
"""An operand of the hot loop, which numpy need not convert each time."""


def aligned(rows: int, length: int) -> FloatArray:
    """Return zeros, ``rows`` of at least ``length``, each of which begins where a line of the cache does.

    To write elsewhere takes numpy up to twice as long. Memory as it comes begins
    anywhere.
    """
    width = -(-length // _LINE) * _LINE
    room = np.zeros(rows * width + _LINE)
    first = -(room.__array_interface__["data"][0] // room.itemsize) % _LINE
    return room[first : first + rows * width].reshape(rows, width)


_LINE = 8
"""How many numbers fill a line of the cache, 64 bytes."""


def spreads(values: FloatArray, size: int) -> FloatArray:
    """Return the sum of squared deviations from the mean of each full window, without a difference of squares.

    >>> spreads(np.array([1.0, 2.0, 6.0]), 3)
    array([14.])
    """
    # Zero of a single value from itself, and NaN where the value is.
    squares: FloatArray = _fold((values, values - values), size, _merge_moments)[1]
    return squares


def drawdowns(values: FloatArray, size: int) -> FloatArray:
    """Return the largest fall from a peak to a later value within each full window, as a positive fraction.

    >>> drawdowns(np.array([100.0, 80.0, 90.0, 45.0]), 3)
    array([0.2, 0.5])
    """
    falls: FloatArray = _fold((values - values, values, values), size, _merge_drawdowns)[0]
    return falls


def all_hold(flags: Mask, size: int) -> Mask:
    """Tell of each full window whether all of its flags are set.

    >>> all_hold(np.array([True, True, True, False]), 2)
    array([ True,  True, False])
    """
    answers: Mask = _fold((flags,), size, _merge_flags)[0]
    return answers


def at_full_windows(answers: FloatArray, count: int) -> FloatArray:
    """Return a view of the last ``count`` of ``answers``, those of full windows, and make the others NaN."""
    first = answers.size - count
    answers[:first] = np.nan
    return answers[first:]


def stretches(missing: Mask) -> Iterator[slice]:
    """Return where each stretch without a missing value begins and ends.

    >>> list(stretches(np.array([False, True, False, False])))
    [slice(0, 1, None), slice(2, 4, None)]
    """
    present = np.concatenate(([False], ~missing, [False]))
    edges = np.flatnonzero(present[1:] != present[:-1]).tolist()
    return (slice(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True))


_State = tuple[npt.NDArray[Any], ...]
_Merge = Callable[[_State, _State, int, int], _State]


def _fold(leaves: _State, window: int, merge: _Merge) -> _State:
    """Merge the leaves of every full window, in steps that double and add one."""
    state, size = leaves, 1
    for bit in f"{window:b}"[1:]:
        state, size = _join(state, state, size, size, merge), 2 * size
        if bit == "1":
            state, size = _join(state, leaves, size, 1, merge), size + 1
    return state


def _join(older: _State, newer: _State, older_size: int, newer_size: int, merge: _Merge) -> _State:
    later = tuple(part[older_size:] for part in newer)
    earlier = tuple(part[: last.size] for part, last in zip(older, later, strict=True))
    return merge(earlier, later, older_size, newer_size)


def _merge_moments(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:
    """Merge means and sums of squared deviations (Chan, Golub and LeVeque, 1979)."""
    (mean, squares), (newer_mean, newer_squares) = older, newer
    share = newer_size / (older_size + newer_size)
    apart = newer_mean - mean
    return mean + apart * share, squares + newer_squares + apart * apart * (older_size * share)


def _merge_drawdowns(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:  # noqa: ARG001
    (fall, peak, trough), (newer_fall, newer_peak, newer_trough) = older, newer
    across = 1 - newer_trough / peak
    return (
        np.maximum(np.maximum(fall, newer_fall), across),
        np.maximum(peak, newer_peak),
        np.minimum(trough, newer_trough),
    )


def _merge_flags(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:  # noqa: ARG001
    return (older[0] & newer[0],)
