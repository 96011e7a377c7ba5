"""Cryptograms drawn from a corpus: windows of its text, each under a fresh random key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ciphers.alphabet import Alphabet, Ids, check_ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.keys import Key, apply_keys, random_keys

STREAM_BLOCK = 64  # cryptograms that `stream` draws at a time


@dataclass(frozen=True, eq=False)
class Cryptogram:
    """A ciphertext [n], with its plaintext [n] and key where they are known."""

    alphabet: Alphabet
    ciphertext: Ids
    plaintext: Ids | None = None
    key: Key | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """N cryptograms of one length: `ciphertext` and `plaintext` [N, n], `keys` [N, V]; uint8."""

    alphabet: Alphabet
    ciphertext: Ids
    plaintext: Ids
    keys: Ids

    def __len__(self) -> int:
        return len(self.ciphertext)

    def __getitem__(self, i: int) -> Cryptogram:
        key = Key(self.alphabet, self.keys[i])
        return Cryptogram(self.alphabet, self.ciphertext[i], self.plaintext[i], key)

    def __iter__(self) -> Iterator[Cryptogram]:
        return (self[i] for i in range(len(self)))

    def take(self, rows: slice) -> Batch:
        """Some of them."""
        return Batch(self.alphabet, self.ciphertext[rows], self.plaintext[rows], self.keys[rows])


def cryptograms(
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    length: int,
    count: int,
    rng: np.random.Generator,
    fixed: str = "",
) -> Batch:
    """`count` windows of `length` symbols, each encrypted with its own uniform random key.

    A window starts with equal chance at every position where it fits into a single document.

    Args:
        corpus: a corpus, or the ids of each document.
        fixed: symbols that every key leaves as they are, such as the space.

    Raises:
        InputError: no document is long enough, the ids are not the alphabet's, or a number makes
            no sense.
    """
    if length < 1 or count < 0:
        raise InputError(
            f"cannot draw {count} cryptograms of length {length}: take a length of 1 or more"
        )
    ids, lengths = _joined(corpus, alphabet)
    starts = _window_starts(lengths, length, count, rng)
    windows = ids[starts[:, None] + np.arange(length)]
    plaintext = check_ids(windows, alphabet.size).astype(np.uint8, copy=False)
    keys = random_keys(alphabet, count, rng, fixed)
    return Batch(alphabet, apply_keys(keys, plaintext), plaintext, keys)


def stream(
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    length: int,
    rng: np.random.Generator,
    fixed: str = "",
) -> Iterator[Cryptogram]:
    """Cryptograms without end, drawn as `cryptograms` draws them; it raises what that raises."""
    while True:
        yield from cryptograms(corpus, alphabet, length, STREAM_BLOCK, rng, fixed)


def _joined(corpus: Corpus | Sequence[Ids], alphabet: Alphabet) -> tuple[Ids, NDArray[np.intp]]:
    """All documents' ids in one row, and the length of each."""
    if isinstance(corpus, Corpus):
        return corpus.encode_joined(alphabet)
    if not len(corpus):
        raise InputError("the corpus holds no document: give at least one")
    return np.concatenate(corpus), np.array([len(ids) for ids in corpus], dtype=np.intp)


def _window_starts(
    lengths: NDArray[np.intp], length: int, count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """`count` uniform draws from all positions where a window lies within one document."""
    windows = np.maximum(lengths - length + 1, 0)
    ends = np.cumsum(windows)
    if not ends[-1]:
        raise InputError(
            f"no document has {length} symbols (the longest has {lengths.max()}): "
            "take a shorter length or a corpus of longer documents"
        )
    draws = rng.integers(ends[-1], size=count)
    documents = np.searchsorted(ends, draws, side="right")
    first_windows = ends - windows
    offsets = np.cumsum(lengths) - lengths
    starts: NDArray[np.intp] = (offsets - first_windows)[documents] + draws
    return starts
