"""The exact posterior over keys under a unigram language model, at real alphabet sizes.

Under a unigram model a ciphertext in which cipher symbol c occurs n_c times has, given a key, the
probability prod over c of f[plain(c)]^n_c. Summed over all keys that is the permanent of the matrix
A[c, p] = f_p^n_c, so

    evidence = perm(A) / V!,    marginals[c, p] = A[c, p] perm(A without c and p) / perm(A).

The textbook dynamic programme for a permanent takes the columns one by one and keeps the set of
rows used so far: V 2^V steps. Here rows of equal counts are equal, so it is enough to know how many
rows of each class of equal counts are used: prod over classes of (m_i + 1) states, where class i
has m_i rows. That is 2^V at most, and far less in practice: most texts repeat some counts, and all
the symbols that do not occur are one class.

A state's index is its numbers of used rows, read as the digits of a mixed-radix number, class 0
the lowest. Using one more row leads to a higher index, so one sweep up the array sums over all ways
to reach a state, and one down the array over all ways to go on from it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.kernels import Array, compiled
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes

#: Bytes that may be used where the system does not say what is free: enough for 27 symbols.
USUAL_MEMORY = 1 << 30
BYTES_PER_STATE = 8
#: Symbols are uint8 ids. That many also keep every sum over matchings far inside float64's range,
#: whatever the counts, as long as the states fit in any real memory.
MAX_SYMBOLS = 256


def unigram_posterior(
    counts: ArrayLike, log_frequencies: ArrayLike, memory_limit: int | None = None
) -> tuple[float, NDArray[np.float64]]:
    """Permanent and marginals of the matrix A[c, p] = exp(counts[c] * log_frequencies[p]).

    Takes O(classes x states) time and 8 bytes a state, for prod(m_i + 1) states, where m_i rows
    share the i-th of the distinct counts.

    Args:
        counts: [V] how often each cipher symbol occurs.
        log_frequencies: [V] log probability of each plain symbol, nats.
        memory_limit: bytes that may be used (None: the free physical memory).

    Returns:
        log perm(A), nats, and the marginals [V, V]: the probability that row c goes with column p
        in a one-to-one matching drawn in proportion to its product of entries.

    Raises:
        InputError: the arguments do not fit together or are not finite, or the states would not
            fit in memory.
    """
    matchings = Matchings(counts, log_frequencies, memory_limit)
    return matchings.log_permanent, matchings.marginals


class Matchings:
    """All one-to-one matchings of V rows with V columns, each weighed by its product of entries
    A[c, p] = exp(counts[c] * log_frequencies[p]). The arguments are those of `unigram_posterior`.

    Attributes:
        log_permanent: log of the sum of the weights, nats.
        marginals: [V, V], the share of the weight in which row c goes with column p.
        best: [V] the column of each row in a matching of greatest weight.
        best_log_weight: its log weight, nats.
        states: how many states the sum went through.
    """

    def __init__(
        self, counts: ArrayLike, log_frequencies: ArrayLike, memory_limit: int | None = None
    ) -> None:
        times, logs = _checked(counts, log_frequencies)
        self._columns = np.argsort(-logs, kind="stable")
        self._rows = np.argsort(-times, kind="stable")
        values, class_of, sizes = np.unique(-times, return_inverse=True, return_counts=True)
        self._sizes = sizes.astype(np.int64)
        self.states = math.prod(int(m) + 1 for m in sizes)
        check_memory(self.states, memory_limit)
        self._strides = np.cumprod(np.concatenate([[1], self._sizes + 1]))[:-1].astype(np.int64)

        # The rearrangement inequality: like rank to like rank maximises a sum of products.
        self.best = np.empty(len(times), np.intp)
        self.best[self._rows] = self._columns
        self.best_log_weight = float(times @ logs[self.best])
        self._entries = scaled_entries(-values, times[self._rows], logs[self._columns])

        self._beyond = np.empty(self.states)
        sum_forward(self._sizes, self._strides, self._entries, self._beyond)
        through = sum_backward(self._sizes, self._strides, self._entries, self._beyond)
        # The sweeps do not tell the rows of a class apart: m_i! matchings count there as one.
        self.log_permanent = float(
            self.best_log_weight + np.log(self._beyond[0]) + gammaln(sizes + 1).sum()
        )
        by_class = through / self._beyond[0] / sizes
        self.marginals = np.empty((len(times), len(times)))
        self.marginals[:, self._columns] = by_class.T[class_of]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Independent matchings in proportion to their weights: [count, V], each row's column."""
        size = len(self._rows)
        # Within a class every order of the rows is equally probable.
        rows = np.tile(self._rows, (count, 1))
        ends = np.cumsum(self._sizes)
        for start, end in zip(ends - self._sizes, ends, strict=True):
            rows[:, start:end] = rng.permuted(rows[:, start:end], axis=1)
        levels = np.empty((count, size), np.intp)
        uniforms = rng.random((count, size))
        walk_down(self._sizes, self._strides, self._entries, self._beyond, uniforms, rows, levels)
        return self._columns[levels]


