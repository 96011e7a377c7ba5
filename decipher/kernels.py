"""The compiled loops of the n-gram search and sampler. Each releases the GIL.

A key is walked by swapping the plain symbols of two cipher symbols. A swap changes only the windows
(n-grams of the ciphertext) that hold one of the two, and a window's code is linear in the plain
symbols: if `plain[c]` is what cipher symbol c stands for, then

    code = base + sum over c of coefficient[c] * plain[c],

with coefficient[c] the sum of V^(n - 1 - place) over the places where the window holds c. Swapping
a and b moves it by (plain[b] - plain[a]) (coefficient[a] - coefficient[b]). So for each pair the
windows concerned and these differences are listed once; trying a swap is then one pass over a short
contiguous list with one table read an entry.

Scores are integers, log probabilities in steps of the table's scale: sums of them are exact, so a
key's score does not depend on the way that led to it.

Unsigned indices spare the test for negative ones that Python's indexing asks for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32, int64, njit, uint32, uint64
from numpy.typing import NDArray

Array = NDArray[Any]

compiled = njit(nogil=True, cache=True)
inlined = njit(nogil=True, inline="always")


@inlined
def _random(state: Array) -> Any:
    """The next 64 random bits; xorshift64* (Vigna 2016). `state` [1] uint64, not 0."""
    x = state[0]
    x ^= x >> uint64(12)
    x ^= x << uint64(25)
    x ^= x >> uint64(27)
    state[0] = x
    return x * uint64(2685821657736338717)


@inlined
def _below(bits: Any, n: Any) -> Any:
    """A number in 0 ... n - 1 from the low 32 bits of `bits`; its bias is below n / 2^32."""
    return ((bits & uint64(0xFFFFFFFF)) * n) >> uint64(32)


@inlined
def _accepts(log_ratio: Any, state: Array) -> Any:
    """True with probability min(1, exp(log_ratio))."""
    if log_ratio >= 0.0:
        return True
    u = (np.float64(_random(state) >> uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)
    # Most swaps are hopeless, and log u >= 1 - 1/u tells so at a fraction of a logarithm's cost.
    return log_ratio > 1.0 - 1.0 / u and log_ratio > np.log(u)


@compiled
def window_coefficients(places: Array, size: int) -> Array:
    """coefficient [V, W] int32 of windows `places` [W, n]: the cipher symbol at each place, -1
    before the start of the text."""
    windows, order = places.shape
    coefficient = np.zeros((size, windows), np.int32)
    for w in range(windows):
        weight = 1
        for place in range(order - 1, -1, -1):
            if places[w, place] >= 0:
                coefficient[places[w, place], w] += weight
            weight *= size
    return coefficient


@compiled
def pair_entries(coefficient: Array, free: Array) -> tuple[Array, Array]:
    """List for each pair of free cipher symbols the windows that a swap of the two changes.

    Args:
        coefficient: [V, W] int32.
        free: [F] cipher symbols that may be swapped.

    Returns:
        bounds [V, V, 2] uint32, the same for (a, b) and (b, a); entries [E, 2] int32: the window,
        and coefficient[low] - coefficient[high] for low < high; those of a pair are
        `entries[bounds[a, b, 0] : bounds[a, b, 1]]`.
    """
    size, windows = coefficient.shape
    holds = np.zeros(size, np.int64)
    for c in range(size):
        holds[c] = np.count_nonzero(coefficient[c])
    held = np.empty((size, max(1, holds.max())), np.int32)
    for c in free:
        k = 0
        for w in range(windows):
            if coefficient[c, w] != 0:
                held[c, k] = w
                k += 1
    most = 0
    for c in free:
        most += holds[c]
    entries = np.empty((most * max(1, len(free) - 1), 2), np.int32)
    bounds = np.zeros((size, size, 2), np.uint32)
    e = 0
    for a in free:
        for b in free:
            if a >= b:
                continue
            bounds[a, b, 0] = bounds[b, a, 0] = e
            for k in range(holds[a]):
                w = held[a, k]
                entries[e, 0] = w
                entries[e, 1] = coefficient[a, w] - coefficient[b, w]
                e += 1
            for k in range(holds[b]):
                w = held[b, k]
                if coefficient[a, w] == 0:
                    entries[e, 0] = w
                    entries[e, 1] = -coefficient[b, w]
                    e += 1
            bounds[a, b, 1] = bounds[b, a, 1] = e
    return bounds, entries[:e].copy()


@compiled
def _read(
    table: Array,
    base: Array,
    times: Array,
    coefficient: Array,
    plain: Array,
    code: Array,
    score: Array,
) -> Any:
    """Fill `code` and `score` [W] for the key `plain` [V]; return the text's score."""
    total = int64(0)
    for w in range(len(base)):
        c = base[w]
        for s in range(len(plain)):
            c += coefficient[s, w] * int32(plain[s])
        code[w] = c
        score[w] = table[c]
        total += int64(score[w]) * times[w]
    return total


@inlined
def _gain(
    table: Array, times: Array, entries: Array, code: Array, score: Array, lo: Any, hi: Any, d: Any
) -> Any:
    """What the text's score gains by a swap whose entries are lo ... hi - 1 and d its step."""
    gain = int64(0)
    for e in range(lo, hi):
        w = uint32(entries[e, 0])
        moved = uint32(code[w] + d * entries[e, 1])
        gain += int64((int32(table[moved]) - score[w]) * times[w])
    return gain


