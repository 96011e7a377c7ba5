"""Posteriors over homophonic keys, where several cipher symbols may stand for one letter.

The model of a ciphertext of C symbols, in three parts:

1. *The key* gives each cipher symbol one of V letters. Letters have shares ~ Dirichlet(A b), with b
   the base and A the concentration, and each symbol's letter is drawn from the shares. These are
   integrated out (the Dirichlet-multinomial distribution): with h_p homophones of letter p,

       p(key) = Gamma(A) / Gamma(A + C)  prod_p Gamma(A b_p + h_p) / Gamma(A b_p).

   At A = inf each symbol's letter is drawn from b itself; with a uniform b, all V^C keys are alike.
2. *The plaintext* comes from the n-gram model.
3. *The choice*: each occurrence of a letter takes one of its homophones. How often each is used
   is ~ Dirichlet(alpha, ..., alpha), integrated out as well: with n_c occurrences of cipher symbol
   c and N_p of letter p,

       p(choices) = prod_p Gamma(h_p alpha) / Gamma(h_p alpha + N_p)
                    prod_c Gamma(alpha + n_c) / Gamma(alpha).

   At alpha = inf all homophones of a letter are alike: prod_p h_p^-N_p.

A plaintext with a letter that has no homophone has no ciphertext, so that a key without some letter
explains less than all texts: the evidence is the joint probability of all three parts, and not
divided by what such keys can explain.

The third part is no decoration. Without it a key pays nothing for giving a letter more homophones,
and the most probable plaintext is a drone of the language's few favourite n-grams, into which all
symbols fold. With it, a letter of h homophones pays log h nats for each of its occurrences: the
ciphertext still has to tell them apart.

Bayesian decipherment of homophonic ciphers by sampling: Ravi and Knight, "Bayesian Inference for
Zodiac and Other Homophonic Ciphers" (ACL 2011). They use a Gibbs sampler with a Chinese restaurant
process for the channel; here a population is annealed (`smc`), and the channel is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from ciphers.alphabet import check_ids
from ciphers.errors import InputError
from ciphers.homophonic import HomophonicKey
from decipher import kernels
from decipher.ngram import NGramModel
from decipher.posterior import HomophonicPosterior, check_least, cut_prefixes, level_unseen
from decipher.sampling import homophonic_kernels
from decipher.sampling.smc import SHARE, populate
from decipher.sampling.spaces import GUIDE_ORDER, Moves, path_weights
from decipher.windows import Windows

Base = Literal["language", "uniform"]

#: No more cipher symbols than this: what a swap changes is listed for each pair of them.
MAX_SYMBOLS = 1000
#: Keys in a population of the first round, and moves that each tries at each step of the path. Many
#: moves do more than many keys for a text that is long enough to be read.
PARTICLES = 150
MOVES = 1000
#: Rounds at most, and the standard error of the log evidence, nats, that ends them: of four
#: populations at least two must share the evidence.
ROUNDS = 2
TOLERANCE = 0.6


@dataclass(frozen=True, eq=False)
class HomophonicSpace:
    """Homophonic keys: rows [C] of the plain id of each cipher id. See `Space`.

    Attributes:
        model: the language model; its dense table must fit (see `NGramModel.table`).
        text: [n] cipher ids.
        symbols: C, of which the text need not hold all.
        known: {cipher id: plain id} that every key agrees with.
        base: b, the letters' frequencies in the language, or all alike.
        concentration: A.
        alpha: of the choice of homophones.
        guide_order: of the guide; the model itself where its order is no higher.
    """

    model: NGramModel
    text: NDArray[np.uint16]
    symbols: int
    known: Mapping[int, int]
    base: Base = "language"
    concentration: float = np.inf
    alpha: float = np.inf
    guide_order: int = GUIDE_ORDER

    @property
    def guided(self) -> bool:
        """Whether the guide is another model than the full one."""
        return self.guide_order < self.model.order

    @cached_property
    def free(self) -> NDArray[np.intp]:
        """The cipher symbols that may change their meaning."""
        return np.setdiff1d(np.arange(self.symbols), list(self.known)).astype(np.intp)

    @cached_property
    def unseen(self) -> NDArray[np.intp]:
        """The free cipher symbols that do not occur in the text."""
        return np.setdiff1d(self.free, self.text)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[C] how often each cipher symbol occurs."""
        return np.bincount(self.text, minlength=self.symbols)

    @cached_property
    def full_windows(self) -> Windows:
        """The n-grams of the text that the model scores."""
        return self._windows(self.model.order)

    @cached_property
    def guide_windows(self) -> Windows:
        """Those that the guide scores."""
        return self._windows(self.guide_order) if self.guided else self.full_windows

    def _windows(self, order: int) -> Windows:
        """The n-grams of the text. The pair (c, c) lists the windows that hold c, with its
        coefficients: what giving c another letter changes."""
        windows = Windows.of(self.text, order, self.model, self.free, self.symbols)
        letters = self.model.alphabet.size
        coefficient = kernels.window_coefficients(windows.places, self.symbols, letters)
        holder, held = np.nonzero(coefficient)
        alone = np.column_stack([held, coefficient[holder, held]]).astype(np.int32)
        edges = len(windows.entries) + np.searchsorted(holder, np.arange(self.symbols + 1))
        each = np.arange(self.symbols)
        windows.bounds[each, each] = np.column_stack([edges[:-1], edges[1:]])
        return windows._replace(entries=np.concatenate([windows.entries, alone]))

    # --- the prior ------------------------------------------------------------------------------

    @cached_property
    def _frequencies(self) -> NDArray[np.float64]:
        """[V] b; sums to 1."""
        size = self.model.alphabet.size
        if self.base == "uniform":
            return np.full(size, 1 / size)
        frequencies = np.exp(self.model.log_prob(np.arange(size)[:, None])[:, 0])
        return np.asarray(frequencies / frequencies.sum())

    @cached_property
    def _given(self) -> NDArray[np.int64]:
        """[V] how many known symbols stand for each letter."""
        size = self.model.alphabet.size
        return np.bincount(np.array(list(self.known.values()), np.int64), minlength=size)

    @cached_property
    def _log_prior(self) -> NDArray[np.float64]:
        """[V, C + 1] what a letter contributes by the number of its homophones, nats; conditional
        on the known symbols, but for a constant."""
        homophones = np.arange(self.symbols + 1)
        if np.isinf(self.concentration):
            return np.log(self._frequencies)[:, None] * homophones
        pseudo = self.concentration * self._frequencies[:, None]
        return np.asarray(gammaln(pseudo + homophones))

    def log_prior(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P] log probability of `keys` [P, C] given the known symbols, nats."""
        letters = np.arange(self.model.alphabet.size)
        table = self._log_prior
        each = table[letters, self._homophones(keys)] - table[letters, self._given]
        norm = 0.0
        if np.isfinite(self.concentration):
            total = self.concentration + np.array([len(self.known), self.symbols])
            norm = float(gammaln(total) @ [1, -1])
        return np.asarray(each.sum(axis=1) + norm)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """See `Space`."""
        shares = np.tile(self._frequencies, (count, 1))
        if np.isfinite(self.concentration):
            shares = rng.dirichlet(self.concentration * self._frequencies + self._given, count)
        keys = np.empty((count, self.symbols), np.uint8)
        keys[:, list(self.known)] = list(self.known.values())
        edges = np.cumsum(shares, axis=1)[:, None, :-1]
        keys[:, self.free] = (rng.random((count, len(self.free), 1)) >= edges).sum(axis=2)
        return keys

    # --- the likelihood -------------------------------------------------------------------------

    def guide(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See `Space`."""
        return self._log_plaintext(self.guide_windows, keys) + self.log_choice(keys)

    def full(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See `Space`."""
        return self._log_plaintext(self.full_windows, keys) + self.log_choice(keys)

    def _log_plaintext(self, windows: Windows, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        table, step = self.model.quantised
        scores = np.empty(len(keys), np.int64)
        kernels.score_keys(table, windows, self.model.alphabet.size, keys, scores)
        return np.asarray(scores * step, np.float64)

    @cached_property
    def _log_choice(self) -> NDArray[np.float64]:
        """[C + 1, n + 1] what a letter contributes by the number of its homophones and of its
        occurrences, nats."""
        homophones = np.arange(self.symbols + 1)[:, None]
        occurrences = np.arange(len(self.text) + 1)
        # No letter without a homophone occurs: what stands in row 0 is only read at 0.
        some = np.maximum(homophones, 1)
        if np.isinf(self.alpha):
            return -np.log(some) * occurrences
        return np.asarray(gammaln(some * self.alpha) - gammaln(some * self.alpha + occurrences))

    def log_choice(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P] log probability of the homophones chosen, given the plaintext and `keys` [P, C],
        nats."""
        each = self._log_choice[self._homophones(keys), self._occurrences(keys)]
        usage = 0.0
        if np.isfinite(self.alpha):
            usage = float((gammaln(self.alpha + self.counts) - gammaln(self.alpha)).sum())
        return np.asarray(each.sum(axis=1) + usage)

    def _homophones(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """[P, V] number of homophones of each letter."""
        return self._by_letter(keys, np.ones(self.symbols, np.int64))

    def _occurrences(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """[P, V] number of occurrences of each letter."""
        return self._by_letter(keys, self.counts)

    def _by_letter(self, keys: NDArray[np.uint8], values: NDArray[np.int64]) -> NDArray[np.int64]:
        """[P, V] the sum of `values` [C] over the homophones of each letter."""
        size = self.model.alphabet.size
        cell = keys + size * np.arange(len(keys))[:, None]
        sums = np.bincount(cell.ravel(), np.tile(values, len(keys)), len(keys) * size)
        return sums.astype(np.int64).reshape(-1, size)

    def move(
        self, keys: NDArray[np.uint8], at: NDArray[np.float64], steps: int, rng: np.random.Generator
    ) -> Moves:
        """See `Space`; a step gives one symbol another letter, or swaps the letters of two."""
        table, table_step = self.model.quantised
        size = self.model.alphabet.size
        moves = Moves(np.zeros(len(keys), np.int64), np.zeros((self.symbols, size), np.int64))
        if len(self.free):
            homophonic_kernels.sample(
                table,
                table_step,
                self.guide_windows,
                self.full_windows,
                self._log_choice,
                self._log_prior,
                self.counts,
                keys,
                self.free,
                path_weights(at),
                steps,
                kernels.seed(rng),
                moves.occupancy,
                moves.accepted,
            )
        else:
            cipher = np.broadcast_to(np.arange(self.symbols), keys.shape)
            np.add.at(moves.occupancy, (cipher, keys), steps)
        return moves

    # --- keys that were found -------------------------------------------------------------------

    def log_joint(self, keys: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[P] log probability of the ciphertext and `keys` [P, C] together, given the known
        symbols, nats."""
        return self.log_prior(keys) + self.full(keys)

    def climb(self, key: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The key [C] at which giving other letters to single symbols, the best one each time,
        ends when it began at `key`."""
        key, best = key.copy(), self.log_joint(key[None])[0]
        since = 0
        while since < len(self.free):
            for c in self.free:
                others = np.tile(key, (self.model.alphabet.size, 1))
                others[:, c] = np.arange(len(others))
                joint = self.log_joint(others)
                since += 1
                # Not for a sum's rounding, which would go round in circles.
                if joint.max() > best + 1e-9:
                    key, best, since = others[joint.argmax()], joint.max(), 0
        return key


@dataclass(frozen=True, eq=False)
class HomophonicDecipherer:
    """The posterior over homophonic keys by annealed SMC; see this module for the model.

    Attributes:
        model: the language model of the plaintext; its dense table must fit (see
            `NGramModel.table`).
        rng: where every random number comes from.
        symbols: C, the number of cipher symbols (None: the largest id of the ciphertext and one).
        known: cipher ids whose plain ids are given; several may stand for one letter.
        base: b of the prior, "language" (the letters' frequencies under the model) or "uniform".
        concentration: A of the prior, above 0: the smaller, the further the numbers of homophones
            may stray from the base.
        alpha: of the choice of homophones, above 0: the smaller, the less evenly they are used.
        particles: keys in a population of the first round.
        moves: that each key tries at each step of the path.
        islands: independent populations in a round, at least 2: their spread is the error.
        rounds: at most; each has twice the particles of the one before.
        tolerance: standard error of the log evidence, nats, that ends the rounds.
        share: of a population that each step along the path leaves effective.
        jobs: threads to anneal in, -1 for one a core; the result does not depend on them.
    """

    model: NGramModel
    rng: np.random.Generator
    symbols: int | None = None
    known: Mapping[int, int] | None = None
    base: Base = "language"
    concentration: float = np.inf
    alpha: float = np.inf
    particles: int = PARTICLES
    moves: int = MOVES
    islands: int = 4
    rounds: int = ROUNDS
    tolerance: float = TOLERANCE
    share: float = SHARE
    jobs: int = 1

    def __post_init__(self) -> None:
        check_least(self, particles=2, moves=1, islands=2, rounds=1)
        for name in ("concentration", "alpha", "tolerance"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 < self.share < 1:
            raise InputError(f"share must lie between 0 and 1, not at {self.share}")
        if self.base not in get_args(Base):
            raise InputError(f"the base is 'language' or 'uniform', not {self.base!r}")
        if self.symbols is not None and not 1 <= self.symbols <= MAX_SYMBOLS:
            raise InputError(f"there can be 1 to {MAX_SYMBOLS} cipher symbols, not {self.symbols}")
        check_ids(list((self.known or {}).values()), self.model.alphabet.size)

    def posteriors(
        self, ciphertext: ArrayLike, lengths: Sequence[int]
    ) -> list[HomophonicPosterior]:
        """One posterior for each prefix `ciphertext[:length]`, each found on its own.

        Args:
            ciphertext: [n] cipher ids, 0 to C - 1.
            lengths: prefix lengths, each from 1 to n.

        Raises:
            InputError: a length or an id is out of range.
        """
        ids = check_ids(ciphertext, self.symbols or MAX_SYMBOLS).astype(np.uint16)
        prefixes = cut_prefixes(ids, lengths)
        symbols = self.symbols or int(ids.max()) + 1
        known = {int(c): int(p) for c, p in (self.known or {}).items()}
        check_ids(list(known), symbols)
        return [self._posterior(self._space(prefix, symbols, known)) for prefix in prefixes]

    def _space(
        self, text: NDArray[np.uint16], symbols: int, known: Mapping[int, int]
    ) -> HomophonicSpace:
        return HomophonicSpace(
            self.model, text, symbols, known, self.base, self.concentration, self.alpha
        )

    def _posterior(self, space: HomophonicSpace) -> HomophonicPosterior:
        islands = populate(
            space,
            self.particles,
            self.rng,
            islands=self.islands,
            rounds=self.rounds,
            tolerance=self.tolerance,
            swaps=self.moves,
            share=self.share,
            jobs=self.jobs,
            # What the keys that were found contribute, each once.
            least=lambda found: float(logsumexp(space.log_joint(np.unique(found.keys, axis=0)))),
        )
        marginals = islands.occupancy
        errors = islands.occupancy_error
        level_unseen(marginals, space.unseen)
        keys = islands.keys
        best = space.climb(keys[space.log_joint(keys).argmax()])
        return HomophonicPosterior(
            self.model.alphabet,
            marginals,
            HomophonicKey(self.model.alphabet, best),
            np.flatnonzero(space.counts),
            keys,
            islands.key_weights,
            float(self.model.log_prob(best[space.text]).sum()),
            islands.log_evidence,
            {
                "particles": len(keys),
                "islands": len(islands.populations),
                "steps": max(p.steps for p in islands.populations),
                "acceptance": float(islands.weights @ [p.acceptance for p in islands.populations]),
                "log_evidence_error": islands.log_evidence_error,
                "marginal_error": float(errors[space.counts > 0].max()),
            },
        )
