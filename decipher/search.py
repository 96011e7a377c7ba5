"""The n-gram decipherer: the most probable key under an n-gram model, by repeated annealing.

Each restart begins at a random key and goes from coarse to fine: it anneals under the trigram
model, then under the 4-gram model, and climbs to a local maximum under the full model. The short
models show the way from afar, where under 5-grams nearly all keys look equally bad, and their
tables fit the nearest caches; only the last climb reads the large one. Restarts go on until the
best maximum has been reached several times over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher import kernels
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes

#: (order, first temperature, last temperature, swaps) of each annealing stage; temperatures in
#: nats, so that 1 is the posterior. Chosen by `benchmarks/schedule.py`.
STAGES = ((3, 5.0, 2.0, 4000), (4, 3.0, 1.0, 5000))
TEMPERATURES = 40
#: Annealing reads this many symbols at most; by then a key is found at once, and the climb that
#: follows reads on.
ANNEAL_LENGTH = 600
#: No more than this many symbols are read to infer the key. It is certain long before.
READ_LENGTH = 20_000


class Windows(NamedTuple):
    """The n-grams of a ciphertext, each distinct one once, ready for the kernels: `base` [W] and
    `coefficient` [V, W] give their codes, `times` [W] how often they occur."""

    base: NDArray[np.int32]
    times: NDArray[np.int32]
    coefficient: NDArray[np.int32]
    bounds: NDArray[np.uint32]
    entries: NDArray[np.int32]

    @classmethod
    def of(
        cls, ids: NDArray[np.uint8], order: int, model: NGramModel, free: NDArray[np.intp]
    ) -> Windows:
        """The windows of `ids` [n] that the model of `order` scores, swappable among `free`."""
        padded = np.concatenate([np.full(order - 1, -1, np.int16), ids.astype(np.int16)])
        rows = sliding_window_view(padded, order)
        names = (rows + 1) @ (model.alphabet.size + 1) ** np.arange(order, dtype=np.int64)
        _, first, times = np.unique(names, return_index=True, return_counts=True)
        places = rows[first]
        coefficient = kernels.window_coefficients(places, model.alphabet.size)
        return cls(
            model.offsets[(places >= 0).sum(axis=1) - 1].astype(np.int32),
            times.astype(np.int32),
            coefficient,
            *kernels.pair_entries(coefficient, free),
        )


@dataclass(frozen=True, eq=False)
class NGramDecipherer:
    """Finds the most probable key under an n-gram model, and the doubt that is left around it.

    Attributes:
        model: the language model of the plaintext; its dense table must fit (see
            `NGramModel.table`).
        rng: where every random number comes from.
        known: cipher ids whose plain ids are given; the search keeps them.
        hits: restarts stop when the best key has been reached this many times ...
        restarts: ... or after this many in all.
        population: Metropolis chains at temperature 1 that start from the maxima found, each
            drawn with its posterior probability among them; the marginals are their averages.
        steps: swaps that each chain tries. The chains explore around the maxima that the restarts
            reached; they are no sample of the whole posterior where it is broad.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    hits: int = 3
    restarts: int = 400
    population: int = 32
    steps: int = 300

    def __post_init__(self) -> None:
        for name in ("hits", "restarts", "population", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; each prefix is searched on its own."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def _posterior(self, prefix: NDArray[np.uint8]) -> KeyPosterior:
        search = Search(self.model, prefix, check_known(self.known, self.model.alphabet))
        maxima, scores = search.maxima(self.hits, self.restarts, self.rng)
        best = search.best(maxima, scores)
        samples, marginals = search.around(maxima, scores, self.population, self.steps, self.rng)
        key = Key(self.model.alphabet, np.argsort(best).astype(np.uint8))
        return KeyPosterior(
            self.model.alphabet,
            marginals,
            key,
            np.flatnonzero(np.bincount(prefix, minlength=self.model.alphabet.size)),
            samples,
            np.full(len(samples), 1 / len(samples)),
            float(self.model.log_prob(key.decrypt(prefix)).sum()),
            info={"restarts": search.restarts, "hits": search.hits, "reads": search.reads},
        )


class Search:
    """One ciphertext [n] under search. Keys are arrays [V] of the plain id of each cipher id."""

    def __init__(
        self, model: NGramModel, ciphertext: NDArray[np.uint8], known: Mapping[int, int]
    ) -> None:
        size = model.alphabet.size
        self.model = model
        self.text = ciphertext[:READ_LENGTH]
        self.table, self.step = model.quantised
        self.known = known
        self.free = np.array([c for c in range(size) if c not in known], np.intp)
        self.letters = np.array([p for p in range(size) if p not in known.values()], np.uint8)
        self.seen = np.intersect1d(np.unique(self.text), self.free).astype(np.intp)
        self.restarts = self.hits = self.reads = 0

    @cached_property
    def windows(self) -> Windows:
        """The windows of the full model."""
        return Windows.of(self.text, self.model.order, self.model, self.free)

    @cached_property
    def stages(self) -> list[tuple[Windows, NDArray[np.intp], NDArray[np.float64], int]]:
        """For each annealing stage: windows, symbols that occur, temperatures, swaps at each."""
        start = self.text[:ANNEAL_LENGTH]
        seen = np.intersect1d(np.unique(start), self.seen).astype(np.intp)
        if not len(seen):
            return []
        return [
            (
                Windows.of(start, order, self.model, self.free),
                seen,
                np.geomspace(first, last, TEMPERATURES) / self.step,
                swaps // TEMPERATURES,
            )
            for order, first, last, swaps in STAGES
            if order < self.model.order
        ]

    def maxima(
        self, hits: int, restarts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Local maxima [K, V], distinct in the symbols seen, and their scores [K] in table steps.

        Restarts until the best was reached `hits` times, at most `restarts` times.
        """
        found: dict[bytes, tuple[NDArray[np.uint8], int]] = {}
        best, self.hits, self.restarts = None, 0, 0
        state = _state(rng)
        while self.restarts < restarts and self.hits < hits:
            plain, score = self._restart(rng, state)
            found.setdefault(plain[self.seen].tobytes(), (plain, score))
            if best is None or score > best:
                best, self.hits = score, 0
            self.hits += score == best
            self.restarts += 1
        keys, scores = zip(*found.values(), strict=True)
        return np.array(keys), np.array(scores, np.int64)

    def _restart(
        self, rng: np.random.Generator, state: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], int]:
        plain = np.empty(self.model.alphabet.size, np.uint8)
        plain[list(self.known)] = list(self.known.values())
        plain[self.free] = rng.permutation(self.letters)
        for windows, seen, temperatures, swaps in self.stages:
            self.reads += kernels.anneal(
                self.table, *windows, plain, seen, self.free, temperatures, swaps, state
            )
        score, reads = kernels.climb(self.table, *self.windows, plain, self.seen, self.free)
        self.reads += reads
        return plain, score

    def best(
        self, maxima: NDArray[np.uint8], scores: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """The maximum of highest log probability, exact where rounding leaves several in play."""
        in_play = maxima[scores >= scores.max() - len(self.text)]
        return in_play[np.argmax(self.model.log_prob(in_play[:, self.text]).sum(axis=1))]

    def around(
        self,
        maxima: NDArray[np.uint8],
        scores: NDArray[np.int64],
        population: int,
        steps: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Keys [population, V] after `steps` Metropolis swaps at temperature 1 from maxima drawn
        by their probability, and the chains' average of the marginals [V, V]."""
        weights = np.exp((scores - scores.max()) * self.step)
        keys = maxima[rng.choice(len(maxima), population, p=weights / weights.sum())]
        size = self.model.alphabet.size
        if not len(self.seen):
            marginals = np.zeros((size, size))
            marginals[np.arange(size), maxima[0]] = 1.0
        else:
            occupancy = np.zeros((size, size), np.int64)
            kernels.sample(
                self.table, *self.windows, keys, self.seen, self.free, 1 / self.step, steps,
                _state(rng), occupancy,
            )
            marginals = occupancy / (population * steps)
        # Nothing tells unseen symbols apart: each stands for what they stand for on average.
        unseen = np.setdiff1d(self.free, self.seen)
        marginals[unseen] = marginals[unseen].mean(axis=0) if len(unseen) else 0.0
        return keys, marginals


def _state(rng: np.random.Generator) -> NDArray[np.uint64]:
    return rng.integers(1, 2**63, 1, np.uint64)
