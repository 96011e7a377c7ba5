"""The exact posterior over keys by enumeration, under any language model p.

The Bayes mixture over the V! keys is

    p'(x) = (1/V!) sum over keys of p(decrypt(x, key)),

and no key but through the decryption it gives. So keys that differ only in symbols that the text
does not hold count as one, each class of them is equally large, and the sum runs over the injective
maps from the S cipher symbols of the text whose meaning is open to the F letters that are not
given: F! / (F - S)! of them, each with the same prior probability.

An unseen symbol stands for each letter that a key leaves over with the same probability. Each map
is therefore completed in one arbitrary way, all cipher symbols are treated alike, and in the end
what was summed for the unseen ones is shared out equally among them: the sum over them does not
depend on the completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, permutations
from math import perm

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import Alphabet
from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.language import LanguageModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes

#: 9!, all keys of 9 symbols: no more decryptions than this are enumerated.
MAX_KEYS = 362_880
#: Keys are scored together as long as their conditionals hold no more entries than this, so that
#: these stay near the cache.
BATCH_ENTRIES = 1 << 17
#: Keys with a smaller share of the posterior are left out of `KeyPosterior.samples`.
NEGLIGIBLE = 1e-12
#: log of the smallest normal double.
SMALLEST = float(np.log(np.finfo(np.float64).tiny))


@dataclass(frozen=True, eq=False)
class Enumeration:
    """All decryptions of a ciphertext [n], and what each of its prefixes tells of the key.

    Attributes:
        alphabet: the symbols, V of them.
        keys: [K, V] keys, read backwards (`keys[k, c]` is the plain id of cipher symbol c), one for
            each distinct decryption. Those that decrypt a prefix alike stand next to each other.
        log_evidence: [n + 1]; log p'(ciphertext[:i]), averaged over all keys that agree with the
            known letters, nats; 0 at i = 0.
        predictive: [n + 1, V]; `predictive[i, c]` is the probability p'(c | ciphertext[:i]) that
            cipher symbol c comes next. Rows sum to 1 as exactly as the model's.
        marginals: [n + 1, V, V]; `marginals[i]` is `KeyPosterior.marginals` after i symbols.
        lengths: the prefix lengths that `log_posterior` is for.
        log_posterior: [len(lengths), K] log of each key's share of the posterior, nats.
    """

    alphabet: Alphabet
    keys: NDArray[np.uint8]
    log_evidence: NDArray[np.float64]
    predictive: NDArray[np.float64]
    marginals: NDArray[np.float64]
    lengths: tuple[int, ...]
    log_posterior: NDArray[np.float64]


def enumerate_keys(
    model: LanguageModel,
    ciphertext: ArrayLike,
    known: Mapping[int, int] | None = None,
    lengths: Sequence[int] | None = None,
    batch: int | None = None,
) -> Enumeration:
    """The exact posterior over all keys, after every prefix, in one pass over the keys.

    Args:
        model: the language model of the plaintext.
        ciphertext: [n] cipher ids.
        known: cipher ids whose plain ids are given.
        lengths: the prefix lengths, each from 1 to n, to keep every key's posterior for (None:
            only the whole text); each takes 8 bytes a key.
        batch: how many keys are scored at a time (None: as many as fit a cache well); the memory
            needed grows with it, the result does not change.

    Raises:
        InputError: the symbols can be read in more than 9! ways, the model gives the text
            probability 0 under every key, or an id, a length or `batch` is out of range.
    """
    alphabet = model.alphabet
    text = check_prefixes(ciphertext, [np.size(ciphertext)], alphabet)[0]
    at = [len(text)] if lengths is None else list(lengths)
    check_prefixes(text, at, alphabet)
    if batch is not None and batch < 1:
        raise InputError(f"batch must be at least 1, not {batch}")
    letters = check_known(known, alphabet)
    keys = _distinct_keys(text, letters, alphabet)
    # At least V keys, as the sums of a batch hold V times as much as the conditionals of a key.
    step = batch or max(alphabet.size, BATCH_ENTRIES // ((len(text) + 1) * alphabet.size))
    sums = _Sums(len(text), alphabet.size)
    log_prob = np.empty((len(at), len(keys)))
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        plain = some[:, text]
        conditionals = model.log_conditionals(plain)
        of_prefixes = _log_prob_of_prefixes(plain, conditionals)
        sums.add(some, of_prefixes, conditionals)
        log_prob[:, start : start + step] = of_prefixes[:, at].T
    if sums.total[-1] == 0:
        raise InputError(
            "the model gives this ciphertext probability 0 under every key: use a smoothed model"
        )
    unseen = _unseen(text, letters, alphabet.size)
    log_sum = sums.peak + np.log(sums.total)
    return Enumeration(
        alphabet,
        keys,
        log_sum - np.log(len(keys)),
        _shared_out(sums.predictive / sums.total[:, None], unseen),
        _shared_out(sums.marginals / sums.total[:, None, None], unseen),
        tuple(at),
        log_prob - log_sum[at, None],
    )


@dataclass(frozen=True, eq=False)
class EnumerationDecipherer:
    """The exact posterior, where the text can be read in at most 9! ways.

    `samples` of its posteriors are no draws but all keys, one for each distinct decryption of the
    prefix, with their probabilities as weights; only those below 1e-12 are left out.

    Attributes:
        model: the language model of the plaintext.
        known: cipher ids whose plain ids are given.
    """

    model: LanguageModel
    known: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer` and `enumerate_keys`; of equally probable keys the MAP key is the one
        whose symbols, in the order of the text, stand for the smaller plain ids."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        if not prefixes:
            return []
        found = enumerate_keys(self.model, max(prefixes, key=len), self.known, lengths)
        return [self._posterior(found, i, prefix) for i, prefix in enumerate(prefixes)]

    def _posterior(self, found: Enumeration, i: int, prefix: NDArray[np.uint8]) -> KeyPosterior:
        """The posterior given `prefix`, the i-th of `found.lengths`."""
        n = len(prefix)
        known = check_known(self.known, found.alphabet)
        count = perm(found.alphabet.size - len(known), len(_open_symbols(prefix, known)))
        alike = len(found.keys) // count  # neighbours that decrypt the prefix alike
        keys, log_posterior = found.keys[::alike], found.log_posterior[i, ::alike]
        weights = np.exp(log_posterior) * alike
        kept = weights >= NEGLIGIBLE
        best = int(np.argmax(log_posterior))
        log_prior = -np.log(len(found.keys))
        return KeyPosterior(
            found.alphabet,
            found.marginals[n],
            Key(found.alphabet, keys[best]).inverse,
            np.flatnonzero(np.bincount(prefix, minlength=found.alphabet.size)),
            keys[kept],
            weights[kept] / weights[kept].sum(),
            float(log_posterior[best] + found.log_evidence[n] - log_prior),
            float(found.log_evidence[n]),
            {"keys": count},
        )


class _Sums:
    """Sums over keys of terms with the factor p(decrypted prefix), at each prefix 0 ... n.

    Each prefix's sums are in units of exp(peak), where peak is the largest log probability met so
    far: the terms span hundreds of orders of magnitude.
    """

    def __init__(self, n: int, size: int) -> None:
        # Not -inf, so that a difference of two peaks is a number.
        self.peak = np.full(n + 1, np.finfo(np.float64).min)
        self.total = np.zeros(n + 1)
        self.marginals = np.zeros((n + 1, size, size))
        self.predictive = np.zeros((n + 1, size))

    def add(
        self,
        keys: NDArray[np.uint8],
        log_prob: NDArray[np.float64],
        conditionals: NDArray[np.float64],
    ) -> None:
        """Add `keys` [B, V], their log_prob [B, n + 1] of the prefixes, and the conditionals
        [B, n + 1, V] of the plain symbol after each."""
        peak = np.maximum(self.peak, log_prob.max(axis=0))
        scale = np.exp(self.peak - peak)
        relative = log_prob - peak
        weight = _exp(relative)
        with_next = _exp(conditionals + relative[..., None])
        # [B, V, V], 1 where key b reads cipher symbol c as plain symbol p: gathering and adding up
        # by it is a matrix product, many times faster than indexing.
        reads = np.eye(keys.shape[1])[keys]
        self.peak = peak
        self.total = scale * self.total + weight.sum(axis=0)
        self.marginals *= scale[:, None, None]
        self.marginals += np.tensordot(weight, reads, (0, 0))
        self.predictive *= scale[:, None]
        self.predictive += np.tensordot(with_next, reads, ((0, 2), (0, 2)))


def _exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(x), and 0 where it would be a denormal number: those are slow, and most keys are so
    improbable after some dozen symbols."""
    return np.asarray(np.exp(x, out=np.zeros_like(x), where=x > SMALLEST))


