"""The n-gram decipherer: the most probable key under an n-gram model, by climbs from a hot walk.

A climb that takes every swap that raises the score ends in one of very many local maxima, so what
matters is where climbs begin. They begin where a Metropolis walk, at a constant temperature, finds
the score of the 4-gram model highest: that model shows the way from afar, where under 5-grams
nearly all keys look equally bad, and its table fits the nearest caches. Only the climb reads the
full model. The walk starts anew at random keys, until several starts have led to the same best
maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher import kernels
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes

#: The order of the walk's model. This constant and those below, and the functions of the length
#: after them, are compared with other choices by `benchmarks/schedule.py`.
WALK_ORDER = 4
#: A start ends with a polish of the best maximum it found for every so many climbs.
CLIMBS_PER_POLISH = 7
POLISH_SWAPS = 4000
#: The walk reads this many symbols at most; by then a key is found at once, and the climb reads on.
WALK_LENGTH = 600
#: No more than this many symbols are read to infer the key. It is certain long before.
READ_LENGTH = 20_000
#: A best key under which the text is this many standard deviations less probable than text of the
#: model's kind needs so many times as many starts to agree on it: it is likely a trap.
UNUSUAL = 5.0
DOUBT = 4


def walk_temperature(length: int) -> float:
    """Temperature of the walk, nats, for a text of `length` symbols: just above where the walk
    would settle on one key. The longer a text, the more a swap changes its score."""
    return float(1.7 * (length / 32) ** 0.7)


def walk_swaps(length: int) -> int:
    """Swaps that the walk tries before each climb: in a long text a climb costs more."""
    return int(3000 * np.clip(length / 32, 1, 8) ** 0.5)


def polish_temperature(length: int) -> float:
    """Temperature, nats, of the walks under the full model that begin at a maximum, to find others
    that are better by more than one swap."""
    return float(1.3 * (length / 32) ** 0.3)


def climbs_per_start(length: int) -> int:
    """How many climbs a start is given: short texts have a rougher way to go."""
    return int(np.clip(40 * (32 / length) ** 1.8, 2, 40))


def hits_wanted(length: int) -> int:
    """How many starts must agree: in short texts several may end in the same wrong key, and very
    short ones hardly tell keys apart at all."""
    return int(np.clip(12 * min(32 / length, length / 32), 2, 12))


def chain_steps(length: int) -> int:
    """Swaps tried by each chain around the maxima: in long texts little is left to explore."""
    return int(np.clip(300 * 64 / length, 30, 300))


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
        hits: the search ends when this many starts have led to the best key (None: as many as the
            length asks for) ...
        starts: ... or after this many in all.
        population: Metropolis chains at temperature 1 that start from the maxima found, each
            drawn with its posterior probability among them; the marginals are their averages.
        steps: swaps that each chain tries (None: by length). The chains explore around the maxima
            that the search reached; they are no sample of the whole posterior where it is broad.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    hits: int | None = None
    starts: int = 400
    population: int = 32
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("hits", "starts", "population", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; each prefix is searched on its own."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def _posterior(self, prefix: NDArray[np.uint8]) -> KeyPosterior:
        n = len(prefix)
        search = Search(self.model, prefix, check_known(self.known, self.model.alphabet))
        maxima, scores = search.maxima(self.hits or hits_wanted(n), self.starts, self.rng)
        best = search.best(maxima, scores)
        steps = self.steps or chain_steps(n)
        samples, marginals = search.around(maxima, scores, self.population, steps, self.rng)
        key = Key(self.model.alphabet, np.argsort(best).astype(np.uint8))
        return KeyPosterior(
            self.model.alphabet,
            marginals,
            key,
            np.flatnonzero(np.bincount(prefix, minlength=self.model.alphabet.size)),
            samples,
            np.full(len(samples), 1 / len(samples)),
            float(self.model.log_prob(key.decrypt(prefix)).sum()),
            info={"starts": search.starts, "hits": search.hits, "reads": search.reads},
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
        self.starts = self.hits = self.reads = 0

    @cached_property
    def windows(self) -> Windows:
        """The windows of the full model."""
        return Windows.of(self.text, self.model.order, self.model, self.free)

    @cached_property
    def opening(self) -> tuple[Windows, NDArray[np.intp]]:
        """What the walk reads: the 4-grams of the text's beginning, and the symbols there."""
        text = self.text[:WALK_LENGTH]
        order = min(WALK_ORDER, self.model.order)
        return Windows.of(text, order, self.model, self.free), np.intersect1d(text, self.seen)

    def maxima(
        self, hits: int, starts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Local maxima [K, V], distinct in the symbols seen, and their scores [K] in table steps.

        Ends when `hits` starts have led to the best of them (more where it is an implausible
        reading), at most after `starts` starts.
        """
        found: dict[bytes, tuple[NDArray[np.uint8], int]] = {}
        best = None
        state = _state(rng)
        while self.starts < starts and (
            best is None or self.hits < hits * (1 if self._plausible(best) else DOUBT)
        ):
            self.starts += 1
            highest = None
            for plain, score in self._climbs(rng, state):
                found.setdefault(plain[self.seen].tobytes(), (plain, score))
                highest = score if highest is None else max(highest, score)
                if highest == best:
                    break
            if best is None or (highest is not None and highest > best):
                best, self.hits = highest, 0
            self.hits += highest == best
        plain, score = max(found.values(), key=itemgetter(1))
        while (polished := self._polish(plain, state))[1] > score:
            plain, score = polished
            found[plain[self.seen].tobytes()] = polished
        keys, scores = zip(*found.values(), strict=True)
        return np.array(keys), np.array(scores, np.int64)

    def _plausible(self, score: int) -> bool:
        """Whether a text of the model's kind is often as improbable as this score says."""
        mean, variance = self.model.typical
        n = len(self.text)
        return bool(score * self.step >= n * mean - UNUSUAL * np.sqrt(n * variance))

    def _climbs(
        self, rng: np.random.Generator, state: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """One start: the local maxima, with their scores, that climbs from its walk end in."""
        here = np.empty(self.model.alphabet.size, np.uint8)
        here[list(self.known)] = list(self.known.values())
        here[self.free] = rng.permutation(self.letters)
        windows, seen = self.opening
        beta = self.step / walk_temperature(len(self.text[:WALK_LENGTH]))
        swaps = walk_swaps(len(self.text))
        climbs = climbs_per_start(len(self.text))
        top: tuple[NDArray[np.uint8], int] | None = None
        for _ in range(climbs):
            found = self._climb_from_walk(windows, here, seen, beta, swaps, state)
            if top is None or found[1] > top[1]:
                top = found
            yield found
        for _ in range(climbs // CLIMBS_PER_POLISH):
            assert top is not None
            found = self._polish(top[0], state)
            if found[1] > top[1]:
                top = found
            yield found

    def _polish(
        self, maximum: NDArray[np.uint8], state: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], int]:
        """A climb from a short walk around a maximum, under the full model."""
        beta = self.step / polish_temperature(len(self.text))
        return self._climb_from_walk(
            self.windows, maximum.copy(), self.seen, beta, POLISH_SWAPS, state
        )

    def _climb_from_walk(
        self,
        windows: Windows,
        here: NDArray[np.uint8],
        seen: NDArray[np.intp],
        beta: float,
        swaps: int,
        state: NDArray[np.uint64],
    ) -> tuple[NDArray[np.uint8], int]:
        """Walk on from `here`, in place, and climb from the best key on the way."""
        plain = here.copy()
        if len(seen):
            self.reads += kernels.walk(
                self.table, *windows, here, seen, self.free, beta, swaps, state, plain
            )
        score, reads = kernels.climb(self.table, *self.windows, plain, self.seen, self.free)
        self.reads += reads
        return plain, score

    def best(self, maxima: NDArray[np.uint8], scores: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The maximum of highest log probability, exact where rounding leaves several in play."""
        in_play = maxima[scores >= scores.max() - len(self.text)]
        exact = self.model.log_prob(in_play[:, self.text]).sum(axis=1)
        highest: NDArray[np.uint8] = in_play[np.argmax(exact)]
        return highest

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
                self.table,
                *self.windows,
                keys,
                self.seen,
                self.free,
                self.step,
                steps,
                _state(rng),
                occupancy,
            )
            marginals = occupancy / (population * steps)
        # Nothing tells unseen symbols apart: each stands for what they stand for on average.
        unseen = np.setdiff1d(self.free, self.seen)
        marginals[unseen] = marginals[unseen].mean(axis=0) if len(unseen) else 0.0
        return keys, marginals


def _state(rng: np.random.Generator) -> NDArray[np.uint64]:
    return rng.integers(1, 2**63, 1, np.uint64)
