"""Reading a key from what a transformer expects next, without a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment, quadratic_assignment

from analysis.pooling import key_posteriors
from analysis.states import torch_generator
from ciphers.alphabet import Ids
from ciphers.errors import InputError
from decipher.language import LanguageModel
from decipher.lexinvariant.model import Transformer
from decipher.posterior import KeyPosterior, check_known, check_least, check_prefixes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PredictiveDecipherer:
    """Matches what a model expects of a ciphertext with what is to be expected of the language.

    After each symbol the transformer says which cipher symbol may come next, and a language model
    says the same of the plain symbols, given the key. The key sought is the one under which the
    two agree best: it maximises

        sum over i and c of P_transformer(c | x_<i) * log p_language(key^-1(c) | key^-1(x_<i)),

    which is minus their Kullback-Leibler divergence, summed over positions, up to a constant. What
    was read enters only as context; what comes next is what the transformer expects and not what
    came, so a model that has learned nothing of the text gives no key away.

    With the context of one symbol this is a quadratic assignment, solved from several starts by the
    FAQ algorithm (Vogelstein et al. 2015). From each solution linear assignments go on under the
    whole context: given a key, A[c, p] = sum over i of P(c | x_<i) log p(p | key^-1(x_<i)) says
    what each meaning of each symbol would bring. The key with the best sum is kept.

    Attributes:
        model: the transformer.
        language: over the same alphabet, knowing its symbols: n-grams, or a standard transformer.
        rng: settles the vectors of each text, and the starts.
        known: cipher ids whose plain ids are given.
        starts: of the quadratic assignment, the first from the middle of all keys.
        rounds: linear assignments from each start, at most.
        sharpness: an inverse temperature of the marginals, which are balanced from A.
    """

    model: Transformer
    language: LanguageModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    starts: int = 5
    rounds: int = 20
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        check_least(self, starts=1, rounds=1)
        if self.model.alphabet != self.language.alphabet:
            raise InputError(
                f"the transformer is over the alphabet {self.model.alphabet} and the language "
                f"model over {self.language.alphabet}: take models of one alphabet"
            )

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; one forward pass serves all lengths, each is matched on its own."""
        alphabet = self.model.alphabet
        known = check_known(self.known, alphabet)
        prefixes = check_prefixes(ciphertext, lengths, alphabet)
        if not prefixes:
            return []
        longest = max(prefixes, key=len)
        tokens = torch.tensor(longest[None], device=self.model.device)
        generator = torch_generator(self.model, self.rng)
        log_p = self.model.log_conditionals(tokens, generator)[0]
        expected = log_p.double().exp().cpu().numpy()
        found = []
        for prefix in prefixes:
            gains, value = self._match(prefix, expected[: len(prefix) + 1], known)
            (posterior,) = key_posteriors(self.sharpness * gains[None], [prefix], alphabet, known)
            found.append(replace(posterior, info={"agreement": value / (len(prefix) + 1)}))
        return found

    def _match(self, prefix: Ids, expected: Array, known: Mapping[int, int]) -> tuple[Array, float]:
        """A [V, V] of the best key, and what it brings, nats."""
        best: tuple[Array, float] | None = None
        for plain in self._starts(prefix, expected, known):
            tried = set()
            for _ in range(self.rounds):
                tried.add(plain.tobytes())
                gains = expected.T @ self.language.log_conditionals(plain[prefix])
                value = float(gains[np.arange(len(plain)), plain].sum())
                if best is None or value > best[1]:
                    best = gains, value
                plain = _assign(gains, known)
                if plain.tobytes() in tried:
                    break
        assert best is not None
        return best

    def _starts(self, prefix: Ids, expected: Array, known: Mapping[int, int]) -> list[Ids]:
        """Keys, read backwards [V] each, that fit the expected pairs of symbols."""
        size = self.language.alphabet.size
        pairs = np.zeros((size, size))
        np.add.at(pairs, prefix, expected[1:])
        alone = np.arange(size, dtype=np.uint8)[:, None]
        follows = self.language.log_conditionals(alone)[:, 1]
        fixed = np.array(list(known.items())).reshape(-1, 2)
        starts = []
        for i in range(self.starts):
            found = quadratic_assignment(
                pairs,
                follows,
                method="faq",
                options={
                    "maximize": True,
                    "partial_match": fixed,
                    "P0": "randomized" if i else "barycenter",
                    "rng": self.rng,
                },
            )
            starts.append(np.asarray(found.col_ind, np.uint8))
        return starts


def _assign(gains: Array, known: Mapping[int, int]) -> Ids:
    """The plain ids [V] of the cipher ids with the largest sum of gains [V, V]."""
    gains = gains.copy()
    # More than all the rest together, so that what is known is never given up.
    gains[list(known), list(known.values())] += 1 + 2 * np.abs(gains).sum()
    return np.asarray(linear_sum_assignment(gains, maximize=True)[1], np.uint8)
