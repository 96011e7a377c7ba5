"""The compiled loops of the dual ascent in `decipher.exact.relaxation`, where the method is told.

All numbers are whole multiples of one small step, held as float64: below 2^53 their sums and
differences are exact, and what is shared out is rounded to whole steps first. So no bound is ever
touched by a rounding error. All terms are at most 0; one below `dead` says "no key", and is
written 2 `dead`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

# There are no NaN, and with that promise loops over maxima become vector instructions. Sums are
# not reordered (they could be: they are exact).
compiled = njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})


@compiled
def factor_pass(
    table: Array,
    scale: float,
    factors: Any,
    first: int,
    last: int,
    sizes: Array,
    letters: Array,
    pair: Array,
    message: Array,
    dead: float,
) -> Any:
    """Share the factors `first` ... `last` - 1 out to the pairs of their symbols, one by one.

    A factor takes in all that its pairs hold, finds for each value of each pair the best that its
    other symbols can make of it (max-marginals), and leaves an equal share of that with the pair:
    the update of MPLP (Globerson and Jaakkola 2007) with pairs as separators. What stays in the
    factor is at most 0, for the shares of its S pairs are at least 1/S of what each entry is.

    Args:
        table: scores, at most 0, nats.
        scale: steps in a nat.
        factors: times [F], base [F], arity [F], axes [F, K], strides [F, K]; see `Factors`.
        first, last: the factors to do.
        sizes: [S] how many letters each symbol may still be.
        letters: [S, D] which.
        pair: [S, D, S, D] terms of two symbols, symmetric; changed in place.
        message: [F, K (K - 1) / 2, D, D] what each factor has taken in less what it gave to the
            pair of axes x < y, at y (y - 1) / 2 + x; changed in place.
        dead: see the module.

    Returns:
        The largest absolute message, to watch that all stays exact.
    """
    times, bases, arity, axes, strides = factors
    width = letters.shape[1]
    most = axes.shape[1]
    at = np.zeros(most, np.int64)
    address = np.zeros(most, np.int64)
    offset = np.zeros(width, np.int64)
    total = np.zeros(most)
    rows = np.zeros((most, width))
    best = np.empty((most * (most - 1) // 2, width, width))
    largest = 0.0
    for f in range(first, last):
        slots = arity[f] * (arity[f] - 1) // 2
        for y in range(1, arity[f]):
            for x in range(y):
                s = y * (y - 1) // 2 + x
                i, j = axes[f, x], axes[f, y]
                for a in range(sizes[i]):
                    for b in range(sizes[j]):
                        best[s, a, b] = -np.inf
                        if pair[i, a, j, b] < dead:
                            message[f, s, a, b] = 2 * dead
                        else:
                            message[f, s, a, b] += pair[i, a, j, b]

        # An odometer over all axes but the last, whose letters are done as one row. `total` and
        # `rows` hold the messages among the axes so far, and from these to the last.
        end = arity[f] - 1
        inner = axes[f, end]
        tail = end * (end - 1) // 2
        weight = times[f] * scale
        for c in range(sizes[inner]):
            offset[c] = strides[f, end] * letters[inner, c]
        o = 0
        at[0] = -1
        while o >= 0:
            at[o] += 1
            i, a = axes[f, o], at[o]
            if a >= sizes[i]:
                o -= 1
                continue
            passed = 0.0 if o == 0 else total[o - 1]
            alive = True
            for x in range(o):
                if pair[axes[f, x], at[x], i, a] < dead:
                    alive = False
                    break
                passed += message[f, o * (o - 1) // 2 + x, at[x], a]
            if not alive:
                continue
            total[o] = passed
            address[o] = (bases[f] if o == 0 else address[o - 1]) + strides[f, o] * letters[i, a]
            here = rows[o]
            onward = message[f, tail + o, a]
            if o == 0:
                for c in range(sizes[inner]):
                    here[c] = onward[c]
            else:
                above = rows[o - 1]
                for c in range(sizes[inner]):
                    here[c] = above[c] + onward[c]
            if o < end - 1:
                o += 1
                at[o] = -1
                continue

            start = address[o]
            for c in range(sizes[inner]):
                here[c] += passed + np.ceil(weight * table[start + offset[c]])
            top = -np.inf
            for c in range(sizes[inner]):
                top = max(top, here[c])
            for x in range(end):
                found = best[tail + x, at[x]]
                for c in range(sizes[inner]):
                    found[c] = max(found[c], here[c])
            for y in range(1, end):
                for x in range(y):
                    s = y * (y - 1) // 2 + x
                    best[s, at[x], at[y]] = max(best[s, at[x], at[y]], top)

        for y in range(1, arity[f]):
            for x in range(y):
                s = y * (y - 1) // 2 + x
                i, j = axes[f, x], axes[f, y]
                for a in range(sizes[i]):
                    for b in range(sizes[j]):
                        share = np.ceil(best[s, a, b] / slots)
                        if pair[i, a, j, b] < dead or share < dead:
                            share = 2 * dead
                        else:
                            message[f, s, a, b] -= share
                            largest = max(largest, abs(message[f, s, a, b]))
                        pair[i, a, j, b] = share
                        pair[j, b, i, a] = share
    return largest


@compiled
def assignment_pass(
    sizes: Array,
    letters: Array,
    single: Array,
    pair: Array,
    unused: Array,
    spare: Array,
    reduced: Array,
    dead: float,
) -> Any:
    """Move what "all letters differ" costs from the pairs to the single symbols, and from those to
    the bound: the dual ascent of Hahn and Grant (1998) for quadratic assignment.

    For each symbol i and letter p, half of what the pairs hold given that i is p is an assignment
    problem of the other symbols to the other letters. Its value goes to `single[i, p]`, its
    reduced costs stay. The same for `single` then gives what the bound falls by.

    Args:
        sizes, letters, pair, dead: as in `factor_pass`.
        single: [S, D] terms of one symbol; changed in place.
        unused: [S, D, V] terms of "i is p and no symbol is this letter"; changed in place.
        spare: [V] terms of "no symbol is this letter"; changed in place.
        reduced: [S, D, S, D], to work in.

    Returns:
        The change of the bound, at most 0.
    """
    size = len(spare)
    symbols = len(sizes)
    gain = np.empty((symbols, size))
    u = np.empty(symbols)
    v = np.empty(size)
    for i in range(symbols):
        for p in range(sizes[i]):
            own = letters[i, p]
            # The last letter's column stands in for the letter that is taken.
            rest = 0.0
            for letter in range(size):
                rest += unused[i, p, letter]
            row = 0
            for j in range(symbols):
                if j == i:
                    continue
                gain[row] = 2 * dead
                for q in range(sizes[j]):
                    if pair[i, p, j, q] >= dead:
                        half = np.floor(0.5 * pair[i, p, j, q])
                        if i > j:
                            half = pair[i, p, j, q] - half
                        gain[row, letters[j, q]] = half - unused[i, p, letters[j, q]]
                gain[row, own] = gain[row, size - 1]
                row += 1
            single[i, p] += rest + assign(gain, row, size - 1, u, v)
            row = 0
            for j in range(symbols):
                if j == i:
                    continue
                for q in range(sizes[j]):
                    letter = letters[j, q]
                    if letter != own:
                        column = own if letter == size - 1 else letter
                        reduced[i, p, j, q] = gain[row, column] - u[row] - v[column]
                row += 1
            for letter in range(size):
                if letter != own:
                    unused[i, p, letter] = -v[own if letter == size - 1 else letter]
    for i in range(symbols):
        for j in range(i + 1, symbols):
            for p in range(sizes[i]):
                for q in range(sizes[j]):
                    x = 2 * dead
                    if pair[i, p, j, q] >= dead:
                        x = reduced[i, p, j, q] + reduced[j, q, i, p]
                        if x < dead:
                            x = 2 * dead
                    pair[i, p, j, q] = x
                    pair[j, q, i, p] = x

    change = 0.0
    for letter in range(size):
        change += spare[letter]
    for i in range(symbols):
        gain[i] = 2 * dead
        for p in range(sizes[i]):
            gain[i, letters[i, p]] = single[i, p] - spare[letters[i, p]]
    change += assign(gain, symbols, size, u, v)
    for i in range(symbols):
        for p in range(sizes[i]):
            x = gain[i, letters[i, p]] - u[i] - v[letters[i, p]]
            single[i, p] = x if x >= dead else 2 * dead
    for letter in range(size):
        spare[letter] = -v[letter]
    return change


@compiled
def assign(gain: Array, rows: int, columns: int, u: Array, v: Array) -> Any:
    """Optimal duals of giving each row a column of its own, with the highest sum of `gain`.

    The Hungarian method by shortest augmenting paths (Jonker and Volgenant 1987), for the leading
    `rows` <= `columns` of `gain`; scipy's does the same but hands out no duals.

    Returns:
        The highest sum, which is that of `u` and `v`: u[i] + v[q] >= gain[i, q], and v >= 0, with
        v = 0 for the columns that no row got.
    """
    column_of = np.full(rows, -1)
    row_of = np.full(columns, -1)
    slack = np.empty(columns)
    before = np.empty(columns, np.int64)
    done = np.empty(columns, np.bool_)
    v[:columns] = 0.0
    for i in range(rows):
        u[i] = -np.inf
        for q in range(columns):
            u[i] = max(u[i], gain[i, q])
        for q in range(columns):
            if row_of[q] < 0 and gain[i, q] == u[i]:
                row_of[q] = i
                column_of[i] = q
                break
    for start in range(rows):
        if column_of[start] >= 0:
            continue
        for q in range(columns):
            slack[q] = u[start] + v[q] - gain[start, q]
            before[q] = start
            done[q] = False
        while True:
            length = np.inf
            end = 0
            for q in range(columns):
                if not done[q] and slack[q] < length:
                    length = slack[q]
                    end = q
            done[end] = True
            i = row_of[end]
            if i < 0:
                break
            for q in range(columns):
                longer = length + u[i] + v[q] - gain[i, q]
                if not done[q] and longer < slack[q]:
                    slack[q] = longer
                    before[q] = i
        for q in range(columns):
            if done[q] and q != end:
                v[q] += length - slack[q]
                u[row_of[q]] -= length - slack[q]
        u[start] -= length
        while True:
            i = before[end]
            row_of[end] = i
            end, column_of[i] = column_of[i], end
            if i == start:
                break
    total = 0.0
    for i in range(rows):
        total += u[i]
    for q in range(columns):
        total += v[q]
    return total


@compiled
def prune(sizes: Array, single: Array, pair: Array, slack: float, dead: float) -> Array:
    """Mark as dead what no key with a score above the cut can hold.

    All terms are at most 0, so a key's score is at most the bound and the terms that it holds.

    Args:
        sizes, single, pair, dead: as in `assignment_pass`; `pair` is changed in place.
        slack: the cut less the bound.

    Returns:
        live [S, D]: which letters each symbol may still be.
    """
    symbols = len(sizes)
    live = np.zeros(single.shape, np.bool_)
    for i in range(symbols):
        for p in range(sizes[i]):
            live[i, p] = single[i, p] > slack
    for i in range(symbols):
        for p in range(sizes[i]):
            for j in range(i + 1, symbols):
                for q in range(sizes[j]):
                    both = pair[i, p, j, q] + single[i, p] + single[j, q]
                    if both <= slack or not (live[i, p] and live[j, q]):
                        pair[i, p, j, q] = 2 * dead
                        pair[j, q, i, p] = 2 * dead
    return live


@compiled
def spread(sizes: Array, single: Array, pair: Array) -> None:
    """Hand the terms of single symbols to their pairs in equal shares, for the next round."""
    symbols = len(sizes)
    for i in range(symbols):
        for p in range(sizes[i]):
            share = np.ceil(single[i, p] / max(1, symbols - 1))
            for j in range(symbols):
                if j != i:
                    single[i, p] -= share
                    for q in range(sizes[j]):
                        pair[i, p, j, q] += share
                        pair[j, q, i, p] += share
