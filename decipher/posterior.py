"""What is known of a key after reading a ciphertext, and the protocol of all that find it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import entr

from ciphers.alphabet import Alphabet, check_ids
from ciphers.errors import InputError
from ciphers.homophonic import HomophonicKey
from ciphers.keys import Key

AnyKey = TypeVar("AnyKey", Key, HomophonicKey)
CipherId = TypeVar("CipherId", bound=np.integer[Any])
Rule = Literal["map", "marginal"]


@dataclass(frozen=True, eq=False)
class Decoding:
    """A deciphered text: `ids` [n], and for each the probability that it is right, [n]."""

    ids: NDArray[np.uint8]
    confidence: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Posterior(ABC, Generic[AnyKey]):
    """What is known of a key that takes C cipher symbols to V plain ones.

    Attributes:
        alphabet: the plain symbols, V of them.
        marginals: [C, V]; `marginals[c, p]` is the probability that cipher symbol c stands for
            plain symbol p. Rows sum to 1; the rows of cipher symbols that did not occur are alike,
            for nothing tells them apart.
        map_key: the most probable key that was found.
        seen: [S] cipher ids that occurred, ascending.
        samples: [K, C] keys drawn from the posterior, read backwards: `samples[k, c]` is the plain
            id of cipher symbol c. None where the method has only marginals.
        weights: [K] their weights, which sum to 1.
        map_log_prob: log probability of the text decrypted by `map_key` under the language model,
            nats; None where the method has no language model.
        log_evidence: log of the ciphertext's probability, averaged over the prior of the keys,
            nats; None where the method does not give it.
        info: how the method fared (restarts, acceptance, ...), for tables and logs.
    """

    alphabet: Alphabet
    marginals: NDArray[np.float64]
    map_key: AnyKey
    seen: NDArray[np.intp]
    samples: NDArray[np.uint8] | None = None
    weights: NDArray[np.float64] | None = None
    map_log_prob: float | None = None
    log_evidence: float | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def _marginal_key(self, counts: NDArray[np.intp]) -> AnyKey:
        """The key with the most symbols expected right in a text with `counts` [C]."""

    @abstractmethod
    def _key(self, sample: NDArray[np.uint8]) -> AnyKey:
        """The key that reads as `sample` [C] backwards."""

    def best_key(self, ciphertext: ArrayLike | None = None, rule: Rule = "map") -> AnyKey:
        """The key to read a ciphertext with.

        Args:
            ciphertext: [n] ids; its symbol counts weigh the symbols under the "marginal" rule
                (without it, each symbol that was seen counts once).
            rule: "map", the single most probable key; or "marginal", the key with the most symbols
                expected right.
        """
        if rule == "map":
            return self.map_key
        if rule != "marginal":
            raise InputError(f"a decoding rule is 'map' or 'marginal', not {rule!r}")
        symbols = len(self.marginals)
        ids = self.seen if ciphertext is None else check_ids(ciphertext, symbols)
        return self._marginal_key(np.bincount(ids, minlength=symbols))

    def decode(self, ciphertext: ArrayLike, rule: Rule = "map") -> Decoding:
        """Decrypt `ciphertext` [n] with `best_key`, with the probability that each id is right."""
        cipher = check_ids(ciphertext, len(self.marginals))
        plain = self.best_key(cipher, rule).decrypt(cipher)
        return Decoding(plain, self.marginals[cipher, plain])

    def expected_accuracy(self, ciphertext: ArrayLike, rule: Rule = "map") -> float:
        """The share of the symbols of `ciphertext` that `decode` is expected to get right."""
        return float(self.decode(ciphertext, rule).confidence.mean())

    def alternatives(self, symbol: int, mass: float = 0.99) -> list[tuple[int, float]]:
        """The fewest plain ids that hold `mass` of what cipher id `symbol` may stand for, with
        their probabilities, the likeliest first."""
        row = self.marginals[symbol]
        order = np.argsort(-row, kind="stable")
        enough = int(np.searchsorted(np.cumsum(row[order]), mass - 1e-12)) + 1
        return [(int(p), float(row[p])) for p in order[:enough]]

    @property
    def entropy(self) -> NDArray[np.float64]:
        """[C] entropy of each row of `marginals`, nats: 0 where a symbol's meaning is certain."""
        return np.asarray(entr(self.marginals).sum(axis=1))

    def credible_keys(self, mass: float = 0.95) -> list[tuple[AnyKey, float]]:
        """The fewest keys that together hold posterior `mass`, with their probabilities, the
        likeliest first. Keys that differ only in symbols that were not seen count as one.

        Raises:
            InputError: the method that made this posterior drew no keys.
        """
        if self.samples is None or self.weights is None:
            raise InputError("this posterior holds no key samples: use a method that draws them")
        distinct, first, which = np.unique(
            self.samples[:, self.seen], axis=0, return_index=True, return_inverse=True
        )
        weight = np.bincount(which.ravel(), self.weights, minlength=len(distinct))
        order = np.argsort(-weight, kind="stable")
        enough = int(np.searchsorted(np.cumsum(weight[order]), mass - 1e-12)) + 1
        return [(self._key(self.samples[first[i]]), float(weight[i])) for i in order[:enough]]


