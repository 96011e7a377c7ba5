"""Homophonic keys: several cipher symbols for one letter, as in the Zodiac killer's letters.

The 408-symbol Zodiac cipher of 1969 writes English in 54 signs: a frequent letter has many
homophones, used in turn, so that the counts of the signs say little about the letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import LETTERS, Alphabet, Ids, check_ids
from ciphers.errors import InputError

CipherIds = NDArray[np.uint16]
"""Cipher ids, 0 to C - 1, of a key with C cipher symbols."""

MAX_SYMBOLS = 65_535

ENGLISH_FREQUENCIES = (
    *(8.04, 1.48, 3.34, 3.82, 12.49, 2.40, 1.87, 5.05, 7.57, 0.16, 0.54, 4.07, 2.51),
    *(7.23, 7.64, 2.14, 0.12, 6.28, 6.51, 9.28, 2.73, 1.05, 1.68, 0.23, 1.66, 0.09),
)
"""Per cent of the letters a to z in English (Norvig, "English Letter Frequency Counts: Mayzner
Revisited", 2012, from Google's books)."""


@dataclass(frozen=True, eq=False, repr=False)
class HomophonicKey:
    """A one-to-many key: `mapping` [C] takes a cipher id to its plain id (read-only).

    Raises:
        InputError: `mapping` is not 1 to 65,535 plain ids.
    """

    alphabet: Alphabet
    mapping: Ids

    def __post_init__(self) -> None:
        mapping = check_ids(self.mapping, self.alphabet.size).astype(np.uint8)
        if mapping.ndim != 1 or not 1 <= mapping.size <= MAX_SYMBOLS:
            raise InputError(
                f"a homophonic key has 1 to {MAX_SYMBOLS} cipher symbols in one row, "
                f"not shape {mapping.shape}: give the plain id of each"
            )
        mapping.flags.writeable = False
        object.__setattr__(self, "mapping", mapping)

    @classmethod
    def random(
        cls,
        alphabet: Alphabet,
        symbols: int,
        rng: np.random.Generator,
        frequencies: ArrayLike | None = None,
    ) -> HomophonicKey:
        """A random key of `symbols` cipher symbols, dealt out by how often each letter is used.

        Args:
            symbols: C, from V up: every plain symbol gets at least one homophone.
            frequencies: [V] relative frequencies; by default those of English for `LETTERS`, and
                equal ones for any other alphabet.

        Raises:
            InputError: too few or too many cipher symbols, or the frequencies are no frequencies.
        """
        if not alphabet.size <= symbols <= MAX_SYMBOLS:
            raise InputError(
                f"{symbols} cipher symbols cannot stand for {alphabet}: "
                f"take {alphabet.size} to {MAX_SYMBOLS}"
            )
        if frequencies is None:
            english = alphabet == LETTERS
            frequencies = ENGLISH_FREQUENCIES if english else np.ones(alphabet.size)
        weights = np.asarray(frequencies, dtype=np.float64)
        if weights.shape != (alphabet.size,) or not (
            np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0
        ):
            raise InputError(
                f"frequencies must be {alphabet.size} numbers, none negative and not all zero"
            )
        counts = _apportion(weights, symbols)
        return cls(alphabet, rng.permutation(np.repeat(np.arange(alphabet.size), counts)))

    @property
    def symbols(self) -> int:
        """C, the number of cipher symbols."""
        return len(self.mapping)

    def __repr__(self) -> str:
        return f"HomophonicKey({self.alphabet}, {self.symbols} symbols)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HomophonicKey):
            return NotImplemented
        return self.alphabet == other.alphabet and np.array_equal(self.mapping, other.mapping)

    def __hash__(self) -> int:
        return hash((self.alphabet, self.mapping.tobytes()))

    def homophones(self, plain_id: int) -> NDArray[np.intp]:
        """The cipher ids that stand for `plain_id`, ascending."""
        return np.flatnonzero(self.mapping == plain_id)

    def encrypt(
        self,
        ids: ArrayLike,
        rng: np.random.Generator | None = None,
        choice: Literal["uniform", "cyclic"] = "uniform",
    ) -> CipherIds:
        """The cipher ids [n] of plain `ids` [n].

        Args:
            rng: what "uniform" draws from.
            choice: "uniform" takes any homophone of the letter with equal chances; "cyclic" takes
                a letter's homophones in turn, in ascending order.

        Raises:
            InputError: a letter has no homophone, an id is out of range, or "uniform" has no `rng`.
        """
        plain = check_ids(ids, self.alphabet.size)
        if plain.ndim != 1:
            raise InputError(f"homophonic encryption takes ids in one row, not shape {plain.shape}")
        counts = self._counts[plain]
        if not counts.all():
            lacking = self.alphabet.decode(np.unique(plain[counts == 0]))
            raise InputError(f"the key has no homophone for {lacking!r}: give it at least one each")
        if choice == "cyclic":
            turns = _occurrence(plain) % counts
        elif choice == "uniform":
            if rng is None:
                raise InputError("uniform choice of homophones draws at random: give it an rng")
            turns = rng.integers(0, counts)
        else:
            raise InputError(f"there is no choice {choice!r}: take 'uniform' or 'cyclic'")
        # `_grouped` lists the homophones letter by letter; a letter's begin after its forerunners'.
        starts = np.cumsum(self._counts) - self._counts
        cipher: CipherIds = self._grouped[starts[plain] + turns]
        return cipher

    def decrypt(self, cipher_ids: ArrayLike) -> Ids:
        """The plain ids of `cipher_ids`, of the same shape.

        Raises:
            InputError: an id is not in 0 to C - 1.
        """
        plain: Ids = self.mapping[check_ids(cipher_ids, self.symbols)]
        return plain

    @cached_property
    def _counts(self) -> NDArray[np.intp]:
        """[V] the number of homophones of each plain id."""
        return np.bincount(self.mapping, minlength=self.alphabet.size)

    @cached_property
    def _grouped(self) -> CipherIds:
        """[C] the cipher ids, ordered by plain id and then by themselves."""
        return np.argsort(self.mapping, kind="stable").astype(np.uint16)


def _apportion(weights: NDArray[np.float64], seats: int) -> NDArray[np.intp]:
    """`seats` dealt out in proportion to `weights` [V], at least one each, by largest remainder.

    A weight too small for a whole seat gets one, and the others share what is left; that can push
    another below one, so it is repeated until all that share have earned a seat.
    """
    counts = np.ones(len(weights), dtype=np.intp)
    sharing = weights > 0
    while sharing.any():
        left = seats - np.count_nonzero(~sharing)
        quotas = weights * (left / weights[sharing].sum())
        small = sharing & (quotas < 1)
        if not small.any():
            counts[sharing] = np.floor(quotas[sharing])
            remainders = np.where(sharing, quotas - np.floor(quotas), -1)
            largest = np.argsort(-remainders, kind="stable")
            counts[largest[: seats - counts.sum()]] += 1
            break
        sharing &= ~small
    return counts


def _occurrence(ids: NDArray[Any]) -> NDArray[np.intp]:
    """[n] how often each entry's value came before it."""
    order = np.argsort(ids, kind="stable")
    counts = np.bincount(ids)
    starts = np.cumsum(counts) - counts
    occurrence = np.empty(len(ids), dtype=np.intp)
    occurrence[order] = np.arange(len(ids)) - starts[ids[order]]
    return occurrence