def _open_symbols(text: NDArray[np.uint8], known: Mapping[int, int]) -> list[int]:
    """The cipher symbols of `text` that `known` does not explain, in the order of the text."""
    return [c for c in dict.fromkeys(text.tolist()) if c not in known]


def _distinct_keys(
    text: NDArray[np.uint8], known: Mapping[int, int], alphabet: Alphabet
) -> NDArray[np.uint8]:
    """[K, V] one key, read backwards, for each way to decrypt `text`, in lexicographic order of
    the plain ids of its symbols as they come."""
    symbols = _open_symbols(text, known)
    letters = [p for p in range(alphabet.size) if p not in known.values()]
    count = perm(len(letters), len(symbols))
    if count > MAX_KEYS:
        raise InputError(
            f"{len(symbols)} cipher symbols can stand for {len(letters)} letters in {count:,} "
            f"ways, and enumeration goes through at most {MAX_KEYS:,}: give fewer symbols or more "
            "known letters, or use the method 'smc'"
        )
    keys = np.empty((count, alphabet.size), np.uint8)
    keys[:, list(known)] = list(known.values())
    every = chain.from_iterable(permutations(letters, len(symbols)))
    keys[:, symbols] = np.fromiter(every, np.uint8, count * len(symbols)).reshape(count, -1)
    left = np.ones((count, alphabet.size), np.bool_)
    explained = [*known, *symbols]
    left[np.arange(count)[:, None], keys[:, explained]] = False
    unseen = [c for c in range(alphabet.size) if c not in explained]
    keys[:, unseen] = np.nonzero(left)[1].reshape(count, -1)
    return keys


