"""The spaces of keys that a sampler moves in: where keys are drawn from, what a text says of them,
and how one key becomes another.

The posterior under a model of n-grams is hard to reach at once: from afar nearly all keys look
equally bad to 5-grams. So a space scores a key twice, by a *guide*, a model of shorter n-grams that
shows the way and is cheap to read, and by the full model; and a sampler walks from the prior to a
hot version of the guide's posterior, from there to the full model's at the same heat, and cools it:

    path(t) = prior x guide^a(t) x full^b(t)        0 <= t <= 2,

where (a, b) runs from (0, 0) straight to (HEAT, 0), to (0, HEAT), and to (0, 1). The guide is left
while keys still move freely: where it and the full model disagree on the best reading, a
population that had settled on the guide's would not come back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from decipher import kernels
from decipher.ngram import NGramModel
from decipher.windows import Windows

#: The order of the guide: 3-grams know most of what tells a good key from a bad one, and their
#: table (0.04 MB) lies in the first-level cache.
GUIDE_ORDER = 3

#: The power of the likelihood at which the path changes from the guide to the full model.
HEAT = 0.6
#: The places t at which the path turns, and the powers of the guide and the full likelihood there.
CORNERS = np.array([0.0, 1.0, 1.5, 2.0])
POWERS = np.array([[0, 0], [HEAT, 0], [0, HEAT], [0, 1]])
#: The place on the path where the posterior is.
END = 2.0


class Moves(NamedTuple):
    """What chains did: `accepted` [P], how many moves each accepted; `occupancy` [C, V], for how
    many steps cipher symbol c stood for plain symbol p, over all chains."""

    accepted: NDArray[np.int64]
    occupancy: NDArray[np.int64]


class Space(Protocol):
    """Keys of a ciphertext, as rows [C] of the plain id of each cipher id."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """[count, C] keys from the prior."""
        ...

    def guide(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P] log likelihood of `keys` [P, C] under the guide, nats."""
        ...

    def full(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P] log likelihood of `keys` [P, C] under the full model, nats."""
        ...

    def move(
        self, keys: NDArray[np.uint8], at: NDArray[np.float64], steps: int, rng: np.random.Generator
    ) -> Moves:
        """Run a Metropolis chain of `steps` steps from each of `keys` [P, C], in place.

        Args:
            at: [P], the place t on the path whose density the chain of each key samples.
        """
        ...


def path_weights(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P, 2], the powers of the guide's and the full likelihood at places `at` [P] of the path."""
    return np.column_stack([np.interp(at, CORNERS, powers) for powers in POWERS.T])


@dataclass(frozen=True, eq=False)
class KeySpace:
    """One-to-one keys: permutations, alike before the text is read. A move swaps what two cipher
    symbols stand for; one of them occurs in the text.

    Attributes:
        model: the language model; its dense table must fit (see `NGramModel.table`).
        text: [n] cipher ids.
        known: {cipher id: plain id} that every key agrees with.
        temper: the power of the likelihood; below 1 the model is trusted less than it says.
        guide_order: of the guide; the model itself where its order is no higher.
    """

    model: NGramModel
    text: NDArray[np.uint8]
    known: Mapping[int, int]
    temper: float = 1.0
    guide_order: int = GUIDE_ORDER

    @property
    def guided(self) -> bool:
        """Whether the guide is another model than the full one."""
        return self.guide_order < self.model.order

    @cached_property
    def free(self) -> NDArray[np.intp]:
        """The cipher symbols that may change their meaning."""
        return np.setdiff1d(np.arange(self.model.alphabet.size), list(self.known)).astype(np.intp)

    @cached_property
    def seen(self) -> NDArray[np.intp]:
        """The free cipher symbols that occur in the text."""
        return np.intersect1d(self.text, self.free).astype(np.intp)

    @property
    def unseen(self) -> NDArray[np.intp]:
        """The free cipher symbols that do not."""
        return np.setdiff1d(self.free, self.seen)

    @property
    def log_prior(self) -> float:
        """Log prior probability, nats, of what any one key says of the symbols that occur."""
        free, seen = len(self.free), len(self.seen)
        return math.lgamma(free - seen + 1) - math.lgamma(free + 1)

    @cached_property
    def full_windows(self) -> Windows:
        """The n-grams of the text that the model scores."""
        return Windows.of(self.text, self.model.order, self.model, self.free)

    @cached_property
    def guide_windows(self) -> Windows:
        """Those that the guide scores."""
        if not self.guided:
            return self.full_windows
        return Windows.of(self.text, self.guide_order, self.model, self.free)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """See `Space`."""
        size = self.model.alphabet.size
        keys = np.empty((count, size), np.uint8)
        keys[:, list(self.known)] = list(self.known.values())
        letters = np.setdiff1d(np.arange(size, dtype=np.uint8), list(self.known.values()))
        keys[:, self.free] = rng.permuted(np.tile(letters, (count, 1)), axis=1)
        return keys

    def guide(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See `Space`."""
        return self._log_likelihood(self.guide_windows, keys)

    def full(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See `Space`."""
        return self._log_likelihood(self.full_windows, keys)

    def _log_likelihood(self, windows: Windows, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        table, step = self.model.quantised
        scores = np.empty(len(keys), np.int64)
        kernels.score_keys(table, windows, self.model.alphabet.size, keys, scores)
        return np.asarray(scores * (step * self.temper), np.float64)

    def move(
        self, keys: NDArray[np.uint8], at: NDArray[np.float64], steps: int, rng: np.random.Generator
    ) -> Moves:
        """See `Space`; a step tries one swap."""
        table, step = self.model.quantised
        weights = path_weights(at) * (step * self.temper)
        if not self.guided:  # one model need not be read twice
            weights = np.column_stack([weights.sum(axis=1), np.zeros(len(at))])
        size = self.model.alphabet.size
        moves = Moves(np.zeros(len(keys), np.int64), np.zeros((size, size), np.int64))
        if len(self.seen):
            kernels.sample(
                table,
                self.guide_windows,
                self.full_windows,
                keys,
                self.seen,
                self.free,
                weights,
                steps,
                kernels.seed(rng),
                moves.occupancy,
                moves.accepted,
            )
        else:
            cipher = np.broadcast_to(np.arange(size), keys.shape)
            np.add.at(moves.occupancy, (cipher, keys), steps)
        return moves

    def tail(self, keys: NDArray[np.uint8], start: int) -> NDArray[np.float64]:
        """[P] log likelihood of the text from symbol `start` on, given what is before."""
        first = max(0, start - self.model.order + 1)
        scores = self.model.log_prob(keys[:, self.text[first:]])[:, start - first :]
        return np.asarray(self.temper * scores.sum(axis=1))

    def following(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P, C] the probability of each cipher symbol to come next after the text, given each of
        `keys` [P, C]."""
        context = self.text[max(0, len(self.text) - self.model.order + 1) :]
        plain = self.model.conditional(keys[:, context])
        return np.asarray(np.take_along_axis(plain, keys, axis=1))
