"""Small languages, and the truth about a small cipher by enumeration."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp

from ciphers import Alphabet
from decipher import NGramModel

#: English that is in no corpus: no table can have been estimated from it.
PASSAGE = """\
My grandmother kept a small shop at the corner of the square, where she sold thread, buttons and
paper to the women of the village. On winter evenings, when the snow lay deep and nobody came, she
would close the shutters early and tell us stories about the river, which she had crossed alone as
a girl, with nothing but a lamp and a loaf of bread. We never knew how much of it was true, but we
believed every word, and when the wind shook the door we thought that somebody from the far side of
the water had come at last to ask for her.
"""


@pytest.fixture(scope="session")
def passage() -> str:
    return PASSAGE


Texts = Callable[[int, list[int], int], list[NDArray[np.uint8]]]


@pytest.fixture(scope="session")
def markov_texts() -> Texts:
    """(V, lengths, seed) -> texts of a random first-order Markov chain with skewed transitions."""

    def draw(size: int, lengths: list[int], seed: int) -> list[NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        transitions = rng.dirichlet(np.full(size, 0.4), size).cumsum(axis=1)
        texts = []
        for length in lengths:
            ids = np.zeros(length, np.uint8)
            symbol = int(rng.integers(size))
            for i, u in enumerate(rng.random(length)):
                symbol = min(int(np.searchsorted(transitions[symbol], u)), size - 1)
                ids[i] = symbol
            texts.append(ids)
        return texts

    return draw


class Truth:
    """All keys of a small alphabet, read backwards [K, V], and their posterior under a model."""

    def __init__(
        self, model: NGramModel, ciphertext: NDArray[np.uint8], known: dict[int, int] | None = None
    ) -> None:
        size = model.alphabet.size
        keys = np.array(list(permutations(range(size))), np.uint8)
        for cipher, plain in (known or {}).items():
            keys = keys[keys[:, cipher] == plain]
        self.keys = keys
        self.scores = model.log_prob(keys[:, ciphertext]).sum(axis=1)
        self.weights = np.exp(self.scores - logsumexp(self.scores))
        self.marginals = np.zeros((size, size))
        for cipher in range(size):
            np.add.at(self.marginals[cipher], keys[:, cipher], self.weights)


@pytest.fixture(scope="session")
def enumerated() -> type[Truth]:
    return Truth


def small_alphabet(size: int) -> Alphabet:
    return Alphabet("abcdefghij"[:size], f"first-{size}")


@pytest.fixture(scope="session")
def alphabet_of() -> Callable[[int], Alphabet]:
    return small_alphabet
