"""An upper bound on the log probability of every key, by a relaxation of the search for the best.

The score of a key is a sum of terms. A window of the text (an n-gram, counted once for each time
it occurs) reads the letters of the up to n symbols in it; so it is a term of one symbol, of a
pair, or a *factor* of three and more. All terms are log probabilities, at most 0. The relaxation
keeps the bound

    score(key) <= bound + sum of the terms that the key holds <= bound,

for every key, and rewrites the terms so that the bound falls while all terms stay at most 0. A
round does it in three steps:

1. Each factor takes in what its pairs of symbols hold and gives each an equal share of the best
   that it can make of it: message passing as in MPLP (Globerson and Jaakkola, NIPS 2007), with
   pairs of symbols, and not single ones, between the factors.
2. For each symbol i and letter p, what the pairs hold given that i is p is an assignment problem
   of the other symbols to the other letters. Its value moves to the term "i is p", and the
   assignment problem of these terms then lowers the bound: the dual ascent of Hahn and Grant
   (Operations Research 46, 1998) for the quadratic assignment problem, whose bound is that of the
   level-1 reformulation-linearisation (Adams et al., EJOR 180, 2007).
3. What no key above the cut can hold, since its terms alone pull the bound below the cut, is
   struck out for good: letters of a symbol, and pairs of letters of two symbols.

Every number is a whole multiple of a small step (2^-32 nats for some hundred letters of English),
log probabilities are rounded up to it, and all that follows is exact. So the bound is a proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decipher.exact import ascent
from decipher.ngram import NGramModel

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Bits of the largest possible sum of terms, in steps. Sums of several such are still exact in the
#: 53 bits of a float64.
BITS = 44
#: Messages past this, in steps, would come near where sums are rounded.
MESSAGE_LIMIT = 2.0**48
#: About so many entries of factors are read between two looks at the clock.
CHUNK = 20_000_000


class Factors(NamedTuple):
    """The windows with F different sets of three or more symbols, at most K each. The score of
    factor f is `times[f]` times the table's at `base[f]` + the sum over its axes x < `arity[f]` of
    `strides[f, x]` times the letter of symbol `axes[f, x]`, symbols as rows of `Relaxation`."""

    times: Float
    base: Int
    arity: Int
    axes: Int
    strides: Int


@dataclass(frozen=True, eq=False)
class Problem:
    """What does not change while the bound falls: the text's windows under a model.

    Attributes:
        symbols: [S] the cipher ids that occur or are known.
        size: V, the letters of the alphabet.
        table: the model's scores, less the highest where that is above 0 (an improper model).
        scale: steps in a nat.
        dead: no sum of terms that a key holds is below this, in steps.
        factors: the windows of three and more symbols.
    """

    symbols: NDArray[np.intp]
    size: int
    table: NDArray[Any]
    scale: float
    dead: float
    factors: Factors


@dataclass(eq=False)
class Relaxation:
    """The relaxed problem: a bound, and the terms that stand between it and each key's score.

    Made by `relax`. Symbols are numbered as in `problem.symbols`, letters of symbol i as in
    `letters[i]`. All terms are in steps, at most 0, and `2 * problem.dead` for "no key".

    Attributes:
        problem: the windows.
        bound: in steps.
        sizes: [S], how many letters each symbol may still be.
        letters: [S, D], which; `sizes[i]` of row i count.
        single: [S, D], terms of one symbol.
        pair: [S, D, S, D], terms of two symbols, symmetric.
        unused: [S, D, V], terms of "the symbol is this letter, and no symbol is that one".
        spare: [V], terms of "no symbol is this letter".
        message: [F, K (K - 1) / 2, D, D], what the factors have taken from their pairs on balance.
    """

    problem: Problem
    bound: float
    sizes: Int
    letters: Int
    single: Float
    pair: Float
    unused: Float
    spare: Float
    message: Float

    @property
    def upper_bound(self) -> float:
        """The bound in nats."""
        return self.bound / self.problem.scale

    @property
    def live(self) -> NDArray[np.bool_]:
        """[S, D]: the entries of `letters` that count."""
        return np.asarray(np.arange(self.letters.shape[1]) < self.sizes[:, None])

    @property
    def chunk(self) -> int:
        """How many factors to do between two looks at the clock."""
        widest: int = int(self.sizes.max()) ** self.problem.factors.axes.shape[1]
        return max(1, CHUNK // widest)

    def share_factors(self, first: int, last: int) -> bool:
        """Step 1 for some of the factors. Returns whether the messages are all small enough for
        another round."""
        problem = self.problem
        largest = ascent.factor_pass(
            problem.table,
            problem.scale,
            problem.factors,
            first,
            last,
            self.sizes,
            self.letters,
            self.pair,
            self.message,
            problem.dead,
        )
        return bool(largest < MESSAGE_LIMIT)

    def assign(self) -> None:
        """Step 2: lower the bound by what "all letters differ" costs."""
        self.bound += ascent.assignment_pass(
            self.sizes,
            self.letters,
            self.single,
            self.pair,
            self.unused,
            self.spare,
            np.empty_like(self.pair),
            self.problem.dead,
        )

    def strike(self, cut: float) -> NDArray[np.bool_]:
        """Step 3: strike out what no key with a score above `cut`, in steps, can hold. Returns
        [S, D], which letters are left to each symbol; where a row has none, there is no such key.
        Letters are gone only after `restrict`."""
        live = ascent.prune(self.sizes, self.single, self.pair, cut - self.bound, self.problem.dead)
        settled = np.zeros(len(live), bool)
        while len(ones := np.flatnonzero((live.sum(axis=1) == 1) & ~settled)):
            settled[ones] = True
            for i in ones[live[ones].any(axis=1)]:
                self._keep(live, i, int(np.argmax(live[i])))
        return live

    def spread(self) -> None:
        """Hand what single symbols hold to the pairs, before a next round."""
        ascent.spread(self.sizes, self.single, self.pair)

    def given(self, live: NDArray[np.bool_], symbol: int, place: int) -> Relaxation:
        """The problem in which a symbol is the letter at `letters[symbol, place]`, and others are
        what `live` [S, D] leaves them."""
        live = live.copy()
        live[symbol] = False
        live[symbol, place] = True
        self._keep(live, symbol, place)
        problem = self.restrict(live)
        # Every key that is left holds this term: it joins the bound.
        problem.bound += problem.single[symbol, 0]
        problem.single[symbol, 0] = 0.0
        return problem

    def _keep(self, live: NDArray[np.bool_], symbol: int, place: int) -> None:
        """Give a letter to one symbol alone, in `live`."""
        taken = self.letters == self.letters[symbol, place]
        taken[symbol] = False
        live &= ~taken

    def restrict(self, live: NDArray[np.bool_]) -> Relaxation:
        """A copy with only the letters that are True in `live` [S, D], packed."""
        sizes = live.sum(axis=1)
        width = max(1, int(sizes.max()))
        kept = np.argsort(~live, axis=1, kind="stable")[:, :width]
        row = np.arange(len(sizes))[:, None]
        axes = self.problem.factors.axes
        message = np.empty((*self.message.shape[:2], width, width))
        for y in range(1, axes.shape[1]):
            for x in range(y):
                slot = y * (y - 1) // 2 + x
                here = np.arange(len(axes))[:, None, None]
                a, b = kept[axes[:, x]][:, :, None], kept[axes[:, y]][:, None, :]
                message[:, slot] = self.message[here, slot, a, b]
        return replace(
            self,
            sizes=sizes,
            letters=self.letters[row, kept],
            single=self.single[row, kept],
            pair=self.pair[row[:, :, None, None], kept[:, :, None, None], row[:, 0, None], kept],
            unused=self.unused[row, kept],
            spare=self.spare.copy(),
            message=message,
        )


def relax(model: NGramModel, text: NDArray[np.uint8], known: Mapping[int, int]) -> Relaxation:
    """The problem of deciphering `text` [n], before any round: the bound is that no log
    probability is above 0.

    Args:
        model: its dense table must fit (see `NGramModel.table`).
        text: cipher ids.
        known: cipher ids whose plain ids are given.
    """
    size = model.alphabet.size
    symbols = np.union1d(text, np.array(list(known), text.dtype)).astype(np.intp)
    choices = [
        [known[c]] if c in known else sorted(set(range(size)) - set(known.values()))
        for c in symbols.tolist()
    ]
    sizes = np.array([len(choice) for choice in choices])
    letters = np.zeros((len(sizes), sizes.max()), np.int64)
    for row, choice in zip(letters, choices, strict=True):
        row[: len(choice)] = choice
    windows, times = _windows(np.searchsorted(symbols, text), model.order)

    highest = max(0.0, float(model.table.max()))
    table = model.table if highest == 0 else model.table - np.float64(highest)
    lowest = len(text) * (1.0 - float(table.min()))
    scale = 2.0 ** (BITS - int(np.ceil(np.log2(lowest))))

    factors: list[tuple[int, int, list[int], list[int]]] = []
    single = np.zeros(letters.shape)
    pair = np.zeros((*letters.shape, *letters.shape))
    for window, count in zip(windows, times, strict=True):
        axes, strides = _axes(window, size)
        base = int(model.offsets[len(window) - 1])
        if len(axes) > 2:
            factors.append((count, base, axes, strides))
            continue
        i, j = axes[0], axes[-1]
        codes = base + strides[0] * letters[i]
        if len(axes) == 1:
            single[i] += np.ceil(count * scale * table[codes].astype(np.float64))
        else:
            codes = codes[:, None] + strides[1] * letters[j]
            scores = np.ceil(count * scale * table[codes].astype(np.float64))
            pair[i, :, j] += scores
            pair[j, :, i] += scores.T
    alike = letters[:, :, None, None] == letters
    alike[np.arange(len(sizes)), :, np.arange(len(sizes))] = False
    pair[alike] = -2 * lowest * scale
    packed = _pack(factors, model.order)
    slots = packed.axes.shape[1] * (packed.axes.shape[1] - 1) // 2
    width = letters.shape[1]
    return Relaxation(
        Problem(symbols, size, table, scale, -lowest * scale, packed),
        float(np.ceil(len(text) * highest * scale)),
        sizes,
        letters,
        single,
        pair,
        np.zeros((*letters.shape, size)),
        np.zeros(size),
        np.zeros((len(factors), slots, width, width)),
    )


def _windows(ids: NDArray[np.intp], order: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """The distinct windows that a model of `order` scores, and how often each occurs; the first
    order - 1 are shorter."""
    times: dict[tuple[int, ...], int] = {}
    for end in range(1, len(ids) + 1):
        window = tuple(ids[max(0, end - order) : end].tolist())
        times[window] = times.get(window, 0) + 1
    return list(times), list(times.values())


def _axes(window: tuple[int, ...], size: int) -> tuple[list[int], list[int]]:
    """The distinct symbols of a window and the strides of their letters in the table, the largest
    first: the last one is then read along nearby entries."""
    strides: dict[int, int] = {}
    for place, symbol in enumerate(reversed(window)):
        strides[symbol] = strides.get(symbol, 0) + size**place
    axes = sorted(strides, key=lambda symbol: -strides[symbol])
    return axes, [strides[symbol] for symbol in axes]


def _pack(factors: list[tuple[int, int, list[int], list[int]]], order: int) -> Factors:
    widest = max([len(axes) for _, _, axes, _ in factors], default=min(3, order))
    shape = len(factors), widest
    packed = Factors(
        np.array([count for count, _, _, _ in factors], np.float64),
        np.array([base for _, base, _, _ in factors], np.int64),
        np.array([len(axes) for _, _, axes, _ in factors], np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
    )
    for f, (_, _, axes, strides) in enumerate(factors):
        packed.axes[f, : len(axes)] = axes
        packed.strides[f, : len(axes)] = strides
    return packed