@dataclass(frozen=True, eq=False)
class KeyPosterior(Posterior[Key]):
    """What is known of a one-to-one key: a distribution over the permutations of an alphabet.

    `marginals` is [V, V], and its columns sum to 1 too. The "marginal" rule finds its one-to-one
    key by linear assignment.
    """

    def _marginal_key(self, counts: NDArray[np.intp]) -> Key:
        size = self.alphabet.size
        # Among equals stay with the MAP key, so that ties never depend on the solver.
        gain = counts[:, None] * self.marginals
        gain[self.map_key.mapping, np.arange(size)] += 1e-9
        cipher, plain = linear_sum_assignment(gain, maximize=True)
        mapping = np.empty(size, np.uint8)
        mapping[plain] = cipher
        return Key(self.alphabet, mapping)

    def _key(self, sample: NDArray[np.uint8]) -> Key:
        return Key(self.alphabet, sample).inverse


@dataclass(frozen=True, eq=False)
class HomophonicPosterior(Posterior[HomophonicKey]):
    """What is known of a key under which several cipher symbols may stand for one letter.

    Under the "marginal" rule each symbol stands for its most probable letter, however often it
    occurs: no other symbol's letter stands in the way.
    """

    def _marginal_key(self, counts: NDArray[np.intp]) -> HomophonicKey:
        return self._key(self.marginals.argmax(axis=1).astype(np.uint8))

    def _key(self, sample: NDArray[np.uint8]) -> HomophonicKey:
        return HomophonicKey(self.alphabet, sample)


class Decipherer(Protocol):
    """Anything that reads a ciphertext and says what is known of its key."""

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """One posterior for each prefix `ciphertext[:length]`.

        Args:
            ciphertext: [n] cipher ids.
            lengths: prefix lengths, each from 1 to n.

        Raises:
            InputError: a length or an id is out of range.
        """
        ...


def check_prefixes(
    ciphertext: ArrayLike, lengths: Sequence[int], alphabet: Alphabet
) -> list[NDArray[np.uint8]]:
    """The prefixes of `ciphertext` [n] of the given lengths.

    Raises:
        InputError: the text is empty, an id is not the alphabet's, a length is not 1 to n.
    """
    ids = check_ids(ciphertext, alphabet.size).astype(np.uint8, copy=False)
    return cut_prefixes(ids, lengths)


def cut_prefixes(ids: NDArray[CipherId], lengths: Sequence[int]) -> list[NDArray[CipherId]]:
    """The prefixes of `ids` [n], which are in range, of the given lengths.

    Raises:
        InputError: the text is empty, or a length is not 1 to n.
    """
    if ids.ndim != 1:
        raise InputError(f"a ciphertext is one row of ids, not an array of shape {ids.shape}")
    if len(ids) == 0:
        raise InputError("the ciphertext is empty: give at least one symbol")
    wrong = [length for length in lengths if not 1 <= length <= len(ids)]
    if wrong:
        raise InputError(
            f"there is no prefix of {wrong[0]} symbols: the ciphertext has {len(ids)}, so "
            f"choose lengths of 1 to {len(ids)}"
        )
    return [ids[:length] for length in lengths]


def level_unseen(marginals: NDArray[np.float64], unseen: NDArray[np.intp]) -> None:
    """Give each cipher symbol in `unseen` what they all stand for on average, in place: nothing
    tells symbols apart that do not occur. `marginals` is [C, V]."""
    if len(unseen):
        marginals[unseen] = marginals[unseen].mean(axis=0)


def check_least(settings: object, **least: int) -> None:
    """Raise InputError where an attribute of `settings` is below its `least`; None passes."""
    for name, low in least.items():
        value = getattr(settings, name)
        if value is not None and value < low:
            raise InputError(f"{name} must be at least {low}, not {value}")


def check_known(known: Mapping[int, int] | None, alphabet: Alphabet) -> dict[int, int]:
    """Known letters {cipher id: plain id}, checked to be one to one.

    Raises:
        InputError: an id is out of range, or two cipher symbols stand for one plain symbol.
    """
    letters = {int(c): int(p) for c, p in (known or {}).items()}
    check_ids(list(letters) + list(letters.values()), alphabet.size)
    meaning: dict[int, int] = {}
    for cipher, plain in letters.items():
        if plain in meaning:
            first, second = alphabet.symbols[meaning[plain]], alphabet.symbols[cipher]
            raise InputError(
                f"the known letters contradict each other: both {first!r} and {second!r} would "
                f"stand for {alphabet.symbols[plain]!r}; drop one"
            )
        meaning[plain] = cipher
    return letters