def _log_prob_of_prefixes(
    plain: NDArray[np.uint8], conditionals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[B, n + 1] log p(plain[:, :i]) from the conditionals [B, n + 1, V]."""
    batch, n = plain.shape
    out = np.zeros((batch, n + 1))
    places = plain[..., None].astype(np.intp)
    steps = np.take_along_axis(conditionals[:, :-1], places, axis=-1)[..., 0]
    np.cumsum(steps, axis=1, out=out[:, 1:])
    return out


def _unseen(text: NDArray[np.uint8], known: Mapping[int, int], size: int) -> NDArray[np.bool_]:
    """[n + 1, V] whether a cipher symbol's meaning is open and text[:i] does not hold it."""
    unseen = np.ones((len(text) + 1, size), np.bool_)
    unseen[:, list(known)] = False
    for c in np.unique(text):
        unseen[int(np.argmax(text == c)) + 1 :, c] = False
    return unseen


def _shared_out(values: NDArray[np.float64], unseen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`values` [n + 1, V, ...] with each entry of an unseen symbol replaced by their mean."""
    mask = unseen.reshape(*unseen.shape, *[1] * (values.ndim - 2))
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    mean = np.where(mask, values, 0).sum(axis=1, keepdims=True) / count
    return np.where(mask, mean, values)
