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
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.keys import Key
from decipher import kernels
from decipher.ngram import NGramModel
from decipher.posterior import (
    KeyPosterior,
    check_known,
    check_least,
    check_prefixes,
    level_unseen,
)
from decipher.sampling.spaces import END, KeySpace
from decipher.windows import Windows

#: The order of the walk's model. This constant and those below, and the functions of the length
#: after them, are compared with other choices by `benchmarks/schedule.py`.
WALK_ORDER = 4
#: A start ends with a polish of the best maximum it found for every so many climbs.
CLIMBS_PER_POLISH = 7
POLISH_SWAPS = 4000
#: How many keys of a sample climb to find the most probable one.
CLIMBS = 16
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
        check_least(self, hits=1, starts=1, population=1, steps=1)
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; each prefix is searched on its own."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def _posterior(self, prefix: NDArray[np.uint8]) -> KeyPosterior:
        n = len(prefix)
        known = check_known(self.known, self.model.alphabet)
        search = Search(KeySpace(self.model, prefix[:READ_LENGTH], known))
        maxima, scores = search.maxima(self.hits or hits_wanted(n), self.starts, self.rng)
        best = search.best(maxima, scores)
        steps = self.steps or chain_steps(n)
        samples, marginals = search.around(maxima, scores, self.population, steps, self.rng)
        key = Key(self.model.alphabet, best).inverse
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
    """The keys of one ciphertext under search. Keys are rows [V] of the plain id of each cipher
    id."""

    def __init__(self, space: KeySpace) -> None:
        self.space = space
        self.table, self.step = space.model.quantised
        self.starts = self.hits = self.reads = 0

    @cached_property
    def opening(self) -> tuple[Windows, NDArray[np.intp]]:
        """What the walk reads: the short n-grams of the text's beginning, and the symbols there."""
        text = self.space.text[:WALK_LENGTH]
        space = replace(self.space, text=text, guide_order=WALK_ORDER)
        return space.guide_windows, space.seen

    def improve(self, keys: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """[V] the most probable key that climbs and walks from the best of `keys` [P, V] find."""
        # Many keys of a sample are alike; a few of the best that are not climb on.
        scores = self.space.full(keys)
        distinct = np.unique(keys[np.argsort(-scores)[: 8 * CLIMBS]], axis=0)
        tops = distinct[np.argsort(-self.space.full(distinct))[:CLIMBS]]
        climbed = np.array([self._climb(key) for key in tops])
        best = int(climbed.argmax())
        polished, score = self._polish_on(tops[best], climbed[best], kernels.seed(rng))
        return self.best(np.vstack([tops, polished]), np.append(climbed, score))

    def maxima(
        self, hits: int, starts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Local maxima [K, V], distinct in the symbols seen, and their scores [K] in table steps.

        Ends when `hits` starts have led to the best of them (more where it is an implausible
        reading), at most after `starts` starts.
        """
        found: dict[bytes, tuple[NDArray[np.uint8], int]] = {}
        best = None
        state = kernels.seed(rng)
        while self.starts < starts and (
            best is None or self.hits < hits * (1 if self._plausible(best) else DOUBT)
        ):
            self.starts += 1
            highest = None
            for plain, score in self._climbs(rng, state):
                found.setdefault(plain[self.space.seen].tobytes(), (plain, score))
                highest = score if highest is None else max(highest, score)
                if highest == best:
                    break
            if best is None or (highest is not None and highest > best):
                best, self.hits = highest, 0
            self.hits += highest == best
        polished = self._polish_on(*max(found.values(), key=itemgetter(1)), state)
        found[polished[0][self.space.seen].tobytes()] = polished
        keys, scores = zip(*found.values(), strict=True)
        return np.array(keys), np.array(scores, np.int64)

    def _plausible(self, score: int) -> bool:
        """Whether a text of the model's kind is often as improbable as this score says."""
        mean, variance = self.space.model.typical
        n = len(self.space.text)
        return bool(score * self.step >= n * mean - UNUSUAL * np.sqrt(n * variance))

    def _climbs(
        self, rng: np.random.Generator, state: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """One start: the local maxima, with their scores, that climbs from its walk end in."""
        n = len(self.space.text)
        (here,) = self.space.draw(1, rng)
        beta = self.step / walk_temperature(min(n, WALK_LENGTH))
        swaps = walk_swaps(n)
        climbs = climbs_per_start(n)
        top: tuple[NDArray[np.uint8], int] | None = None
        for _ in range(climbs):
            found = self._climb_from_walk(*self.opening, here, beta, swaps, state)
            if top is None or found[1] > top[1]:
                top = found
            yield found
        for _ in range(climbs // CLIMBS_PER_POLISH):
            assert top is not None
            found = self._polish(top[0], state)
            if found[1] > top[1]:
                top = found
            yield found

    def _polish_on(
        self, maximum: NDArray[np.uint8], score: int, state: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], int]:
        """Polish a maximum until that no longer helps."""
        best = maximum, score
        while (polished := self._polish(best[0], state))[1] > best[1]:
            best = polished
        return best

    def _polish(
        self, maximum: NDArray[np.uint8], state: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], int]:
        """A climb from a short walk around a maximum, under the full model."""
        beta = self.step / polish_temperature(len(self.space.text))
        space = self.space
        return self._climb_from_walk(
            space.full_windows, space.seen, maximum.copy(), beta, POLISH_SWAPS, state
        )

    def _climb_from_walk(
        self,
        windows: Windows,
        seen: NDArray[np.intp],
        here: NDArray[np.uint8],
        beta: float,
        swaps: int,
        state: NDArray[np.uint64],
    ) -> tuple[NDArray[np.uint8], int]:
        """Walk on from `here`, in place, and climb from the best key on the way."""
        plain = here.copy()
        if len(seen):
            self.reads += kernels.walk(
                self.table, *windows, here, seen, self.space.free, beta, swaps, state, plain
            )
        return plain, self._climb(plain)

    def _climb(self, plain: NDArray[np.uint8]) -> int:
        """Climb from `plain`, in place; the score of the maximum."""
        space = self.space
        score, reads = kernels.climb(self.table, *space.full_windows, plain, space.seen, space.free)
        self.reads += reads
        return int(score)

    def best(self, maxima: NDArray[np.uint8], scores: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The maximum of highest log probability, exact where rounding leaves several in play."""
        text = self.space.text
        in_play = maxima[scores >= scores.max() - len(text)]
        exact = self.space.model.log_prob(in_play[:, text]).sum(axis=1)
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
        moves = self.space.move(keys, np.full(population, END), steps, rng)
        marginals = moves.occupancy / (population * steps)
        level_unseen(marginals, self.space.unseen)
        return keys, marginals
