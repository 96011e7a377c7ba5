"""Parallel tempering over keys (replica exchange: Swendsen and Wang 1986; Geyer 1991; reviewed by
Earl and Deem 2005): chains at places along the path from the prior to the posterior, which exchange
their keys.

A Metropolis chain at the posterior does not leave the reading it fell into. Nearer to the prior
chains roam freely; so R chains run side by side at the places t_0 = 0 < ... < t_{R-1} of the path
(see `decipher.sampling.spaces`), and neighbours exchange their keys x and y with probability

    min(1, path(t_r)(y) path(t_{r+1})(x) / (path(t_r)(x) path(t_{r+1})(y))),

which leaves the product of all R densities as it is. At t_0 the keys are drawn anew each time, so
each key that travels from the first rung to the last is an independent new start, and yet the last
rung samples the posterior.

The pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... take turns (Okabe et al. 2001): then keys
travel up and down the ladder rather than diffuse. How often they get through is set by the rates at
which pairs refuse to exchange, and best where these are equal (Syed, Bouchard-Cote, Deligiannidis
and Doucet 2022, "Non-reversible parallel tempering"). The places are set so during burn-in and then
stay.

The evidence follows from the same draws by stepping stones (Xie, Lewis, Fan, Kuo and Chen 2011),
from each rung to the next by a bridge (Meng and Wong 1996) that takes the draws x of the one and y
of the other alike: with w = path(t_{r+1}) / path(t_r),

    log p(text) = sum over r of log (E[w(x)^(1/2)] / E[w(y)^(-1/2)])
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher import kernels
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes, level_unseen
from decipher.sampling.spaces import END, KeySpace, Moves, Space, path_weights

#: How often the places are adapted during burn-in.
ROUNDS = 12
#: Letters with at least this share of a symbol's draws are asked whether the chains agree on them.
LETTER_MASS = 0.05
#: A reading with at least this share of the draws gives the evidence (see `_evidence`).
READING_MASS = 0.05


@dataclass(frozen=True, eq=False)
class Chains:
    """What K independent parallel tempering chains drew from the posterior, D draws each.

    Attributes:
        keys: [K, D, C] keys of the last rung, read backwards: the plain id of each cipher id.
        log_likelihood: [K, D] of the text under the full model, nats.
        acceptance: [K, D], the share of the last rung's moves before each draw that were accepted.
        marginals: [C, V], the share of all steps of the last rung at which cipher symbol c stood
            for plain symbol p.
        places: [R] the rungs' places on the path.
        exchange: [R - 1], how probable an exchange between neighbouring rungs was on average.
        round_trips: [K], how many keys drawn at the first rung reached the last one.
        log_evidence: log of the text's probability, averaged over the prior, nats.
        log_evidence_error: its standard error, nats, from the differences between the chains.
        symbols: [C] the cipher symbols' names.
        seen: [S] the cipher symbols whose meaning the text bears on.
    """

    keys: NDArray[np.uint8]
    log_likelihood: NDArray[np.float64]
    acceptance: NDArray[np.float64]
    marginals: NDArray[np.float64]
    places: NDArray[np.float64]
    exchange: NDArray[np.float64]
    round_trips: NDArray[np.int64]
    log_evidence: float
    log_evidence_error: float
    symbols: Sequence[str]
    seen: NDArray[np.intp]

    @property
    def log_posterior(self) -> NDArray[np.float64]:
        """[K, D] log density of the draws under the posterior relative to the prior, nats."""
        return self.log_likelihood - self.log_evidence

    def diagnostics(self) -> pd.DataFrame:
        """Whether the chains agree, and how many independent draws theirs are worth.

        A row for `log_posterior` and one for each symbol in `seen`; columns `r_hat`, the
        rank-normalised split R-hat, and `ess_bulk`, the bulk effective sample size (Vehtari,
        Gelman, Simpson, Carpenter and Buerkner 2021). A symbol's meaning is no number, so both are
        taken of the indicators "c stands for p", for the most frequent letter p and every other
        with at least 5% of the draws, and the worst is given. A quantity that never changed, alike
        in all chains, has R-hat 1 and as many effective draws as draws; one that never changed but
        differs between chains has an infinite R-hat.
        """
        rows = [("log_posterior", *_mixing(self.log_posterior))]
        for c in self.seen:
            share = np.bincount(self.keys[:, :, c].ravel()) / self.log_likelihood.size
            letters = np.union1d(np.argmax(share), np.flatnonzero(share >= LETTER_MASS))
            mixing = np.array([_mixing(self.keys[:, :, c] == p) for p in letters])
            rows.append((self.symbols[c], mixing[:, 0].max(), mixing[:, 1].min()))
        frame = pd.DataFrame(rows, columns=["quantity", "r_hat", "ess_bulk"])
        return frame.set_index("quantity")

    def inference_data(self) -> Any:
        """The draws as an `arviz.InferenceData`.

        Group `posterior`: `key` [chain, draw, symbol], the plain id of each cipher symbol, and
        `log_posterior` [chain, draw], nats. Group `sample_stats`: `acceptance_rate` [chain, draw].
        Attributes: the ladder (`places`, `exchange`, `round_trips`) and the evidence.
        """
        return _arviz().from_dict(
            posterior={"key": self.keys, "log_posterior": self.log_posterior},
            sample_stats={"acceptance_rate": self.acceptance},
            coords={"symbol": list(self.symbols)},
            dims={"key": ["symbol"]},
            attrs={
                "places": self.places,
                "exchange": self.exchange,
                "round_trips": self.round_trips,
                "log_evidence": self.log_evidence,
                "log_evidence_error": self.log_evidence_error,
            },
        )


@cache
def _arviz() -> Any:
    """ArviZ, imported where it is needed: that takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its next version
        import arviz
    return arviz


