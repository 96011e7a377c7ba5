"""What a method asks of a language model, whether it counts n-grams or is a transformer."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import Alphabet


class LanguageModel(Protocol):
    """Anything that gives a text its probability, one symbol after another."""

    @property
    def alphabet(self) -> Alphabet:
        """The symbols, V of them."""
        ...

    def log_prob(self, ids: ArrayLike) -> NDArray[np.float64]:
        """log p(ids[..., i] | ids[..., :i]), nats.

        Args:
            ids: [..., n] ids; each row is a text of its own.

        Returns:
            [..., n]; the sum over the last axis is the log probability of the text.

        Raises:
            InputError: an id lies outside the alphabet.
        """
        ...

    def log_conditionals(self, ids: ArrayLike) -> NDArray[np.float64]:
        """The distribution of the next symbol after every prefix, nats.

        Args:
            ids: [..., n] ids; each row is a text of its own.

        Returns:
            [..., n + 1, V]; row i is log p(. | ids[..., :i]), and the last row is for the symbol
            after the end. Entry ids[..., i] of row i is `log_prob(ids)[..., i]`.

        Raises:
            InputError: an id lies outside the alphabet.
        """
        ...
