"""From a ciphertext to what is known of its key: language models, decipherers, posteriors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decipher.exact.astar import AStarDecipherer as AStarDecipherer
    from decipher.exact.enumeration import EnumerationDecipherer as EnumerationDecipherer
    from decipher.exact.unigram import UnigramDecipherer as UnigramDecipherer
    from decipher.frequency import FrequencyDecipherer as FrequencyDecipherer
    from decipher.language import LanguageModel as LanguageModel
    from decipher.methods import make_decipherer as make_decipherer
    from decipher.ngram import NGramModel as NGramModel
    from decipher.ngram import load_ngram as load_ngram
    from decipher.posterior import Decipherer as Decipherer
    from decipher.posterior import Decoding as Decoding
    from decipher.posterior import HomophonicPosterior as HomophonicPosterior
    from decipher.posterior import KeyPosterior as KeyPosterior
    from decipher.sampling.homophonic import HomophonicDecipherer as HomophonicDecipherer
    from decipher.sampling.smc import SMCDecipherer as SMCDecipherer
    from decipher.sampling.tempering import TemperingDecipherer as TemperingDecipherer
    from decipher.search import NGramDecipherer as NGramDecipherer
    from decipher.solution import Solution as Solution
    from decipher.solution import solve as solve

# Loaded when first asked for, so that `decipher --help` need not wait for the compiler.
_HOMES = {
    "AStarDecipherer": "exact.astar",
    "Decipherer": "posterior",
    "Decoding": "posterior",
    "EnumerationDecipherer": "exact.enumeration",
    "FrequencyDecipherer": "frequency",
    "HomophonicDecipherer": "sampling.homophonic",
    "HomophonicPosterior": "posterior",
    "KeyPosterior": "posterior",
    "LanguageModel": "language",
    "NGramDecipherer": "search",
    "NGramModel": "ngram",
    "SMCDecipherer": "sampling.smc",
    "Solution": "solution",
    "TemperingDecipherer": "sampling.tempering",
    "UnigramDecipherer": "exact.unigram",
    "load_ngram": "ngram",
    "make_decipherer": "methods",
    "solve": "solution",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'decipher' has no attribute {name!r}")
    return getattr(import_module(f"decipher.{_HOMES[name]}"), name)
