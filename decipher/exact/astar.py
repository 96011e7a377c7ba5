"""The most probable key under an n-gram model, with a proof that no key is better.

The n-gram search finds a key; what is left is to prove that it is the best, by best-first search
(A*) over partial keys as in Corlett and Penn (ACL 2010). Their bound reads the text with a Viterbi
pass in which each letter is free at each place; here each node is the dual ascent of
`decipher.exact.relaxation`, warm from its parent's. It is so tight that a handful of letters fixed,
and often none, closes the proof.

Where the budget ends first, the highest bound of the nodes that are left is still above every key.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.exact.relaxation import Relaxation, relax
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior, check_known, check_prefixes
from decipher.search import NGramDecipherer

#: Keys are told apart by this much, nats: a certified key is the best but for this.
TOLERANCE = 1e-6
#: A node is branched when so many times what the bound fell in the last `WINDOW` rounds would not
#: close its gap: the letters of a frequent symbol fall quickly each on its own.
PATIENCE = 2.0
WINDOW = 4
#: A problem is packed anew when no more than this share of its letters is left.
PACKED = 0.9


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proven of the keys of a ciphertext.

    Attributes:
        plain: [V], the best key found, read backwards: the plain id of each cipher id.
        log_prob: the log probability of the text that it gives, nats.
        upper_bound: no key gives a higher one, nats; at least `log_prob`.
        certified: whether the proof is complete: no key is better by more than `TOLERANCE`.
        nodes: partial keys that were bounded.
        rounds: of the dual ascent, all nodes together.
    """

    plain: NDArray[np.uint8]
    log_prob: float
    upper_bound: float
    certified: bool
    nodes: int
    rounds: int