@dataclass(frozen=True, eq=False)
class UnigramDecipherer:
    """The exact posterior under the unigram distribution of a model, which reads only how often
    each cipher symbol occurs.

    Attributes:
        model: the language model of the plaintext; of a higher order only `conditional([])` is
            used, so `map_log_prob` and `log_evidence` are the unigram model's.
        rng: where the key samples come from; nothing else is random.
        known: cipher ids whose plain ids are given; the evidence averages over the keys that agree.
        draws: independent exact samples of the key, of equal weight.
        memory_limit: bytes that may be used (None: the free physical memory). A text that needs
            more, with too many distinct counts, is refused with an InputError.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    draws: int = 1000
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InputError(f"draws must be at least 1, not {self.draws}")
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`. In `map_key` ties go to the smaller cipher id."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def _posterior(self, prefix: NDArray[np.uint8]) -> KeyPosterior:
        alphabet = self.model.alphabet
        size = alphabet.size
        known = check_known(self.known, alphabet)
        given, meant = list(known), list(known.values())
        cipher = np.setdiff1d(np.arange(size), given)
        plain = np.setdiff1d(np.arange(size), meant)
        counts = np.bincount(prefix, minlength=size)
        logs = self.model.log_prob(np.arange(size)[:, None])[:, 0]
        certain = float(counts[given] @ logs[meant])
        matchings = Matchings(counts[cipher], logs[plain], self.memory_limit)

        marginals = np.zeros((size, size))
        marginals[given, meant] = 1.0
        marginals[np.ix_(cipher, plain)] = matchings.marginals
        mapping = np.empty(size, np.uint8)
        mapping[meant] = given
        mapping[plain[matchings.best]] = cipher
        samples = np.empty((self.draws, size), np.uint8)
        samples[:, given] = meant
        samples[:, cipher] = plain[matchings.draw(self.draws, self.rng)]
        return KeyPosterior(
            alphabet,
            marginals,
            Key(alphabet, mapping),
            np.flatnonzero(counts),
            samples,
            np.full(self.draws, 1 / self.draws),
            certain + matchings.best_log_weight,
            certain + matchings.log_permanent - float(gammaln(len(cipher) + 1)),
            {"states": matchings.states},
        )


def scaled_entries(
    values: NDArray[np.float64], counts: NDArray[np.float64], logs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The entries exp(value * log) [V, I] of each class, every row and column divided by a factor
    such that no entry exceeds 1 and the best matching's entries are all 1.

    So float64 sums without logarithms are safe. The permanent is at least 1, and at most the number
    of matchings, 27! = 1e28. Whatever product underflows is part of matchings of weight below
    1e-307, which all together could not change one digit of it.

    The factors are an optimal dual solution of the assignment problem. Because log entries are
    products count * log and the optimal matching is by rank, they have a closed form: between
    columns j and j + 1 the log factor rises by n (logs[j + 1] - logs[j]), with any n between the
    counts of ranks j and j + 1; here midway. A row's factor is then its greatest entry.

    Args:
        values: [I] distinct counts, descending.
        counts: [V] counts of all rows, descending.
        logs: [V] log frequencies of the columns, descending, nats.
    """
    between = (counts[:-1] + counts[1:]) / 2
    log_entries = np.zeros((len(logs), len(values)))
    steps = (values - between[:, None]) * np.diff(logs)[:, None]
    log_entries[1:] = np.cumsum(steps, axis=0)
    scaled: NDArray[np.float64] = np.exp(log_entries - log_entries.max(axis=0, initial=0.0))
    return scaled


