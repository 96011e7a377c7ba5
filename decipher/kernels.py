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


def seed(rng: np.random.Generator) -> NDArray[np.uint64]:
    """The state [1] of the compiled loops' own generator, drawn from `rng`."""
    return rng.integers(1, 2**63, 1, np.uint64)


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
def window_coefficients(places: Array, symbols: int, letters: int) -> Array:
    """coefficient [C, W] int32 of windows `places` [W, n], which C cipher `symbols` fill: the one
    at each place, -1 before the start of the text; V `letters`."""
    windows, order = places.shape
    coefficient = np.zeros((symbols, windows), np.int32)
    for w in range(windows):
        weight = 1
        for place in range(order - 1, -1, -1):
            if places[w, place] >= 0:
                coefficient[places[w, place], w] += weight
            weight *= letters
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
    places: Array,
    plain: Array,
    letters: int,
    code: Array,
    score: Array,
) -> Any:
    """Fill `code` and `score` [W] for the key `plain` [C] into V `letters`; return the text's
    score."""
    size = int32(letters)
    total = int64(0)
    for w in range(len(base)):
        c = int32(0)
        for place in range(places.shape[1]):
            symbol = places[w, place]
            c = c * size + (int32(plain[symbol]) if symbol >= 0 else int32(0))
        code[w] = base[w] + c
        score[w] = table[code[w]]
        total += int64(score[w]) * times[w]
    return total


@inlined
def _pair(bounds: Array, plain: Array, a: Any, b: Any) -> Any:
    """(lo, hi, d): the entries of the swap of a and b are lo ... hi - 1, and d is its step."""
    d = int32(plain[b]) - int32(plain[a])
    if a > b:
        d = -d
    return bounds[a, b, 0], bounds[a, b, 1], d


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
def _shift(
    table: Array, entries: Array, code: Array, score: Array, lo: Any, hi: Any, d: Any
) -> None:
    """Bring the codes and scores up to date with a swap whose entries are lo ... hi - 1."""
    for e in range(lo, hi):
        w = uint32(entries[e, 0])
        code[w] += d * entries[e, 1]
        score[w] = table[uint32(code[w])]


@inlined
def _propose(seen: Array, free: Array, state: Array) -> Any:
    """A free symbol that occurs and another free one (or the same), both drawn evenly."""
    bits = _random(state)
    a = uint32(seen[_below(bits, uint64(len(seen)))])
    b = uint32(free[((bits >> uint64(32)) * uint64(len(free))) >> uint64(32)])
    return a, b


@compiled
def walk(
    table: Array,
    base: Array,
    times: Array,
    places: Array,
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
    total = _read(table, base, times, places, plain, len(plain), code, score)
    highest = total
    best[:] = plain
    reads = int64(len(base))
    for _ in range(swaps):
        a, b = _propose(seen, free, state)
        lo, hi, d = _pair(bounds, plain, a, b)
        gain = _gain(table, times, entries, code, score, lo, hi, d)
        reads += hi - lo
        if a != b and _accepts(gain * beta, state):
            _shift(table, entries, code, score, lo, hi, d)
            plain[a], plain[b] = plain[b], plain[a]
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
    places: Array,
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
    total = _read(table, base, times, places, plain, len(plain), code, score)
    reads = int64(len(base))
    pairs = len(seen) * len(free)
    since = 0  # pairs tried since the last gain; once round without one is a maximum
    while since < pairs:
        for a in seen:
            for b in free:
                if since >= pairs:
                    break
                since += 1
                lo, hi, d = _pair(bounds, plain, a, b)
                gain = _gain(table, times, entries, code, score, lo, hi, d)
                reads += hi - lo
                if gain > 0:
                    _shift(table, entries, code, score, lo, hi, d)
                    plain[a], plain[b] = plain[b], plain[a]
                    total += gain
                    since = 0
    return total, reads


@compiled
def score_keys(table: Array, windows: Any, letters: int, keys: Array, scores: Array) -> None:
    """The score of the text's `Windows` under each key of `keys` [P, C] into V `letters`, in table
    steps, into `scores` [P]."""
    code = np.empty(len(windows.base), np.int32)
    score = np.empty(len(windows.base), np.int32)
    for i in range(keys.shape[0]):
        scores[i] = _read(
            table, windows.base, windows.times, windows.places, keys[i], letters, code, score
        )


@compiled
def sample(
    table: Array,
    guide: Any,
    full: Any,
    keys: Array,
    seen: Array,
    free: Array,
    weights: Array,
    swaps: int,
    state: Array,
    occupancy: Array,
    accepted: Array,
) -> None:
    """Run a Metropolis chain from each key of `keys` [P, V], in place.

    The chain of key i samples the density

        exp(weights[i, 0] guide(key) + weights[i, 1] full(key)),

    where guide and full are the text's scores by two lists of windows, a short and cheap one and
    that of the full model. It accepts in two stages (delayed acceptance, Christen and Fox 2005,
    algorithm 1): a swap is tried on the guide alone, as though it told the whole score, and only
    what passes is read in full and accepted or refused by what the guide did not tell. Most swaps
    are hopeless, and the guide tells so from a table that lies in the caches.

    Args:
        guide, full: `Windows`; full is not read where its weight is 0.
        weights: [P, 2], for scores in table steps.
        swaps: tried by each chain.
        occupancy: [V, V]; adds the number of steps for which cipher symbol c stood for plain
            symbol p, over all chains.
        accepted: [P]; filled with the number of accepted swaps.
    """
    size = keys.shape[1]
    code = np.empty(len(guide.base), np.int32)
    score = np.empty(len(guide.base), np.int32)
    full_code = np.empty(len(full.base), np.int32)
    full_score = np.empty(len(full.base), np.int32)
    since = np.empty(size, np.int64)  # the step from which a symbol's meaning is not counted
    for i in range(keys.shape[0]):
        plain = keys[i]
        both = weights[i, 0] + weights[i, 1]
        beta = weights[i, 1]
        _read(table, guide.base, guide.times, guide.places, plain, size, code, score)
        if beta != 0.0:
            _read(table, full.base, full.times, full.places, plain, size, full_code, full_score)
        since[:] = 0
        moves = int64(0)
        for step in range(swaps):
            a, b = _propose(seen, free, state)
            lo, hi, d = _pair(guide.bounds, plain, a, b)
            gain = _gain(table, guide.times, guide.entries, code, score, lo, hi, d)
            if a == b or not _accepts(gain * both, state):
                continue
            if beta != 0.0:
                first, last, _ = _pair(full.bounds, plain, a, b)
                entries = full.entries
                more = _gain(table, full.times, entries, full_code, full_score, first, last, d)
                if not _accepts((more - gain) * beta, state):
                    continue
                _shift(table, entries, full_code, full_score, first, last, d)
            _shift(table, guide.entries, code, score, lo, hi, d)
            # Each of the two held until now what the other holds from now on.
            occupancy[a, plain[a]] += step - since[a]
            occupancy[b, plain[b]] += step - since[b]
            since[a] = since[b] = step
            plain[a], plain[b] = plain[b], plain[a]
            moves += 1
        for c in range(size):
            occupancy[c, plain[c]] += swaps - since[c]
        accepted[i] = moves