def _mixing(values: NDArray[Any]) -> tuple[float, float]:
    """R-hat and bulk effective sample size of `values` [K, D]."""
    draws = values.astype(np.float64)
    if np.ptp(draws) == 0:
        return 1.0, float(draws.size)
    arviz = _arviz()
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = float(arviz.rhat(draws))
        ess = float(arviz.ess(draws, method="bulk"))
    # Not a number where no chain ever moved, but they differ.
    return (np.inf if np.isnan(r_hat) else r_hat), ess


class Sweep(NamedTuple):
    """What a ladder of K chains and R rungs did between two exchanges.

    Attributes:
        keys: [K, C] of the last rung, before the exchange.
        log_likelihood: [K] of the text under the last rung's model, nats.
        moves: of the last rung.
        up: [R - 1, K] log path(t_{r+1}) - log path(t_r) of the key at rung r, nats.
        down: [R - 1, K] the same difference, of the key at rung r + 1.
        arrivals: [K], whether the exchange brought a key to the last rung that had not been there
            since it was drawn.
    """

    keys: NDArray[np.uint8]
    log_likelihood: NDArray[np.float64]
    moves: Moves
    up: NDArray[np.float64]
    down: NDArray[np.float64]
    arrivals: NDArray[np.bool_]


class Ladder:
    """K chains of R rungs each, in motion.

    Attributes:
        places: [R] the rungs' places on the path.
        keys: [R, K, C]; `keys[r, k]` is the key of chain k at rung r.
        fresh: [R, K], whether a key has not been at the last rung since it was drawn.
        sweeps: how many were made.
    """

    def __init__(self, space: Space, chains: int, rungs: int, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng
        # Steps widen from the prior on: there a little of the likelihood tells most.
        self.places = np.linspace(0, 1, rungs) ** 2 * END
        self.keys = space.draw(rungs * chains, rng).reshape(rungs, chains, -1)
        self.fresh = np.ones((rungs, chains), np.bool_)
        self.sweeps = 0

    def sweep(self, steps: int) -> Sweep:
        """`steps` Metropolis steps of every chain, and an exchange between every second pair of
        neighbours; the other pairs come next time."""
        moves = self._move(steps)
        weights, scores = path_weights(self.places), self._scores()
        keys, log_likelihood = self.keys[-1].copy(), scores[-1] @ weights[-1]
        rise = np.diff(weights, axis=0)[:, :, None]
        up = (scores[:-1] @ rise)[..., 0]
        down = (scores[1:] @ rise)[..., 0]
        self._exchange(up - down)
        arrivals = self.fresh[-1].copy()
        self.fresh[-1] = False
        return Sweep(keys, log_likelihood, moves, up, down, arrivals)

    def _move(self, steps: int) -> Moves:
        """Draw the first rung's keys anew, move all others; returns what the last rung did."""
        _, chains, size = self.keys.shape
        self.keys[0] = self.space.draw(chains, self.rng)
        self.fresh[0] = True
        between = self.keys[1:-1].reshape(-1, size)
        self.space.move(between, np.repeat(self.places[1:-1], chains), steps, self.rng)
        return self.space.move(self.keys[-1], np.full(chains, self.places[-1]), steps, self.rng)

    def _scores(self) -> NDArray[np.float64]:
        """[R, K, 2] log likelihood of the keys under the guide and the full model, nats; 0 under
        the full model where neither a rung nor the next one reads it."""
        rungs, chains, size = self.keys.shape
        scores = np.zeros((rungs, chains, 2))
        scores[..., 0] = self.space.guide(self.keys.reshape(-1, size)).reshape(-1, chains)
        late = self.keys[int(np.searchsorted(self.places[1:], 1, side="right")) :]
        full = self.space.full(late.reshape(-1, size))
        scores[rungs - len(late) :, :, 1] = full.reshape(-1, chains)
        return scores

    def _exchange(self, log_ratio: NDArray[np.float64]) -> None:
        """Exchange the keys of neighbours with probability min(1, exp(log_ratio)), [R - 1, K]."""
        lower = np.arange(self.sweeps % 2, len(log_ratio), 2)
        self.sweeps += 1
        u = 1 - self.rng.random((len(lower), log_ratio.shape[1]))  # never 0
        pair, k = np.nonzero(np.log(u) < log_ratio[lower])
        r = lower[pair]
        for each in (self.keys, self.fresh):
            each[r, k], each[r + 1, k] = each[r + 1, k], each[r, k]

    def respace(self, exchange: NDArray[np.float64]) -> None:
        """Set the places so that all pairs refuse equally many exchanges, given the probabilities
        [R - 1] of an exchange at the present ones (Syed et al. 2022): the sum of the refusals up to
        a place is read as a function of it, straight between the rungs."""
        # Where nothing is refused any place will do; the little added keeps them apart.
        refused = np.concatenate([[0.0], np.cumsum(1 - exchange + 1e-3)])
        self.places = np.interp(np.linspace(0, refused[-1], len(refused)), refused, self.places)


def temper(
    space: Space,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    rungs: int = 16,
    draws: int = 1000,
    steps: int = 200,
    burn_in: int | None = None,
    symbols: Sequence[str] | None = None,
    seen: ArrayLike | None = None,
) -> Chains:
    """Sample the posterior of a space of keys by parallel tempering.

    Args:
        space: the keys, and what the text says of them.
        rng: where every random number comes from.
        chains: K, independent but for their common ladder, which is set during burn-in.
        rungs: R, of each chain.
        draws: D, of each chain: one after each sweep of moves and exchanges.
        steps: Metropolis steps of each rung in a sweep.
        burn_in: sweeps before the first draw (None: as many as draws); the ladder is adapted
            during the first three quarters of them.
        symbols: [C] names of the cipher symbols (None: their ids).
        seen: [S] ids of those that occur in the text (None: all).

    Raises:
        InputError: a number is too small.
    """
    burn_in = draws if burn_in is None else burn_in
    _check_counts(chains=chains, rungs=rungs, draws=draws, steps=steps, burn_in=burn_in)
    ladder = Ladder(space, chains, rungs, rng)
    _burn_in(ladder, burn_in, steps)
    sweeps = [ladder.sweep(steps) for _ in range(draws)]
    size = ladder.keys.shape[-1]
    occupancy = np.sum([sweep.moves.occupancy for sweep in sweeps], axis=0)
    up = np.array([sweep.up for sweep in sweeps])
    down = np.array([sweep.down for sweep in sweeps])
    by_chain = _stepping_stones(up, down, axis=0)
    return Chains(
        keys=np.stack([sweep.keys for sweep in sweeps], axis=1),
        log_likelihood=np.stack([sweep.log_likelihood for sweep in sweeps], axis=1),
        acceptance=np.stack([sweep.moves.accepted for sweep in sweeps], axis=1) / steps,
        marginals=occupancy / (chains * draws * steps),
        places=ladder.places,
        exchange=_exchange_rates(sweeps),
        round_trips=np.sum([sweep.arrivals for sweep in sweeps], axis=0),
        log_evidence=float(_stepping_stones(up, down, axis=(0, 2))),
        log_evidence_error=float(by_chain.std(ddof=1) / np.sqrt(chains)),
        symbols=[str(c) for c in range(size)] if symbols is None else symbols,
        seen=np.arange(size) if seen is None else np.asarray(seen, np.intp),
    )


def _check_counts(**counts: int) -> None:
    """Refuse what is too few: chains can only be compared where there are two, and ArviZ asks for
    four draws of each."""
    least = {"chains": 2, "rungs": 2, "draws": 4, "steps": 1, "burn_in": 0}
    for name, count in counts.items():
        if count < least[name]:
            raise InputError(f"{name} must be at least {least[name]}, not {count}")


def _burn_in(ladder: Ladder, sweeps: int, steps: int) -> None:
    """Make `sweeps` sweeps and adapt the ladder after each of the `ROUNDS` rounds that make the
    first three quarters: only once the last rungs read the text does it show where on the path
    reading begins, and rungs gather there round by round."""
    length = sweeps * 3 // (4 * ROUNDS)
    if length:
        for _ in range(ROUNDS):
            ladder.respace(_exchange_rates([ladder.sweep(steps) for _ in range(length)]))
    while ladder.sweeps < sweeps:
        ladder.sweep(steps)


def _exchange_rates(sweeps: Sequence[Sweep]) -> NDArray[np.float64]:
    """[R - 1] how probable an exchange between neighbours was on average, those included whose
    turn it was not."""
    log_ratio = np.array([sweep.up - sweep.down for sweep in sweeps])
    rates: NDArray[np.float64] = np.exp(np.minimum(log_ratio, 0)).mean(axis=(0, 2))
    return rates


def _stepping_stones(
    up: NDArray[np.float64], down: NDArray[np.float64], axis: int | tuple[int, ...]
) -> NDArray[np.float64]:
    """The log evidence, nats, from the draws `up` and `down` [D, R - 1, K] along `axis`."""
    ratio = logsumexp(up / 2, axis=axis) - logsumexp(-down / 2, axis=axis)
    return np.asarray(ratio.sum(axis=0))


def default_rungs(length: int) -> int:
    """Rungs of each chain for a text of `length` symbols: in longer ones reading sets in at once,
    and it takes rungs close to each other to get across."""
    return 12 if length < 48 else 16


def default_steps(length: int) -> int:
    """Metropolis steps of each rung in a sweep: short texts can be read in many ways, and long ones
    cost more a step."""
    return int(np.clip(16_000 / length, 150, 600))


@dataclass(frozen=True, eq=False)
class TemperingDecipherer:
    """The posterior over one-to-one keys by parallel tempering: a check of annealed SMC by
    another route, with the diagnostics of Markov chains. Each posterior takes some ten seconds.

    Attributes:
        model: the language model of the plaintext; its dense table must fit (see
            `NGramModel.table`).
        rng: where every random number comes from.
        known: cipher ids whose plain ids are given.
        chains, rungs, draws, steps, burn_in: see `temper`; rungs and steps by the text's length
            where they are None.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    chains: int = 4
    rungs: int | None = None
    draws: int = 1000
    steps: int | None = None
    burn_in: int | None = None

    def __post_init__(self) -> None:
        names = ("chains", "rungs", "draws", "steps", "burn_in")
        counts = {name: getattr(self, name) for name in names}
        _check_counts(**{name: count for name, count in counts.items() if count is not None})
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; each prefix is sampled on its own. `info` holds the mean exchange rate,
        the worst R-hat and smallest effective sample size of `Chains.diagnostics`, the round trips
        of all chains, and the standard error of the log evidence, nats."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def sample(self, ciphertext: ArrayLike) -> Chains:
        """The chains of the whole `ciphertext` [n].

        Raises:
            InputError: the text is empty or an id is out of range.
        """
        text = check_prefixes(ciphertext, [np.size(ciphertext)], self.model.alphabet)[0]
        return self._temper(self._space(text))

    def _space(self, text: NDArray[np.uint8]) -> KeySpace:
        # Without a guide: a step costs more, but fewer exchanges are refused, so effective draws a
        # second come out alike; and the check takes another path than what it checks.
        known = check_known(self.known, self.model.alphabet)
        return KeySpace(self.model, text, known, guide_order=self.model.order)

    def _temper(self, space: KeySpace) -> Chains:
        n = len(space.text)
        return temper(
            space,
            self.rng,
            chains=self.chains,
            rungs=self.rungs or default_rungs(n),
            draws=self.draws,
            steps=self.steps or default_steps(n),
            burn_in=self.burn_in,
            symbols=list(self.model.alphabet.symbols),
            seen=np.unique(space.text),
        )

    def _posterior(self, text: NDArray[np.uint8]) -> KeyPosterior:
        space = self._space(text)
        chains = self._temper(space)
        mixing = chains.diagnostics()
        samples = chains.keys.reshape(-1, chains.keys.shape[-1])
        marginals = chains.marginals.copy()
        level_unseen(marginals, space.unseen)
        key = Key(self.model.alphabet, _best(space, chains)).inverse
        log_evidence, error = _evidence(space, chains)
        return KeyPosterior(
            self.model.alphabet,
            marginals,
            key,
            np.unique(text).astype(np.intp),
            samples,
            np.full(len(samples), 1 / len(samples)),
            float(self.model.log_prob(key.decrypt(text)).sum()),
            log_evidence,
            {
                "exchange": float(chains.exchange.mean()),
                "round_trips": int(chains.round_trips.sum()),
                "r_hat": float(mixing["r_hat"].max()),
                "ess": float(mixing["ess_bulk"].min()),
                "log_evidence_error": error,
            },
        )


def _best(space: KeySpace, chains: Chains) -> NDArray[np.uint8]:
    """[V] the key of a climb from the most probable draw."""
    k, d = np.unravel_index(np.argmax(chains.log_likelihood), chains.log_likelihood.shape)
    plain: NDArray[np.uint8] = chains.keys[k, d].copy()
    table, _ = space.model.quantised
    kernels.climb(table, *space.full_windows, plain, space.seen, space.free)
    return plain


def _evidence(space: KeySpace, chains: Chains) -> tuple[float, float]:
    """The log evidence and its standard error, nats.

    Where one reading has a good share of the draws, by the identity that holds for any key k
    (Besag 1989; Chib 1995),

        p(text) = p(text | k) p(k) / p(k | text),

    with that share for p(k | text): it asks for draws from the posterior only. Stepping stones need
    every rung to be sampled well, and in long texts some rung is torn between keys that read the
    text and keys that do not. Otherwise by stepping stones.
    """
    readings = chains.keys[:, :, chains.seen].reshape(-1, len(chains.seen))
    _, first, which, counts = np.unique(
        readings, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    common = int(np.argmax(counts))
    share = counts[common] / len(readings)
    if share < READING_MASS:
        return chains.log_evidence, chains.log_evidence_error
    _, ess = _mixing((which.ravel() == common).reshape(chains.log_likelihood.shape))
    log_likelihood = chains.log_likelihood.ravel()[first[common]]
    log_evidence = log_likelihood + space.log_prior - np.log(share)
    return float(log_evidence), float(np.sqrt((1 - share) / (share * ess)))
