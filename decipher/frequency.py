"""Rank matching: the most frequent cipher symbol stands for the most frequent letter, and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import Alphabet
from ciphers.keys import Key
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes


@dataclass(frozen=True, eq=False)
class FrequencyDecipherer:
    """The trivial decipherer, for comparison: it reads counts and knows no doubt, so its marginals
    are a permutation matrix.

    Attributes:
        model: gives the plain symbols' frequencies, and the score of the key.
        known: cipher ids whose plain ids are given.
    """

    model: NGramModel
    known: Mapping[int, int] | None = None

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`. Ties go to the smaller cipher id."""
        alphabet = self.model.alphabet
        return [
            self._posterior(prefix, alphabet)
            for prefix in check_prefixes(ciphertext, lengths, alphabet)
        ]

    def _posterior(self, prefix: NDArray[np.uint8], alphabet: Alphabet) -> KeyPosterior:
        size = alphabet.size
        counts = np.bincount(prefix, minlength=size)
        known = check_known(self.known, alphabet)
        cipher = [c for c in np.argsort(-counts, kind="stable").tolist() if c not in known]
        by_frequency = np.argsort(-self.model.conditional([]), kind="stable").tolist()
        plain = [p for p in by_frequency if p not in known.values()]
        mapping = np.empty(size, np.uint8)
        mapping[list(known.values())] = list(known)
        mapping[plain] = cipher
        key = Key(alphabet, mapping)
        marginals = np.zeros((size, size))
        marginals[mapping, np.arange(size)] = 1.0
        return KeyPosterior(
            alphabet,
            marginals,
            key,
            np.flatnonzero(counts),
            map_log_prob=float(self.model.log_prob(key.decrypt(prefix)).sum()),
        )
