"""Annealed sequential Monte Carlo: the posterior over keys, its evidence, and their errors.

A population of keys drawn from the prior is led to the posterior along a path of densities (see
`spaces`). Each step goes as far as leaves a given share of the population effective; the keys are
weighted by how much the density grew, resampled, and moved by Markov chains that keep the new
density (Del Moral, Doucet and Jasra 2006, section 3.3.2.3). The product of the mean weights
estimates the evidence; were the steps not chosen by the population itself, without bias (Beskos,
Jasra, Kantas and Thiery 2016). Several populations, independent of each other, show the Monte Carlo
error; while it is too large, larger ones join them.

From one prefix of a text to the next a population is carried on: weighted by what the new symbol
says, and resampled and moved when few keys are left with any weight (Chopin 2002). When that has
gone on until few of the keys of the last annealing have descendants, moves alone no longer repair
the loss, and the prefix is annealed afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.ngram import NGramModel
from decipher.posterior import (
    KeyPosterior,
    check_known,
    check_least,
    check_prefixes,
    level_unseen,
)
from decipher.sampling.spaces import CORNERS, END, POWERS, KeySpace, Space
from decipher.search import Search

#: The share of a population that each step along the path leaves effective.
SHARE = 0.9
#: Moves that each key tries at each step of the path.
SWAPS = 200
#: At the end of the path it tries so many times as many: the marginals are read off there.
SETTLE = 4
#: Independent populations in a round.
ISLANDS = 4
#: Rounds at most. Each has twice the particles of the one before.
ROUNDS = 3
#: The standard error of the log evidence, nats, that ends the rounds.
TOLERANCE = 0.25
#: A carried population is resampled when its effective sample size falls below this share, ...
RESAMPLE = 0.5
#: ... and annealed afresh when its effective number of ancestors falls below this one.
SURVIVE = 0.1
#: The way to a prefix longer than this begins with annealing one of this length.
ANNEAL = 512
#: Carried populations take in so manieth a part of the text at a time: symbol by symbol at first.
STRIDE = 16

Array = NDArray[np.float64]


def default_particles(length: int) -> int:
    """Keys in a population of the first round: short texts have broad posteriors."""
    return int(np.clip(32_000 / max(length, 1), 400, 1000))


# --- one population -----------------------------------------------------------------------------


@dataclass(eq=False)
class Population:
    """Weighted keys, a sample of one posterior.

    Attributes:
        keys: [P, C] the plain id of each cipher id.
        log_evidence: estimate of the log of the ciphertext's probability, nats.
        log_weights: [P], normalised: their exponentials sum to 1.
        roots: [P] the key of the last annealing that each one descends from.
        occupancy: [C, V] the share of the time for which cipher symbol c stood for plain symbol p
            in the last moves at the end of the path; rows sum to 1.
        acceptance: share of the moves that were accepted there.
        steps: steps along the path.
    """

    keys: NDArray[np.uint8]
    log_evidence: float
    log_weights: Array
    roots: NDArray[np.intp]
    occupancy: Array
    acceptance: float
    steps: int

    @property
    def ess(self) -> float:
        """Effective sample size (Kong, Liu and Wong 1994)."""
        return float(np.exp(-logsumexp(2 * self.log_weights)))

    @property
    def ancestors(self) -> float:
        """Effective number of the keys of the last annealing that have descendants."""
        shares = np.bincount(self.roots, np.exp(self.log_weights), minlength=len(self.roots))
        return float(1 / (shares @ shares))

    def weigh(self, log_likelihood: Array) -> None:
        """Take in what a new symbol says, or a step along the path, [P] nats."""
        log_weights = self.log_weights + log_likelihood
        increment = logsumexp(log_weights)
        self.log_evidence += float(increment)
        self.log_weights = log_weights - increment

    def resample(self, rng: np.random.Generator) -> None:
        """Copy keys by their weights and make these equal."""
        chosen = systematic(np.exp(self.log_weights), rng)
        self.keys, self.roots = self.keys[chosen], self.roots[chosen]
        self.log_weights = np.full(len(chosen), -np.log(len(chosen)))

    def settle(self, space: Space, steps: int, rng: np.random.Generator) -> None:
        """Move the equally weighted keys at the end of the path."""
        moves = space.move(self.keys, np.full(len(self.keys), END), steps, rng)
        self.occupancy = moves.occupancy / (len(self.keys) * steps)
        self.acceptance = float(moves.accepted.mean() / steps)


def prior(space: Space, particles: int, rng: np.random.Generator) -> Population:
    """A population of the prior: what is known before the first symbol is read."""
    keys = space.draw(particles, rng)
    equal = np.full(particles, -np.log(particles))
    return Population(keys, 0.0, equal, np.arange(particles), np.empty(0), 0.0, 0)


def anneal(
    space: Space,
    particles: int,
    rng: np.random.Generator,
    *,
    swaps: int = SWAPS,
    share: float = SHARE,
) -> Population:
    """Lead `particles` keys from the prior to the posterior.

    Args:
        space: the keys and the text.
        particles: P, at least 2.
        swaps: moves that each key tries at each step of the path.
        share: of the population that each step leaves effective, between 0 and 1.
    """
    population = prior(space, particles, rng)
    at = 0.0
    rates = np.diff(POWERS, axis=0) / np.diff(CORNERS)[:, None]
    for corner, (guide, full) in zip(CORNERS[1:], rates, strict=True):
        while at < corner:
            # Along a straight stretch the log of the path's density grows evenly.
            slope = np.zeros(particles)
            if guide:
                slope += guide * space.guide(population.keys)
            if full:
                slope += full * space.full(population.keys)
            step = _step(slope, corner - at, share)
            at = corner if step == corner - at else at + step
            population.weigh(step * slope)
            population.resample(rng)
            population.steps += 1
            if at < END:
                space.move(population.keys, np.full(particles, at), swaps, rng)
    population.roots = np.arange(particles)
    population.settle(space, SETTLE * swaps, rng)
    return population


def _step(slope: Array, most: float, share: float) -> float:
    """The step, at most `most`, whose weights exp(step x slope) have an effective sample size of
    `share` of the population."""

    below = slope - slope.max()

    def excess(step: float) -> float:
        weights = np.exp(step * below)
        return float(weights.sum() ** 2 / (weights @ weights) / len(weights) - share)

    if excess(most) >= 0:
        return most
    return float(brentq(excess, 0.0, most, xtol=1e-12, rtol=1e-6))


def systematic(weights: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """[P] indices drawn by `weights` [P], each w P times up to one more or less (systematic
    resampling, Kitagawa 1996)."""
    edges = np.cumsum(weights) * (len(weights) / weights.sum())
    places = np.arange(len(weights)) + rng.random()
    return np.minimum(np.searchsorted(edges, places, side="right"), len(weights) - 1)


# --- several, and what they agree on ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Islands:
    """Independent populations of one posterior, each trusted by the evidence it found: their
    union, weighted so, is again a sample of the posterior.

    Attributes:
        populations: I of them.
    """

    populations: Sequence[Population]

    @property
    def weights(self) -> Array:
        """[I] share of each population; they sum to 1."""
        return np.asarray(np.exp(self._log_shares - logsumexp(self._log_shares)))

    @property
    def _log_shares(self) -> Array:
        return np.array([p.log_evidence + np.log(len(p.keys)) for p in self.populations])

    @property
    def log_evidence(self) -> float:
        """Log of the mean evidence over all keys, nats."""
        return float(logsumexp(self._log_shares) - np.log(sum(map(len, self._keys))))

    @property
    def log_evidence_error(self) -> float:
        """Standard error of `log_evidence`, nats, from the spread between the populations."""
        shares = np.array([len(keys) for keys in self._keys], np.float64)
        shares /= shares.sum()
        ratios = np.exp([p.log_evidence - self.log_evidence for p in self.populations])
        return float(_error_of_mean(shares, ratios - 1))

    @property
    def _keys(self) -> list[NDArray[np.uint8]]:
        return [p.keys for p in self.populations]

    @property
    def keys(self) -> NDArray[np.uint8]:
        """[K, C] all keys."""
        return np.concatenate(self._keys)

    @property
    def key_weights(self) -> Array:
        """[K] their weights; they sum to 1."""
        each = zip(self.weights, self.populations, strict=True)
        return np.concatenate([w * np.exp(p.log_weights) for w, p in each])

    @property
    def occupancy(self) -> Array:
        """[C, V] posterior probability that cipher symbol c stands for plain symbol p."""
        return np.tensordot(self.weights, [p.occupancy for p in self.populations], axes=1)

    @property
    def occupancy_error(self) -> Array:
        """[C, V] standard errors of `occupancy`, from the spread between the populations."""
        spread = np.array([p.occupancy for p in self.populations]) - self.occupancy
        return np.asarray(_error_of_mean(self.weights, spread))


def _error_of_mean(weights: Array, deviations: Array) -> Any:
    """Standard error of a weighted mean from the deviations [I, ...] of its independent terms."""
    if len(weights) < 2:
        return np.full(deviations.shape[1:], np.nan)[()]
    unbiased = len(weights) / (len(weights) - 1)
    return np.sqrt(unbiased * np.tensordot(weights**2, deviations**2, axes=1))


def populate(
    space: Space,
    particles: int,
    rng: np.random.Generator,
    *,
    islands: int = ISLANDS,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
    swaps: int = SWAPS,
    share: float = SHARE,
    least: Callable[[Islands], float] = lambda _: -np.inf,
    jobs: int = 1,
) -> Islands:
    """Anneal independent populations until they agree.

    Args:
        space: the keys and the text.
        particles: keys in a population of the first round; each further round doubles them.
        islands: populations in a round.
        rounds: at most.
        tolerance: the standard error of the log evidence to reach, nats.
        swaps, share: see `anneal`.
        least: a lower bound on the log evidence that the populations prove, nats: an estimate
            further below it than its error is wrong, however well the populations agree.
        jobs: threads to anneal in, -1 for one a core; the result does not depend on them.
    """
    found: list[Population] = []
    for round_ in range(rounds):
        found += joblib.Parallel(jobs, prefer="threads")(
            joblib.delayed(anneal)(space, particles << round_, each, swaps=swaps, share=share)
            for each in rng.spawn(islands)
        )
        united = Islands(found)
        error = united.log_evidence_error
        if error <= tolerance and united.log_evidence >= least(united) - error:
            break
    return united


# --- the decipherer -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the Bayes mixture over all keys says of a ciphertext [n] as it is read.

    Attributes:
        predictive: [n, V]; row i is the distribution of cipher symbol i given those before it.
        log_evidence: [n + 1]; of the first i symbols, nats; 0 at i = 0.
        log_evidence_error: [n + 1]; its standard error, nats.
        annealed: the prefix lengths at which the population was annealed afresh.
    """

    predictive: Array
    log_evidence: Array
    log_evidence_error: Array
    annealed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SMCDecipherer:
    """The posterior over one-to-one keys by annealed SMC.

    Attributes:
        model: the language model of the plaintext; its dense table must fit (see
            `NGramModel.table`).
        rng: where every random number comes from.
        known: cipher ids whose plain ids are given.
        particles: keys in a population of the first round (None: by length).
        swaps: moves that each key tries at each step of the path.
        islands: independent populations in a round, at least 2: their spread is the error.
        rounds: at most; each has twice the particles of the one before.
        tolerance: standard error of the log evidence, nats, that ends the rounds.
        share: of a population that each step along the path leaves effective.
        temper: the power of the likelihood. Below 1 the model is trusted less than it says, as
            suits text that it misfits (a power posterior; Grünwald 2012). Evidence is then that
            of the tempered likelihood.
        jobs: threads to anneal in, -1 for one a core; the result does not depend on them.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    particles: int | None = None
    swaps: int = SWAPS
    islands: int = ISLANDS
    rounds: int = ROUNDS
    tolerance: float = TOLERANCE
    share: float = SHARE
    temper: float = 1.0
    jobs: int = 1

    def __post_init__(self) -> None:
        check_least(self, particles=2, swaps=1, islands=2, rounds=1)
        if not 0 < self.share < 1:
            raise InputError(f"share must lie between 0 and 1, not at {self.share}")
        for name in ("tolerance", "temper"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`. The populations of one prefix are carried on to the next, as far as
        enough of their keys survive."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        by_length: dict[int, KeyPosterior] = {}
        islands, before = None, 0
        for prefix in sorted(prefixes, key=len):
            space = self._space(prefix)
            islands = self._reach(space, islands, before)
            before = len(prefix)
            by_length[before] = self._posterior(space, islands)
        return [by_length[len(prefix)] for prefix in prefixes]

    def predict(self, ciphertext: ArrayLike) -> Prediction:
        """Read a ciphertext [n] symbol by symbol, and say before each what comes.

        Raises:
            InputError: the text is empty, or an id is out of range.
        """
        text = np.atleast_1d(np.asarray(ciphertext))
        (text,) = check_prefixes(text, [len(text)], self.model.alphabet)
        n = len(text)
        predictive = np.empty((n, self.model.alphabet.size))
        log_evidence, error = np.zeros(n + 1), np.zeros(n + 1)
        annealed = []
        space = self._space(text[:0])
        particles = self.particles or default_particles(0)
        islands = Islands([prior(space, particles, self.rng) for _ in range(self.islands)])
        for i in range(n):
            following = space.following(islands.keys)
            predictive[i] = islands.key_weights @ following
            level_unseen(predictive[i], space.unseen)
            space = self._space(text[: i + 1])
            log_likelihood = self.temper * np.log(following[:, text[i]])
            if not self._extend(islands, space, log_likelihood):
                islands = self._anneal(space)
                annealed.append(i + 1)
            log_evidence[i + 1] = islands.log_evidence
            error[i + 1] = islands.log_evidence_error
        return Prediction(predictive, log_evidence, error, tuple(annealed))

    def _space(self, text: NDArray[np.uint8]) -> KeySpace:
        known = check_known(self.known, self.model.alphabet)
        return KeySpace(self.model, text, known, self.temper)

    def _anneal(self, space: KeySpace) -> Islands:
        return populate(
            space,
            self.particles or default_particles(len(space.text)),
            self.rng,
            islands=self.islands,
            rounds=self.rounds,
            tolerance=self.tolerance,
            swaps=self.swaps,
            share=self.share,
            jobs=self.jobs,
            # The mixture gives a text at least its best key's share of it.
            least=lambda islands: space.full(islands.keys).max() + space.log_prior,
        )

    def _reach(self, space: KeySpace, islands: Islands | None, start: int) -> Islands:
        """Populations of all of the text, carried on from those of its first `start` symbols, or
        from an annealing where there are none or too few of their keys survive."""
        stop = len(space.text)
        while islands is None or start < stop:
            end = min(stop, start + 1 + start // STRIDE)
            prefix = self._space(space.text[:end])
            if islands is None or not self._extend(
                islands, prefix, prefix.tail(islands.keys, start)
            ):
                end = max(end, min(stop, ANNEAL))
                islands = self._anneal(self._space(space.text[:end]))
            elif end == stop:
                for population in islands.populations:
                    population.resample(self.rng)
                    population.settle(space, SETTLE * self.swaps, self.rng)
            start = end
        return islands

    def _extend(self, islands: Islands, space: KeySpace, log_likelihood: Array) -> bool:
        """Take in the end of the text, [K] nats for each key, in place; False where
        too few of them survive."""
        ends = np.cumsum([len(p.keys) for p in islands.populations])[:-1]
        each = np.split(log_likelihood, ends)
        for population, said in zip(islands.populations, each, strict=True):
            population.weigh(said)
            if population.ess < RESAMPLE * len(population.keys):
                population.resample(self.rng)
                at = np.full(len(population.keys), END)
                space.move(population.keys, at, self.swaps, self.rng)
        surviving = [p.ancestors / len(p.keys) for p in islands.populations]
        return bool(islands.weights @ surviving >= SURVIVE)

    def _posterior(self, space: KeySpace, islands: Islands) -> KeyPosterior:
        model = self.model
        marginals = islands.occupancy
        level_unseen(marginals, space.unseen)
        samples = islands.keys
        key = Key(model.alphabet, Search(space).improve(samples, self.rng)).inverse
        errors = islands.occupancy_error[space.seen]
        return KeyPosterior(
            model.alphabet,
            marginals,
            key,
            np.unique(space.text).astype(np.intp),
            samples,
            islands.key_weights,
            float(model.log_prob(key.decrypt(space.text)).sum()),
            islands.log_evidence,
            {
                "particles": len(samples),
                "islands": len(islands.populations),
                "steps": max(p.steps for p in islands.populations),
                "acceptance": float(islands.weights @ [p.acceptance for p in islands.populations]),
                "log_evidence_error": islands.log_evidence_error,
                "marginal_error": float(errors.max(initial=0.0)),
            },
        )