@inlined
def _swap(
    table: Array,
    entries: Array,
    code: Array,
    score: Array,
    plain: Array,
    a: Any,
    b: Any,
    lo: Any,
    hi: Any,
    d: Any,
) -> None:
    for e in range(lo, hi):
        w = uint32(entries[e, 0])
        code[w] += d * entries[e, 1]
        score[w] = table[uint32(code[w])]
    plain[a], plain[b] = plain[b], plain[a]


@inlined
def _metropolis(
    table: Array,
    times: Array,
    bounds: Array,
    entries: Array,
    code: Array,
    score: Array,
    plain: Array,
    seen: Array,
    free: Array,
    beta: Any,
    state: Array,
) -> Any:
    """Try one random swap of a free symbol that occurs with another free one, and accept it with
    probability min(1, exp(beta gain)).

    Returns (whether it was accepted, the two symbols, the gain, table reads).
    """
    bits = _random(state)
    a = uint32(seen[_below(bits, uint64(len(seen)))])
    b = uint32(free[((bits >> uint64(32)) * uint64(len(free))) >> uint64(32)])
    lo = bounds[a, b, 0]
    hi = bounds[a, b, 1]
    d = int32(plain[b]) - int32(plain[a])
    if a > b:
        d = -d
    gain = _gain(table, times, entries, code, score, lo, hi, d)
    if a != b and _accepts(gain * beta, state):
        _swap(table, entries, code, score, plain, a, b, lo, hi, d)
        return True, a, b, gain, hi - lo
    return False, a, b, gain, hi - lo


@compiled
def walk(
    table: Array,
    base: Array,
    times: Array,
    coefficient: Array,
    bounds: Array,
    entries: Array,
    plain: Array,
    seen: Array,
    free: Array,
    beta: float,
    swaps: int,
    state: Array,
    best: Array,
) -> Any:
    """`swaps` Metropolis steps from the key `plain` [V], in place; leaves the best key it met in
    `best` [V]. `beta` is the inverse temperature for scores in table steps. Returns the number of
    table reads."""
    code = np.empty(len(base), np.int32)
    score = np.empty(len(base), np.int32)
    total = _read(table, base, times, coefficient, plain, code, score)
    highest = total
    best[:] = plain
    reads = int64(len(base))
    for _ in range(swaps):
        moved, _, _, gain, looked = _metropolis(
            table, times, bounds, entries, code, score, plain, seen, free, beta, state
        )
        reads += looked
        if moved:
            total += gain
            if total > highest:
                highest = total
                best[:] = plain
    return reads


@compiled
def climb(
    table: Array,
    base: Array,
    times: Array,
    coefficient: Array,
    bounds: Array,
    entries: Array,
    plain: Array,
    seen: Array,
    free: Array,
) -> tuple[Any, Any]:
    """Take every swap that raises the score until none does, in place. Returns the score of the
    local maximum, in units of the table, and the number of table reads."""
    code = np.empty(len(base), np.int32)
    score = np.empty(len(base), np.int32)
    total = _read(table, base, times, coefficient, plain, code, score)
    reads = int64(len(base))
    pairs = len(seen) * len(free)
    since = 0  # pairs tried since the last gain; once round without one is a maximum
    while since < pairs:
        for a in seen:
            for b in free:
                if since >= pairs:
                    break
                since += 1
                lo = bounds[a, b, 0]
                hi = bounds[a, b, 1]
                d = int32(plain[b]) - int32(plain[a])
                if a > b:
                    d = -d
                gain = _gain(table, times, entries, code, score, lo, hi, d)
                reads += hi - lo
                if gain > 0:
                    _swap(table, entries, code, score, plain, a, b, lo, hi, d)
                    total += gain
                    since = 0
    return total, reads


@compiled
def sample(
    table: Array,
    base: Array,
    times: Array,
    coefficient: Array,
    bounds: Array,
    entries: Array,
    population: Array,
    seen: Array,
    free: Array,
    beta: float,
    steps: int,
    state: Array,
    occupancy: Array,
) -> Any:
    """Run a Metropolis chain from each key of `population` [P, V], in place.

    Adds to `occupancy` [V, V] the number of steps for which cipher symbol c stood for plain symbol
    p. Returns the number of accepted swaps.
    """
    size = population.shape[1]
    code = np.empty(len(base), np.int32)
    score = np.empty(len(base), np.int32)
    accepted = int64(0)
    for i in range(population.shape[0]):
        plain = population[i]
        _read(table, base, times, coefficient, plain, code, score)
        since = np.zeros(size, np.int64)  # the step from which a symbol's meaning is not counted
        for step in range(steps):
            moved, a, b, _, _ = _metropolis(
                table, times, bounds, entries, code, score, plain, seen, free, beta, state
            )
            if moved:  # each of the two held until now what the other holds from now on
                occupancy[a, plain[b]] += step - since[a]
                occupancy[b, plain[a]] += step - since[b]
                since[a] = since[b] = step
                accepted += 1
        for c in range(size):
            occupancy[c, plain[c]] += steps - since[c]
    return accepted
