"""The compiled Metropolis chains over homophonic keys; see `decipher.kernels` for the technique.

A move gives one cipher symbol another letter, or swaps the letters of two. Either changes only the
windows that hold one of the symbols concerned, and moves their codes by multiples of the step from
one letter to the other; so both kinds share one list, in which the entry of a symbol paired with
itself stands for giving it another letter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int32, int64, uint32, uint64

from decipher.kernels import Array, _accepts, _below, _gain, _random, _read, _shift, compiled


@compiled
def sample(
    table: Array,
    table_step: float,
    guide: Any,
    full: Any,
    log_choice: Array,
    log_prior: Array,
    counts: Array,
    keys: Array,
    free: Array,
    weights: Array,
    steps: int,
    state: Array,
    occupancy: Array,
    accepted: Array,
) -> None:
    """Run a Metropolis chain from each key of `keys` [P, C], in place.

    The chain of key i samples the density

        prior(key) exp(w[0] guide(key) + w[1] full(key) + (w[0] + w[1]) choice(key)), w = weights[i]

    with delayed acceptance as in `kernels.sample`: prior and choice are dealt with in the first
    stage, beside the guide.

    Args:
        table: n-gram scores, in units of `table_step` nats.
        guide, full: `Windows` whose pairs (c, c) list the windows that hold c, with their
            coefficients; full is not read where its weight is 0.
        log_choice: [C + 1, n + 1] what the choice of homophones of a letter contributes, by the
            number of its homophones and of its occurrences; nats.
        log_prior: [V, C + 1] what a letter contributes by the number of its homophones; nats.
        counts: [C] how often each cipher symbol occurs.
        free: [F] the cipher symbols that may change their letter.
        weights: [P, 2].
        steps: moves tried by each chain. A move draws a free symbol, and one of the V letters, to
            give it, or of the F free symbols, to swap letters with; all alike.
        occupancy: [C, V]; adds the number of steps for which cipher symbol c stood for plain
            symbol p, over all chains.
        accepted: [P]; filled with the number of accepted moves.
    """
    symbols = keys.shape[1]
    letters = log_prior.shape[0]
    code = np.empty(len(guide.base), np.int32)
    score = np.empty(len(guide.base), np.int32)
    full_code = np.empty(len(full.base), np.int32)
    full_score = np.empty(len(full.base), np.int32)
    homophones = np.empty(letters, np.int64)
    occurrences = np.empty(letters, np.int64)
    since = np.empty(symbols, np.int64)  # the step from which a symbol's meaning is not counted
    for i in range(keys.shape[0]):
        plain = keys[i]
        power = weights[i, 0] + weights[i, 1]
        beta = weights[i, 1]
        _read(table, guide.base, guide.times, guide.places, plain, letters, code, score)
        if beta != 0.0:
            _read(table, full.base, full.times, full.places, plain, letters, full_code, full_score)
        homophones[:] = 0
        occurrences[:] = 0
        for c in range(symbols):
            homophones[plain[c]] += 1
            occurrences[plain[c]] += counts[c]
        since[:] = 0
        moves = int64(0)
        for step in range(steps):
            bits = _random(state)
            a = uint32(free[_below(bits, uint64(len(free)))])
            other = _below(bits >> uint64(32), uint64(letters + len(free)))
            p = uint32(plain[a])
            if other < uint64(letters):
                b = a
                q = uint32(other)
                one = int64(1)
                many = int64(counts[a])
            else:
                b = uint32(free[other - uint64(letters)])
                q = uint32(plain[b])
                one = int64(0)
                many = int64(counts[a] - counts[b])
            if p == q:
                continue
            n, m = homophones[p], homophones[q]
            change = (
                log_choice[n - one, occurrences[p] - many]
                - log_choice[n, occurrences[p]]
                + log_choice[m + one, occurrences[q] + many]
                - log_choice[m, occurrences[q]]
            ) * power + (
                log_prior[p, n - one] - log_prior[p, n] + log_prior[q, m + one] - log_prior[q, m]
            )
            d = int32(q) - int32(p)
            if a > b:
                d = -d
            lo, hi = guide.bounds[a, b, 0], guide.bounds[a, b, 1]
            gain = _gain(table, guide.times, guide.entries, code, score, lo, hi, d)
            if not _accepts(gain * table_step * power + change, state):
                continue
            if beta != 0.0:
                first, last = full.bounds[a, b, 0], full.bounds[a, b, 1]
                entries = full.entries
                more = _gain(table, full.times, entries, full_code, full_score, first, last, d)
                if not _accepts((more - gain) * table_step * beta, state):
                    continue
                _shift(table, entries, full_code, full_score, first, last, d)
            _shift(table, guide.entries, code, score, lo, hi, d)
            occupancy[a, p] += step - since[a]
            since[a] = step
            plain[a] = q
            if b != a:
                occupancy[b, q] += step - since[b]
                since[b] = step
                plain[b] = p
            homophones[p] -= one
            homophones[q] += one
            occurrences[p] -= many
            occurrences[q] += many
            moves += 1
        for c in range(symbols):
            occupancy[c, plain[c]] += steps - since[c]
        accepted[i] = moves
