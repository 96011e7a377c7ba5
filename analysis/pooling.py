"""From what is said of each token of a ciphertext to what is known of its key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize_scalar
from scipy.special import softmax

from ciphers.alphabet import Alphabet, Ids
from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.posterior import KeyPosterior, level_unseen

Array = NDArray[np.float64]

#: Log ratios beyond this are cut off before a matrix is balanced: e^-30 is as good as never.
STEEPEST = 30.0
#: What is added to the Hessian's diagonal in `balance` for each unit of error.
DAMPING = 0.01


@dataclass(frozen=True)
class Pooling:
    """How the answers of a probe at the occurrences of a symbol become one.

    Each occurrence adds its log probabilities and makes the earlier ones count less:

        score <- decay * score + sharpness * log p

    A later state has seen all that an earlier one had, so their errors are far from independent:
    with decay 0 only the last counts, with 1 they all count alike, which would be right if they
    were independent. Both numbers are fitted, see `fit`.

    Attributes:
        sharpness: an inverse temperature.
        decay: from 0 to 1.
    """

    sharpness: float = 1.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not (self.sharpness > 0 and 0 <= self.decay <= 1):
            raise InputError(
                f"sharpness {self.sharpness} and decay {self.decay}: give a sharpness above 0, and "
                "a decay from 0 to 1"
            )

    def scores(self, log_proba: Array, symbols: Ids, lengths: Sequence[int]) -> Array:
        """What is known of each cipher symbol after each length.

        Args:
            log_proba: [N, n, V] what a probe says of each token, nats.
            symbols: [N, n] the tokens' cipher ids.
            lengths: L of them, each from 1 to n.

        Returns:
            [N, L, V, V]: of cipher symbol c and plain symbol p, log probability up to a constant
            in each row; 0 for what has not occurred.
        """
        texts, _, size = log_proba.shape
        every, score = np.arange(texts), np.zeros((texts, size, size))
        after: dict[int, Array] = {}
        for i in range(max(lengths)):
            met = every, symbols[:, i]
            score[met] = self.decay * score[met] + self.sharpness * log_proba[:, i]
            if i + 1 in lengths:
                after[i + 1] = score.copy()
        return np.stack([after[length] for length in lengths], axis=1)

    @classmethod
    def fit(
        cls,
        log_proba: Array,
        symbols: Ids,
        labels: Ids,
        decays: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0),
    ) -> Pooling:
        """The pooling with the least log loss of a text's symbols under the marginals that come of
        it, the mean over prefixes of 16, 32, 64, ... and all n symbols.

        Args:
            log_proba, symbols: see `scores`; of texts that the probe was not fitted on.
            labels: [N, n] the plain ids.
            decays: to choose from.
        """
        n = labels.shape[1]
        lengths = sorted({length for k in range(4, 20) if (length := 2**k) < n} | {n})
        texts = np.arange(len(labels))[:, None]

        def loss(scores: Array) -> float:
            marginals = balance(scores)
            losses = [
                -np.log(marginals[texts, j, symbols[:, :length], labels[:, :length]]).mean()
                for j, length in enumerate(lengths)
            ]
            return float(np.mean(losses))

        best = math.inf, cls()
        for decay in decays:
            scores = cls(1.0, decay).scores(log_proba, symbols, lengths)
            found = minimize_scalar(
                lambda log_sharpness, scores=scores: loss(math.exp(log_sharpness) * scores),
                bounds=(math.log(0.01), math.log(10.0)),
                method="bounded",
                options={"xatol": 0.05},
            )
            candidate = float(found.fun), cls(math.exp(found.x), decay)
            best = min(best, candidate, key=lambda each: each[0])
        return best[1]


def balance(scores: Array, tolerance: float = 1e-7, iterations: int = 100) -> Array:
    """Doubly stochastic matrices proportional to exp(scores) up to a factor for each row and each
    column.

    Of all that have these row and column sums they are nearest to exp(scores) in relative entropy:
    the marginals of a key, as far as they follow from what is known of each symbol by itself.

    Rows and columns are not scaled in turn (Sinkhorn and Knopp 1967): where scores differ by tens
    of nats that takes thousands of turns. Newton's method on the logarithms of the columns'
    factors takes five to thirty steps (Brauer et al. 2018, arXiv 1710.06635).

    Args:
        scores: [..., V, V], nats.
        tolerance: the largest deviation of a column's sum from 1; those of rows are exact.
        iterations: Newton steps, at most.
    """
    size = scores.shape[-1]
    logits = np.maximum(_reduce(scores.reshape(-1, size, size)), -STEEPEST)
    found = softmax(logits, axis=2)
    active = np.arange(len(logits))
    for _ in range(iterations):
        excess = found[active].sum(axis=1) - 1
        wrong = np.abs(excess).max(axis=1) > tolerance
        active = active[wrong]
        if not len(active):
            break
        logits[active] += _newton_step(found[active], excess[wrong])[:, None, :]
        found[active] = softmax(logits[active], axis=2)
    return np.asarray(found.reshape(scores.shape))


def _newton_step(found: Array, excess: Array) -> Array:
    """By how much to raise the logarithms of the columns' factors, [M, V].

    Args:
        found: [M, V, V], the sums of rows are 1.
        excess: [M, V], by how much the sums of columns are above 1.
    """
    # The Hessian is diag(sums of columns) - found' found; as rows of it sum to 0, its diagonal
    # follows from the rest, without loss of digits where two symbols hardly compete.
    hessian = -(found.mT @ found)
    diagonal = np.arange(found.shape[-1])
    hessian[:, diagonal, diagonal] = 0
    # A little more on the diagonal, and less towards the end, settles what nothing else settles:
    # the common factor of columns that compete with no other.
    damping = DAMPING * np.abs(excess).max(axis=1, keepdims=True)
    hessian[:, diagonal, diagonal] = damping - hessian.sum(axis=2)
    step = np.linalg.solve(hessian, -excess[:, :, None])[:, :, 0]
    # A full step may overshoot and go round in circles. The dual is a sum of log-sum-exps, which
    # are generalised self-concordant, so that a step of this length always brings it down (Sun and
    # Tran-Dinh 2019, arXiv 1703.04599).
    reach = np.ptp(step, axis=1, keepdims=True)
    return np.asarray(step * np.log1p(reach) / reach)


def _reduce(scores: Array) -> Array:
    """Scores [M, V, V] less a number for each row and column, such that none is above 0 and those
    of a best permutation are 0.

    The numbers solve the dual of the assignment problem. Two solutions, from either end of all
    that there are, are averaged: the middle is nearer to balance than an extreme.
    """
    plain = np.array([linear_sum_assignment(each, maximize=True)[1] for each in scores])
    chosen = np.take_along_axis(scores, plain[:, :, None], axis=2)
    # In the order of the plain symbols both ways, each standing for the row that it is given to.
    excess = np.take_along_axis(scores - chosen, plain.argsort(axis=1)[:, :, None], axis=1)
    low = high = np.zeros(plain.shape)
    for _ in range(scores.shape[-1]):
        low = (low[:, :, None] + excess).max(axis=1)
        high = (high[:, None, :] - excess).min(axis=2)
    price = (low + high) / 2
    of_row = np.take_along_axis(price, plain, axis=1)[:, :, None]
    return np.asarray(scores - chosen + of_row - price[:, None, :])


def key_posteriors(
    scores: Array, prefixes: Sequence[Ids], alphabet: Alphabet, known: Mapping[int, int]
) -> list[KeyPosterior]:
    """Posteriors from what is known of each symbol by itself.

    Args:
        scores: [L, V, V] log probabilities that cipher symbol c stands for plain symbol p, up to a
            constant in each row.
        prefixes: L of them, what was read.
        alphabet: of both.
        known: cipher ids whose plain ids are given.

    Returns:
        Posteriors whose `marginals` are the balanced scores, and whose `map_key` has the largest
        sum of scores.
    """
    size = alphabet.size
    free = np.setdiff1d(np.arange(size), list(known))
    letters = np.setdiff1d(np.arange(size), list(known.values()))
    marginals = np.zeros_like(scores)
    marginals[:, list(known), list(known.values())] = 1.0
    occurs = np.array([np.bincount(prefix, minlength=size) > 0 for prefix in prefixes])
    scores = np.where(occurs[:, :, None], scores, 0.0)
    if len(free):
        within = np.ix_(np.arange(len(scores)), free, letters)
        marginals[within] = balance(scores[within])
    posteriors = []
    for row, score, seen in zip(marginals, scores, occurs, strict=True):
        level_unseen(row, free[~seen[free]])
        mapping = np.empty(size, np.uint8)
        mapping[list(known.values())] = list(known)
        cipher, plain = linear_sum_assignment(score[np.ix_(free, letters)], maximize=True)
        mapping[letters[plain]] = free[cipher]
        posteriors.append(KeyPosterior(alphabet, row, Key(alphabet, mapping), np.flatnonzero(seen)))
    return posteriors
