"""The n-grams of a ciphertext, listed once for the compiled loops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from decipher import kernels
from decipher.ngram import NGramModel


class Windows(NamedTuple):
    """The n-grams of a ciphertext, each distinct one once, ready for the kernels.

    Attributes:
        base: [W] the code of a window in which every symbol stands for plain symbol 0.
        times: [W] how often the window occurs.
        places: [W, n] the cipher symbol at each of its places, -1 before the start of the text.
        bounds, entries: what a swap of two symbols changes; see `kernels.pair_entries`.
    """

    base: NDArray[np.int32]
    times: NDArray[np.int32]
    places: NDArray[np.int16]
    bounds: NDArray[np.uint32]
    entries: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        ids: NDArray[np.integer[Any]],
        order: int,
        model: NGramModel,
        free: NDArray[np.intp],
        symbols: int | None = None,
    ) -> Windows:
        """The windows of `ids` [n] that the model of `order` scores, swappable among `free`; of
        `symbols` cipher symbols (None: as many as letters)."""
        letters = model.alphabet.size
        symbols = symbols or letters
        padded = np.concatenate([np.full(order - 1, -1, np.int16), ids.astype(np.int16)])
        rows = sliding_window_view(padded, order)
        names = (rows + 1) @ (symbols + 1) ** np.arange(order, dtype=np.int64)
        _, first, times = np.unique(names, return_index=True, return_counts=True)
        places = rows[first]
        coefficient = kernels.window_coefficients(places, symbols, letters)
        return cls(
            model.offsets[(places >= 0).sum(axis=1) - 1].astype(np.int32),
            times.astype(np.int32),
            places,
            *kernels.pair_entries(coefficient, free),
        )