def check_memory(states: int, memory_limit: int | None) -> None:
    """Raise InputError if a table of so many states takes more than `memory_limit` bytes (None:
    the free physical memory)."""
    limit = available_memory() if memory_limit is None else memory_limit
    if states * BYTES_PER_STATE > limit:
        raise InputError(
            f"the exact unigram posterior of this text needs {states * BYTES_PER_STATE / 2**30:.4g}"
            f" GiB for its {states} states and may use {limit / 2**30:.4g} GiB: shorten the text, "
            "give known letters, or raise memory_limit"
        )


def available_memory() -> int:
    """Bytes of free physical memory where the system says, else `USUAL_MEMORY`."""
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return USUAL_MEMORY
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _checked(
    counts: ArrayLike, log_frequencies: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times = np.asarray(counts, np.float64)
    logs = np.asarray(log_frequencies, np.float64)
    if times.ndim != 1 or times.shape != logs.shape:
        raise InputError(
            "counts and log frequencies are two rows of the same length, not arrays of shapes "
            f"{times.shape} and {logs.shape}"
        )
    if len(times) > MAX_SYMBOLS:
        raise InputError(f"there are {len(times)} symbols: at most {MAX_SYMBOLS} can be matched")
    if not np.isfinite(times).all():
        raise InputError("a count is not finite: give the number of times each symbol occurs")
    if not np.isfinite(logs).all():
        raise InputError(
            "a log frequency is not finite: smooth the language model, so that every symbol has a "
            "probability above 0"
        )
    return times, logs


# --- compiled loops -----------------------------------------------------------------------------
# `sizes` [I] are the numbers of rows of the classes, `strides` [I] what one more used row of a
# class adds to a state's index. The sum of a state's digits is the column it comes to: its level.


@compiled
def sum_forward(sizes: Array, strides: Array, entries: Array, table: Array) -> None:
    """Fill `table` [states] with the summed weight of all ways from no row used to each state."""
    used = np.zeros(len(sizes), np.int64)
    column = -1
    table[0] = 1.0
    for state in range(1, len(table)):
        i = 0
        while used[i] == sizes[i]:
            column -= used[i]
            used[i] = 0
            i += 1
        used[i] += 1
        column += 1
        total = 0.0
        for i in range(len(sizes)):
            if used[i] > 0:
                total += table[state - strides[i]] * entries[column, i]
        table[state] = total


@compiled
def sum_backward(sizes: Array, strides: Array, entries: Array, table: Array) -> Array:
    """Turn `table` as `sum_forward` left it into the summed weight of all ways from each state to
    all rows used: a forward sum is not read again after its own state's turn.

    Returns:
        through [V, I], the summed weight of all ways that give column j to a row of class i.
    """
    used = sizes.copy()
    column = len(entries)
    through = np.zeros(entries.shape)
    table[-1] = 1.0
    for state in range(len(table) - 2, -1, -1):
        i = 0
        while used[i] == 0:
            used[i] = sizes[i]
            column += used[i]
            i += 1
        used[i] -= 1
        column -= 1
        reached = table[state]
        total = 0.0
        for i in range(len(sizes)):
            if used[i] < sizes[i]:
                beyond = entries[column, i] * table[state + strides[i]]
                total += beyond
                through[column, i] += reached * beyond
        table[state] = total
    return through


@compiled
def walk_down(
    sizes: Array,
    strides: Array,
    entries: Array,
    beyond: Array,
    uniforms: Array,
    rows: Array,
    levels: Array,
) -> None:
    """Draw matchings: at each column a class, with the probability of all ways on through it.

    Args:
        beyond: [states] the sums that `sum_backward` leaves.
        uniforms: [K, V] random numbers from [0, 1).
        rows: [K, V] the rows, class after class, in the order in which they are used.
        levels: [K, V] is filled with the column of each row.
    """
    starts = np.cumsum(sizes) - sizes
    for k in range(len(rows)):
        used = np.zeros(len(sizes), np.int64)
        state = 0
        for column in range(rows.shape[1]):
            left = uniforms[k, column] * beyond[state]
            chosen = -1
            for i in range(len(sizes)):
                if used[i] < sizes[i]:
                    weight = entries[column, i] * beyond[state + strides[i]]
                    if weight > 0.0:  # rounding may leave a remainder: it falls to the last such
                        chosen = i
                        left -= weight
                        if left < 0.0:
                            break
            levels[k, rows[k, starts[chosen] + used[chosen]]] = column
            used[chosen] += 1
            state += strides[chosen]