@dataclass(frozen=True, eq=False)
class AStarDecipherer:
    """Finds the most probable key under an n-gram model and proves that it is.

    Its marginals are the permutation matrix of the key. The posterior's `info` holds "certified",
    "upper_bound" and "gap" (the upper bound less `map_log_prob`), nats, "nodes" and "rounds" as in
    `Certificate`, and "seconds", the time it took.

    Attributes:
        model: the language model of the plaintext; its dense table must fit (see
            `NGramModel.table`). Orders 1 to 3 are quick; each further one costs V times as much.
        rng: where the search for the key draws from; the proof draws nothing.
        known: cipher ids whose plain ids are given; only keys that keep them count.
        nodes: partial keys to bound for each prefix, at most. With `seconds` infinite, the result
            does not depend on the machine.
        seconds: for each prefix, at most, the search for the key (which is never cut short)
            included. What is proven when it ends depends on the machine.
    """

    model: NGramModel
    rng: np.random.Generator
    known: Mapping[int, int] | None = None
    nodes: int = 10_000
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise InputError(f"nodes must be at least 1, not {self.nodes}")
        if not self.seconds >= 0:
            raise InputError(f"seconds must be at least 0, not {self.seconds}")
        check_known(self.known, self.model.alphabet)

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; each prefix is deciphered on its own."""
        prefixes = check_prefixes(ciphertext, lengths, self.model.alphabet)
        return [self._posterior(prefix) for prefix in prefixes]

    def _posterior(self, prefix: NDArray[np.uint8]) -> KeyPosterior:
        begin = time.perf_counter()
        known = check_known(self.known, self.model.alphabet)
        search = NGramDecipherer(self.model, self.rng, known, population=1, steps=1)
        (likely,) = search.posteriors(prefix, [len(prefix)])
        plain = likely.map_key.inverse.mapping
        left = begin + self.seconds - time.perf_counter()
        found = certify(self.model, prefix, plain, known, nodes=self.nodes, seconds=left)
        size = self.model.alphabet.size
        return KeyPosterior(
            self.model.alphabet,
            np.eye(size)[found.plain],
            Key(self.model.alphabet, found.plain).inverse,
            likely.seen,
            map_log_prob=found.log_prob,
            info={
                "certified": found.certified,
                "upper_bound": found.upper_bound,
                "gap": found.upper_bound - found.log_prob,
                "nodes": found.nodes,
                "rounds": found.rounds,
                "seconds": time.perf_counter() - begin,
            },
        )


def certify(
    model: NGramModel,
    text: NDArray[np.uint8],
    plain: NDArray[np.uint8],
    known: Mapping[int, int] | None = None,
    *,
    nodes: int = 10_000,
    seconds: float = 30.0,
) -> Certificate:
    """Prove that a key is the most probable one, or find a better one, as far as the budget goes.

    Args:
        model: the language model of the plaintext.
        text: [n] cipher ids, at least one.
        plain: [V], the best key that is known, read backwards: the plain id of each cipher id. The
            better it is, the sooner the proof is done.
        known: cipher ids whose plain ids are given; `plain` keeps them.
        nodes, seconds: the budget; see `AStarDecipherer`.
    """
    proof = _Proof(model, text, plain, known or {}, time.perf_counter() + seconds)
    while proof.open and proof.nodes < nodes and time.perf_counter() < proof.deadline:
        proof.expand()
    return proof.certificate()


@dataclass(frozen=True, order=True)
class _Node:
    """A partial key to be bounded: its parent's problem with one more symbol given.

    Attributes:
        priority: what is proven of the bound, in steps, negated; then the age of the node.
        problem: the parent's; the node's own where it gives no symbol.
        live: what the parent's problem leaves each symbol.
        given: the symbol, and the place of its letter; None where there is no more to give.
    """

    priority: tuple[float, int]
    problem: Relaxation = field(compare=False)
    live: NDArray[np.bool_] = field(compare=False)
    given: tuple[int, int] | None = field(compare=False, default=None)

    @property
    def bound(self) -> float:
        return -self.priority[0]


class _Proof:
    """The state of one best-first search. `open` are nodes that may hold a better key, a heap."""

    def __init__(
        self,
        model: NGramModel,
        text: NDArray[np.uint8],
        plain: NDArray[np.uint8],
        known: Mapping[int, int],
        deadline: float,
    ) -> None:
        self.model = model
        self.text = text
        self.deadline = deadline
        self.nodes = self.rounds = 0
        root = relax(model, text, known)
        self.scale = root.problem.scale
        self.plain = plain
        self.log_prob = self.score(plain)
        self.open: list[_Node] = []
        self.ages = itertools.count()
        self.push(root.bound, root, root.live)

    @property
    def cut(self) -> float:
        """What a key must exceed to be better, in steps."""
        return float(np.floor((self.log_prob + TOLERANCE) * self.scale))

    def score(self, plain: NDArray[np.uint8]) -> float:
        return float(self.model.log_prob(plain[self.text]).sum())

    def push(
        self,
        bound: float,
        problem: Relaxation,
        live: NDArray[np.bool_],
        given: tuple[int, int] | None = None,
    ) -> None:
        if bound > self.cut:
            heapq.heappush(self.open, _Node((-bound, next(self.ages)), problem, live, given))

    def expand(self) -> None:
        """Bound the most promising node, and branch it where that does not close it."""
        node = heapq.heappop(self.open)
        self.nodes += 1
        problem = node.problem
        if node.given is not None:
            problem = problem.given(node.live, *node.given)
            if not problem.sizes.all():
                return
        recent = [problem.bound]
        while problem.bound > self.cut:
            if (problem.sizes == 1).all():
                self.meet(problem)
                return
            exact = self.share(problem)
            if exact is None:
                self.push(problem.bound, problem, problem.live)
                return
            problem.assign()
            self.rounds += 1
            live = problem.strike(self.cut)
            if not live.any(axis=1).all():
                return
            if live.sum() <= PACKED * problem.sizes.sum() or live.sum() == len(live):
                problem = problem.restrict(live)
                live = problem.live
            recent = [*recent[-WINDOW:], problem.bound]
            fell = recent[0] - recent[-1]
            if not exact or (len(recent) > WINDOW and PATIENCE * fell < problem.bound - self.cut):
                self.branch(problem, live)
                return
            problem.spread()

    def share(self, problem: Relaxation) -> bool | None:
        """`Relaxation.share_factors` for all factors, or None where the time was over before."""
        exact = True
        count = len(problem.problem.factors.times)
        for first in range(0, count, problem.chunk):
            if time.perf_counter() >= self.deadline:
                return None
            exact &= problem.share_factors(first, min(count, first + problem.chunk))
        return exact

    def meet(self, problem: Relaxation) -> None:
        """Take the one key that a problem leaves, if it is better."""
        plain = np.empty(problem.problem.size, np.uint8)
        letters = problem.letters[:, 0]
        symbols = problem.problem.symbols
        plain[symbols] = letters
        everything = np.arange(len(plain))
        plain[np.setdiff1d(everything, symbols)] = np.setdiff1d(everything, letters)
        score = self.score(plain)
        if score > self.log_prob:
            self.plain, self.log_prob = plain, score

    def branch(self, problem: Relaxation, live: NDArray[np.bool_]) -> None:
        """Open a node for each letter of the symbol whose letters are fewest, each counted by the
        share of the gap that it leaves."""
        gap = problem.bound - self.cut
        left = np.where(live, np.maximum(0.0, 1.0 + problem.single / gap), 0.0).sum(axis=1)
        left[live.sum(axis=1) == 1] = np.inf
        symbol = int(np.argmin(left))
        for place in np.flatnonzero(live[symbol]):
            bound = problem.bound + problem.single[symbol, place]
            self.push(bound, problem, live, (symbol, int(place)))

    def certificate(self) -> Certificate:
        """What is proven by now."""
        bounds = [node.bound for node in self.open if node.bound > self.cut]
        return Certificate(
            self.plain,
            self.log_prob,
            max([self.cut + 1, *bounds]) / self.scale,
            not bounds,
            self.nodes,
            self.rounds,
        )
