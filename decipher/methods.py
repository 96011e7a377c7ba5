"""The decipherers by name, for the commands and for whoever chooses one at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ciphers.errors import InputError
from decipher.frequency import FrequencyDecipherer
from decipher.ngram import NGramModel
from decipher.posterior import Decipherer
from decipher.search import NGramDecipherer

Maker = Callable[..., Decipherer]


def _frequency(
    model: NGramModel, rng: np.random.Generator, known: Mapping[int, int] | None
) -> Decipherer:
    return FrequencyDecipherer(model, known)  # it draws nothing, so it has no use for `rng`


METHODS: dict[str, Maker] = {
    "ngram": lambda model, rng, known, **options: NGramDecipherer(model, rng, known, **options),
    "frequency": _frequency,
}


def make_decipherer(
    name: str,
    model: NGramModel,
    *,
    rng: np.random.Generator,
    known: Mapping[int, int] | None = None,
    **options: Any,
) -> Decipherer:
    """A decipherer by name.

    Args:
        name: one of `METHODS`.
        model: the language model of the plaintext.
        rng: where every random number comes from.
        known: cipher ids whose plain ids are given.
        options: the method's own settings (see its class).

    Raises:
        InputError: there is no such method, it has no such setting, or `known` contradicts itself.
    """
    if name not in METHODS:
        raise InputError(f"there is no decipherer {name!r}: choose one of {', '.join(METHODS)}")
    try:
        return METHODS[name](model, rng, known, **options)
    except TypeError as error:
        raise InputError(f"the decipherer {name!r} has no such setting: {error}") from error
