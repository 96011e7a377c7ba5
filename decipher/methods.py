"""The decipherers by name, for the commands and for whoever chooses one at run time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, cast

import numpy as np

from ciphers.errors import InputError
from decipher.ngram import NGramModel
from decipher.posterior import Decipherer

#: Where each one lives: imported when it is asked for, for some load a good deal.
METHODS = {
    "smc": ("decipher.sampling.smc", "SMCDecipherer"),
    "tempering": ("decipher.sampling.tempering", "TemperingDecipherer"),
    "enumerate": ("decipher.exact.enumeration", "EnumerationDecipherer"),
    "astar": ("decipher.exact.astar", "AStarDecipherer"),
    "unigram": ("decipher.exact.unigram", "UnigramDecipherer"),
    "ngram": ("decipher.search", "NGramDecipherer"),
    "frequency": ("decipher.frequency", "FrequencyDecipherer"),
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
    check_methods([name])
    module, kind = METHODS[name]
    method = getattr(import_module(module), kind)
    given = {"model": model, "rng": rng, "known": known}
    check_options(name, method, options, given)
    # The exact methods draw nothing, so they have no use for `rng`.
    settings = {field.name for field in fields(method)}
    taken = {name: value for name, value in given.items() if name in settings}
    return cast(Decipherer, method(**taken, **options))


def check_methods(names: Iterable[str], others: Iterable[str] = ()) -> None:
    """Check that each of `names` is a method, or one of the `others` that the caller knows.

    Raises:
        InputError: one is not.
    """
    choices = [*METHODS, *others]
    for name in names:
        if name not in choices:
            raise InputError(f"there is no decipherer {name!r}: choose one of {', '.join(choices)}")


def check_options(
    name: str, method: type[Any], options: Iterable[str], given: Iterable[str]
) -> None:
    """Check that the dataclass `method`, called `name`, has the settings `options`, which must not
    be among those that are `given` to it anyway.

    Raises:
        InputError: it has no such setting.
    """
    settings = {field.name for field in fields(method)} - set(given)
    for option in options:
        if option not in settings:
            raise InputError(
                f"the decipherer {name!r} has no setting {option!r}: it has "
                f"{', '.join(sorted(settings)) or 'none'}"
            )
