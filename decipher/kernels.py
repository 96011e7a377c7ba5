"""The compiled loops of the n-gram search and sampler. Each releases the GIL.

A key is walked by swapping the plain symbols of two cipher symbols. A swap changes only the windows
(n-grams of the ciphertext) that hold one of the two, and a window's code is linear in the plain
symbols: if `plain[c]` is what cipher symbol c stands for, then

    code = base + sum over c of coefficient[c] * plain[c],

with coefficient[c] the sum of V^(n - 1 - place) over the places where the window holds c. Swapping
a and b moves it by (plain[b] - plain[a]) (coefficient[a] - coefficient[b]). So for each pair the
windows concerned and these differences are listed once; trying a swap is then one pass over a short
contiguous list, one table read an entry.

Unsigned indices spare the test for negative ones that Python's indexing asks for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint32, uint64
from numpy.typing import NDArray

Array = NDArray[Any]

compiled = njit(nogil=True, cache=True)
inlined = njit(inline="always")


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
    """A number in 0 ... n - 1 from the low 32 bits of `bits`; biased by less than n / 2^32."""
    return ((bits & uint64(0xFFFFFFFF)) * n) >> uint64(32)


@inlined
def _log_uniform(bits: Any) -> Any:
    """log u for a uniform u in (0, 1) from the top 53 bits."""
    return np.log((np.float64(bits >> uint64(11)) + 0.5) * (1.0 / 9007199254740992.0))


@compiled
def pair_windows(places: Array, size: int) -> tuple[Array, Array, Array, Array]:
    """List for each pair of cipher symbols the windows that a swap of the two changes.

    Args:
        places: [W, n] int16, the cipher symbols of each window, right-aligned; -1 before the start
            of a text.
        size: V.

    Returns:
        coefficient [V, W] int32; begin [V, V] and end [V, V] uint32, the same for (a, b) and
        (b, a); entries [E, 2] int32: window, coefficient[low] - coefficient[high] for low < high.
    """
    windows, order = places.shape
    coefficient = np.zeros((size, windows), np.int32)
    for w in range(windows):
        weight = 1
        for place in range(order - 1, -1, -1):
            if places[w, place] >= 0:
                coefficient[places[w, place], w] += weight
            weight *= size
    begin = np.zeros((size, size), np.uint32)
    end = np.zeros((size, size), np.uint32)
    total = 0
    for a in range(size):
        for b in range(a + 1, size):
            begin[a, b] = begin[b, a] = total
            for w in range(windows):
                if coefficient[a, w] != coefficient[b, w]:
                    total += 1
            end[a, b] = end[b, a] = total
    entries = np.empty((total, 2), np.int32)
    e = 0
    for a in range(size):
        for b in range(a + 1, size):
            for w in range(windows):
                difference = coefficient[a, w] - coefficient[b, w]
                if difference != 0:
                    entries[e, 0] = w
                    entries[e, 1] = difference
                    e += 1
    return coefficient, begin, end, entries


@compiled
def _read(table: Array, base: Array, coefficient: Array, plain: Array, code: Array) -> None:
    """Fill `code` [W] with the window codes under `plain` [V]."""
    for w in range(len(base)):
        total = base[w]
        for c in range(len(plain)):
            total += coefficient[c, w] * plain[c]
        code[w] = total


@inlined
def _swap_gain(
    table: Array, code: Array, score: Array, times: Array, entries: Array, lo: Any, hi: Any, d: Any
) -> Any:
    """What the score gains when two symbols whose windows are entries lo ... hi - 1 are swapped;
    d = plain[high] - plain[low]."""
    gain = table[0] - table[0]  # a zero of the table's own kind
    gain = gain * times[0]
    for e in range(lo, hi):
        w = uint32(entries[e, 0])
        moved = uint32(code[w] + d * entries[e, 1])
        gain += (table[moved] - score[w]) * times[w]
    return gain


@inlined
def _swap(
    table: Array, code: Array, score: Array, entries: Array, lo: Any, hi: Any, d: Any
) -> None:
    for e in range(lo, hi):
        w = uint32(entries[e, 0])
        code[w] += d * entries[e, 1]
        score[w] = table[uint32(code[w])]
