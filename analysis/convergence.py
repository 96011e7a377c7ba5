"""How fast the Bayes mixture over all keys becomes the language model that it mixes; and the
command `python -m analysis.convergence`, which draws it.

A text is drawn from a known language model p over d symbols and encrypted under a uniform key. The
mixture p'(x) = (1/d!) sum over keys of p(decrypt(x, key)) reads it without the key. Its predictions
are held against those of p with the key, at every position i:

- the L1 gap: sum over symbols c of |p'(c | x_<i) - p(c | x_<i, key)|;
- the Kullback-Leibler divergence of p' from p: the bits that symbol i is expected to cost more.

One of the d! terms is the true key's, so that the regret log p(x) - log p'(x) is at most ln d! for
every text. In the mean over texts the regret is the sum of the divergences, and by the inequalities
of Pinsker and Jensen the mean gap of the first n predictions is at most sqrt(2 ln(d!) / n). Huang
et al. 2023 (arXiv 2305.16349) state that some lexinvariant model converges to p at a uniform rate
polynomial in n, with a constant sublinear in d; the exponents are fitted here.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import entr, kl_div, softmax
from tqdm import tqdm

from analysis.intervals import CONFIDENCE, bootstrap_interval
from analysis.options import SEVERAL, add_out_option
from analysis.regret import ERRORS, log2_keys
from ciphers.alphabet import LETTERS_SPACE, Alphabet, Ids
from ciphers.corpora import Corpus, Document
from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.commands import Parser, at_least, leave, run
from decipher.exact.enumeration import enumerate_keys
from decipher.ngram import Level, NGramModel, load_ngram
from decipher.sampling.smc import SMCDecipherer

PROG = "python -m analysis.convergence"

SIZES = (3, 4, 5, 6, 7, 9, 13, 19, 27)
#: Contexts of a chain, and entropies as shares of log2 d. The first of each goes with all sizes;
#: the others are measured at one size, `VARIED`.
ORDERS = (1, 0, 2)
ENTROPIES = (0.5, 0.25, 0.75, 0.9)
VARIED = 6
#: The entropies that can be asked for, as shares of log2 d.
ENTROPY_RANGE = (0.05, 0.99)
#: The share of the uniform distribution in each transition: no chain falls apart into several, and
#: no probability is 0.
FLOOR = 1e-4
#: A chain has at most so many contexts: their stationary distribution is a dense linear system.
MAX_CONTEXTS = 1000
#: Up to so many symbols all keys are enumerated; past them SMC estimates.
EXACT = 7
#: A fifth of the default's work: the error of a text's evidence stays below the spread of texts.
SMC_SETTINGS: dict[str, Any] = {"particles": 400, "swaps": 100, "islands": 2, "rounds": 2}

#: What the command leaves.
TABLES = ("contexts", "exponents")
PICTURES = ("sizes", "vocabulary", "kinds")

#: Contexts of the table in each doubling.
PER_OCTAVE = 2
#: Exponents are fitted from this context on, one point in each doubling.
FIT_FROM = 16
#: Resamples of an exponent's interval.
RESAMPLES = 1999

Series = Literal["size", "kind", "n-gram"]
Array = NDArray[np.float64]


# --- language models ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Source:
    """Language models of one kind, from each of which texts are drawn.

    Attributes:
        label: what the kind is called.
        series: "size" for the chains that differ in d alone, "kind" for those of another order or
            entropy, "n-gram" for a table of English.
        models: all over one alphabet.
    """

    label: str
    series: Series
    models: Sequence[NGramModel]


def random_chain(
    alphabet: Alphabet, order: int, entropy: float, rng: np.random.Generator
) -> NGramModel:
    """A stationary Markov chain with random transitions and a given entropy rate.

    The next symbol's probabilities are proportional to exp(b z), but for a share `FLOOR` of the
    uniform distribution, with z a standard normal number for each context and symbol, and b solved
    for the entropy rate. Texts start from the stationary distribution.

    Args:
        alphabet: d symbols.
        order: symbols of context, 0 or more; the n-gram model has one order more.
        entropy: bits a symbol.
        rng: of z.

    Raises:
        InputError: the chain has too many contexts, or the entropy is not within `ENTROPY_RANGE`
            of log2 d.
    """
    size, (low, high) = alphabet.size, ENTROPY_RANGE
    if order < 0 or size**order > MAX_CONTEXTS:
        raise InputError(
            f"a chain of order {order} over {size} symbols has {size}^{order} contexts: take an "
            f"order of 0 or more with at most {MAX_CONTEXTS}"
        )
    share = entropy / math.log2(size)
    if not low <= share <= high:
        raise InputError(
            f"the entropy of a chain is {low} to {high} of log2 of its symbols, not {share:.3g}"
        )
    z = rng.standard_normal((size**order, size))

    def excess(b: float) -> float:
        return entropy_rate(_rows(b * z)) - entropy

    largest = 1.0
    while excess(largest) > 0:
        largest *= 2
    rows = _rows(brentq(excess, 0.0, largest, xtol=1e-10) * z)
    # The model's distributions of symbol 1, 2, ..., given those before it, and of all others.
    joint = stationary(rows).reshape([size] * order)
    starts = [joint.sum(axis=tuple(range(k, order))) for k in range(1, order + 1)]
    levels = [_level(each / each.sum(axis=-1, keepdims=True)) for each in starts]
    return NGramModel(alphabet, order + 1, (*levels, _level(rows)), tuple(levels))


def stationary(rows: Array) -> Array:
    """The stationary distribution [d^m] of the contexts of a chain, from the probabilities
    [d^m, d] of the symbol after each; contexts are numbered as n-gram codes are."""
    contexts, size = rows.shape
    before = np.arange(contexts)[:, None]
    transitions = np.zeros((contexts, contexts))
    np.add.at(transitions, (before, (before * size + np.arange(size)) % contexts), rows)
    # The left null vector of 1 - T, with the sum 1 in each of the equations.
    equations = np.eye(contexts) - transitions.T + 1.0
    return np.asarray(np.linalg.solve(equations, np.ones(contexts)), dtype=np.float64)


def entropy_rate(rows: Array) -> float:
    """Bits a symbol of the chain with the transitions [d^m, d], see `stationary`."""
    return float(stationary(rows) @ entr(rows).sum(axis=1) / math.log(2))


def _rows(logits: Array) -> Array:
    return np.asarray((1 - FLOOR) * softmax(logits, axis=1) + FLOOR / logits.shape[1])


def _level(probabilities: Array) -> Level:
    """The level of a back-off model that has a probability for every n-gram."""
    log_prob = np.log(probabilities).astype(np.float32).ravel()
    none = np.empty(0, np.int64)
    return Level(np.arange(log_prob.size), log_prob, none, np.empty(0, np.float32))


def chain_source(size: int, order: int, share: float, chains: int, seed: int) -> Source:
    """Random chains over `size` symbols with the entropy `share` of log2 d.

    The chains depend on these numbers and the seed alone, whatever else is measured.

    Raises:
        InputError: there are no so many symbols, or see `random_chain`.
    """
    if not 2 <= size <= LETTERS_SPACE.size:
        raise InputError(f"a chain has 2 to {LETTERS_SPACE.size} symbols, not {size}")
    alphabet = Alphabet(LETTERS_SPACE.symbols[:size], f"first-{size}")
    seeds = np.random.SeedSequence((seed, size, order, round(1e6 * share)))
    models = [
        random_chain(alphabet, order, share * math.log2(size), np.random.default_rng(each))
        for each in seeds.spawn(chains)
    ]
    return Source(f"d = {size}, order {order}, entropy {share:.0%}", "size", models)


def chain_sources(
    sizes: Sequence[int] = SIZES,
    orders: Sequence[int] = ORDERS,
    entropies: Sequence[float] = ENTROPIES,
    varied: int = VARIED,
    chains: int = 10,
    seed: int = 0,
) -> list[Source]:
    """The chains of the study.

    Args:
        sizes: d of the chains with the first order and the first entropy.
        orders, entropies: the further ones are taken at `varied` symbols, one changed at a time;
            entropies are shares of log2 d.
        varied: d of those.
        chains: of each kind.
        seed: of all of them.

    Raises:
        InputError: see `chain_source`.
    """
    (order, *others), (share, *shares) = orders, entropies
    found = [chain_source(size, order, share, chains, seed) for size in sizes]
    kinds = [(other, share) for other in others] + [(order, other) for other in shares]
    for kind in kinds:
        source = chain_source(varied, *kind, chains, seed)
        found.append(Source(source.label, "kind", source.models))
    return found


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reading:
    """What the mixture says of one text [n] of a model whose key it does not have.

    Attributes:
        gap: [n]; entry i is the L1 gap of the predictions of symbol i from those before it, 0 to 2.
        kl: [n] the divergences of the same predictions, bits.
        regret: [n] log2 p - log2 p' of the first i + 1 symbols, bits.
        error: [n] the standard errors of the regrets, bits; 0 where they are exact.
        entropy: of the model's own predictions, their mean over the text, bits.
    """

    gap: Array
    kl: Array
    regret: Array
    error: Array
    entropy: float


@dataclass(frozen=True, eq=False)
class Readings:
    """The readings of N texts of a source.

    Attributes:
        source: where they are from.
        exact: whether all keys were enumerated.
        model: [N] which of the source's models each text was drawn from.
        plaintext: [N, n] the texts.
        gap, kl, regret, error: [N, n] see `Reading`.
        entropy: [N] see `Reading`.
    """

    source: Source
    exact: bool
    model: NDArray[np.intp]
    plaintext: Ids
    gap: Array
    kl: Array
    regret: Array
    error: Array
    entropy: Array

    @property
    def size(self) -> int:
        """d, the number of symbols."""
        return self.source.models[0].alphabet.size

    def units(self, values: Array) -> Array:
        """The independent rows among `values` [N, ...]: means over the texts of each model,
        [M, ...], or, where there is only one model, `values` itself."""
        if len(self.source.models) == 1:
            return values
        return np.stack([values[self.model == m].mean(axis=0) for m in np.unique(self.model)])


def read_text(
    model: NGramModel, plaintext: Ids, key: Key, rng: np.random.Generator, *, exact: bool
) -> Reading:
    """Encrypt a text [n] and let the mixture read it.

    Args:
        model: p.
        plaintext: [n] ids, from wherever.
        key: to encrypt with.
        rng: of SMC.
        exact: whether to enumerate all keys, rather than estimate by annealed SMC.

    Raises:
        InputError: there is no text, or too many keys to enumerate.
    """
    ciphertext = key.encrypt(plaintext)
    conditionals = np.exp(model.log_conditionals(plaintext)[:-1])
    truth = conditionals[:, key.inverse.mapping]  # column c: of cipher symbol c
    if exact:
        found = enumerate_keys(model, ciphertext)
        predictive, log_evidence = found.predictive[:-1], found.log_evidence
        error = np.zeros(len(log_evidence))
    else:
        prediction = SMCDecipherer(model, rng, **SMC_SETTINGS).predict(ciphertext)
        predictive, log_evidence = prediction.predictive, prediction.log_evidence
        error = prediction.log_evidence_error
    bits = math.log(2)
    return Reading(
        np.abs(predictive - truth).sum(axis=1),
        # Like x log(x/y) in the sum over symbols, but each term is 0 or more up to rounding.
        kl_div(truth, predictive).sum(axis=1) / bits,
        (model.log_prob(plaintext).cumsum() - log_evidence[1:]) / bits,
        error[1:] / bits,
        float(entr(conditionals).sum(axis=1).mean() / bits),
    )


def measure(
    sources: Sequence[Source],
    texts: int = 1,
    length: int = 156,
    seed: int = 0,
    *,
    exact: int = EXACT,
    jobs: int | None = None,
    progress: bool | None = None,
) -> list[Readings]:
    """Draw texts from language models, encrypt them under uniform keys, and let the mixture read
    them.

    Args:
        sources: where the texts are from.
        texts: of each model.
        length: n, symbols in each.
        seed: of texts, keys and SMC; the numbers of a text depend on it, the source's label, and
            the numbers of the model and the text, whatever else is measured.
        exact: up to so many symbols, all keys are enumerated.
        jobs: texts to read at a time, -1 for one a core; the result does not depend on it.
        progress: whether to show a bar; by default where standard error is a terminal.

    Returns:
        One entry for each source.

    Raises:
        InputError: a number makes no sense, a label is used twice, there are too many keys to
            enumerate, or a model's table is too large for SMC.
    """
    import joblib

    if not sources or texts < 1 or length < 1:
        raise InputError(
            f"there is nothing to read in {texts} texts of {length} symbols from each model of "
            f"{len(sources)} kinds: take 1 or more of each"
        )
    for label, count in Counter(source.label for source in sources).items():
        if count > 1:
            raise InputError(f"{label} is named {count} times: name each kind of model once")
    tasks = [
        (source, model, text)
        for source in sources
        for model in range(len(source.models))
        for text in range(texts)
    ]
    found: dict[str, list[tuple[int, Ids, Reading]]] = {source.label: [] for source in sources}
    read = partial(_draw_and_read, length=length, seed=seed, exact=exact)
    # The compiled loops and large sums release the GIL, so threads serve.
    readings = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
        joblib.delayed(read)(*task) for task in tasks
    )
    disable = None if progress is None else not progress
    with tqdm(total=len(tasks), desc="reading", unit="text", disable=disable) as bar:
        for (source, model, _), (plaintext, reading) in zip(tasks, readings, strict=True):
            found[source.label].append((model, plaintext, reading))
            bar.update()
    return [_together(source, found[source.label], exact) for source in sources]


def _draw_and_read(
    source: Source, number: int, text: int, *, length: int, seed: int, exact: int
) -> tuple[Ids, Reading]:
    """Text `text` of the model `number` of `source`, and its reading."""
    words = [seed, number, text, *source.label.encode()]
    drawing, reading = (np.random.default_rng(s) for s in np.random.SeedSequence(words).spawn(2))
    model = source.models[number]
    plaintext = model.sample(length, 1, drawing)[0]
    key = Key.random(model.alphabet, drawing)
    few = model.alphabet.size <= exact
    return plaintext, read_text(model, plaintext, key, reading, exact=few)


def _together(source: Source, read: Sequence[tuple[int, Ids, Reading]], exact: int) -> Readings:
    models, texts, readings = zip(*read, strict=True)
    return Readings(
        source,
        source.models[0].alphabet.size <= exact,
        np.array(models, np.intp),
        np.stack(texts),
        np.stack([reading.gap for reading in readings]),
        np.stack([reading.kl for reading in readings]),
        np.stack([reading.regret for reading in readings]),
        np.stack([reading.error for reading in readings]),
        np.array([reading.entropy for reading in readings]),
    )


# --- summing up ---------------------------------------------------------------------------------


def gap_bound(size: int, n: NDArray[np.int64]) -> Array:
    """sqrt(2 ln(d!) / n): in the mean over texts of any language model over `size` symbols, the
    mean L1 gap of the mixture's first `n` predictions is no larger."""
    return np.asarray(np.sqrt(2 * math.log(2) * log2_keys(size) / n))


def running_mean(gap: Array) -> Array:
    """The means of the first 1, 2, ..., n entries along the last axis."""
    return np.asarray(gap.cumsum(axis=-1) / np.arange(1, gap.shape[-1] + 1))


def context_frame(readings: Sequence[Readings], contexts: Sequence[int]) -> pd.DataFrame:
    """Sum up over the texts of each source.

    Args:
        readings: what `measure` gives.
        contexts: numbers n of symbols, from 1.

    Returns:
        One row for each source and context, with the columns

        - source, series, size, order, entropy_bits: of the language models; the entropy is the
          mean over the texts;
        - method: enumeration or SMC; models, texts: how many;
        - context: n;
        - gap: the L1 gap of prediction n, which is made from the n - 1 symbols before it;
        - mean_gap: the mean of the first n; mean_gap_worst: the same of the model for which it is
          largest; mean_gap_bound: sqrt(2 ln(d!) / n);
        - regret_bits: the mean of log2 p - log2 p' of the first n symbols, which estimates the
          cumulative divergence; regret_bits_largest: of a single text; bound_bits: log2 d!, which
          no text can pass;
        - kl_bits: the mean of the sums of the first n divergences themselves. It has the same
          expectation, and comes from the predictions alone, but no bound for a single text, and is
          by far the noisier where the regret is near its bound;
        - error_bits: the root mean square of the standard errors of the regrets;
        - above: the texts whose regret is above the bound by more than `analysis.regret.ERRORS`
          standard errors: each one is a mistake;
        - ..._low, ..._high, of gap, mean_gap, kl_bits and regret_bits: the ends of the 95 %
          interval (percentile bootstrap over models, or over texts where there is one model).

    Raises:
        InputError: a context is not within the texts.
    """
    rows = []
    for each in readings:
        n = each.gap.shape[1]
        bound = log2_keys(each.size)
        curves = {
            "gap": each.units(each.gap),
            "mean_gap": each.units(running_mean(each.gap)),
            "kl_bits": each.units(each.kl.cumsum(axis=1)),
            "regret_bits": each.units(each.regret),
        }
        for context in contexts:
            if not 1 <= context <= n:
                raise InputError(f"a context of {context} is not within texts of {n} symbols")
            at = context - 1
            error = each.error[:, at]
            rows.append(
                {
                    "source": each.source.label,
                    "series": each.source.series,
                    "size": each.size,
                    "order": each.source.models[0].order - 1,
                    "entropy_bits": each.entropy.mean(),
                    "method": "enumeration" if each.exact else "SMC",
                    "models": len(each.source.models),
                    "texts": len(each.gap),
                    "context": context,
                    **_means({name: units[:, at] for name, units in curves.items()}),
                    "mean_gap_worst": curves["mean_gap"][:, at].max(),
                    "mean_gap_bound": float(gap_bound(each.size, np.array(context))),
                    "regret_bits_largest": each.regret[:, at].max(),
                    "bound_bits": bound,
                    "error_bits": math.sqrt(np.mean(error**2)),
                    "above": int(np.sum(each.regret[:, at] - ERRORS * error > bound + 1e-6)),
                }
            )
    return pd.DataFrame(rows)


def _means(values: dict[str, Array]) -> dict[str, float]:
    """The mean of each of `values` [M], and the ends of its interval."""
    columns: dict[str, float] = {}
    for name, each in values.items():
        low, high = bootstrap_interval(each)
        columns |= {name: float(each.mean()), f"{name}_low": low, f"{name}_high": high}
    return columns


def exponent_frame(readings: Sequence[Readings], contexts: Sequence[int]) -> pd.DataFrame:
    """Fit powers of n and d: least squares on the logarithms of means over texts.

    Args:
        readings: what `measure` gives; powers of d are fitted to the series "size".
        contexts: the values of n, two at least.

    Returns:
        One row for each fit and exponent, with the columns

        - quantity: "mean L1 gap", or "cumulative KL" as the mean regret; see `context_frame`;
        - along: "n" or "d", whose exponent it is; at: the source or the context that the fit is
          for, "all" for the one fit in n and d together, a n^alpha d^beta; points: of the fit;
        - exponent, exponent_low, exponent_high: and its 95 % interval (percentile bootstrap over
          models, or over texts where there is one model, each source by itself; not a number for a
          single one, or where the quantity is not certainly above 0);
        - bound_exponent: that of the bound at the same points.

    Raises:
        InputError: there are fewer than two contexts.
    """
    if len(set(contexts)) < 2:
        raise InputError("no exponent can be fitted to a single context: take longer texts")
    n = np.array(contexts)
    quantities: dict[str, Callable[[Readings], Array]] = {
        "mean L1 gap": lambda each: each.units(running_mean(each.gap)),
        "cumulative KL": lambda each: each.units(each.regret),
    }
    line = [each for each in readings if each.source.series == "size"]
    sizes = np.array([each.size for each in line])
    rows = []
    for quantity, curve in quantities.items():

        def bounds(of: Sequence[Readings], quantity: str = quantity) -> Array:
            if quantity == "mean L1 gap":
                return np.stack([gap_bound(each.size, n) for each in of])
            return np.stack([np.full(len(n), log2_keys(each.size)) for each in of])

        for each in readings:
            at = {"quantity": quantity, "along": "n", "at": each.source.label}
            fit = _fit([curve(each)[:, n - 1]], [np.log(n)], bounds([each]), 0)
            rows.append(at | fit)
        if len(set(sizes)) < 2:
            continue
        units = [curve(each)[:, n - 1] for each in line]
        for i, context in enumerate(contexts):
            at = {"quantity": quantity, "along": "d", "at": f"n = {context}"}
            these = [each[:, i : i + 1] for each in units]
            rows.append(at | _fit(these, [np.log(sizes)], bounds(line)[:, i : i + 1], 0))
        both = [np.tile(np.log(n), len(sizes)), np.repeat(np.log(sizes), len(n))]
        for i, along in enumerate("nd"):
            at = {"quantity": quantity, "along": along, "at": "all"}
            rows.append(at | _fit(units, both, bounds(line), i))
    return pd.DataFrame(rows)


def _fit(
    units: Sequence[Array], logs: Sequence[Array], bounds: Array, which: int
) -> dict[str, float]:
    """The exponent of one of several factors.

    Args:
        units: for each of S sources, its independent values [M, C] at C places.
        logs: for each factor, its logarithm [S * C] at the places of all sources.
        bounds: [S, C] of the values.
        which: of the factors.
    """
    design = np.column_stack([np.ones(len(logs[0])), *logs])
    weights = np.linalg.pinv(design)[1 + which]

    def exponent(*chosen: NDArray[np.intp], axis: int = -1) -> Any:
        # [..., M] numbers of units, for each source.
        means = [of[rows].mean(axis=axis - 1) for of, rows in zip(units, chosen, strict=True)]
        points = np.concatenate(means, axis=-1)
        return np.log(points, out=np.full_like(points, np.nan), where=points > 0) @ weights

    everyone = tuple(np.arange(len(each)) for each in units)
    low = high = math.nan
    if min(map(len, everyone)) > 1:
        with warnings.catch_warnings():
            # It says that the interval is not a number, as it is to be where a logarithm is not.
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            interval = stats.bootstrap(
                everyone,
                exponent,
                n_resamples=RESAMPLES,
                vectorized=True,
                confidence_level=CONFIDENCE,
                method="percentile",
                rng=np.random.default_rng(0),
            ).confidence_interval
        low, high = interval.low, interval.high
    return {
        "points": len(weights),
        "exponent": float(exponent(*everyone)),
        "exponent_low": float(low),
        "exponent_high": float(high),
        "bound_exponent": float(np.log(bounds).ravel() @ weights),
    }


def table_contexts(length: int) -> list[int]:
    """1 to `length`, `PER_OCTAVE` in each doubling as far as whole numbers go, and the last."""
    octaves = np.arange(math.floor(PER_OCTAVE * math.log2(length)) + 1) / PER_OCTAVE
    return sorted({*np.rint(2.0**octaves).astype(int).tolist(), length})


def fit_contexts(length: int) -> list[int]:
    """Powers of two from `FIT_FROM` to `length`; shorter ones where there would not be two."""
    powers = [1 << k for k in range(length.bit_length())]
    late = [n for n in powers if n >= FIT_FROM]
    return late if len(late) > 1 else powers


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how fast the Bayes mixture over all keys converges to the language "
        "model that it mixes, for random Markov chains and an n-gram table; write the tables and "
        "draw the figures.",
        epilog=SEVERAL,
    )
    parser.add_argument(
        "--sizes",
        metavar="D",
        nargs="+",
        action="extend",
        type=at_least(2),
        help=f"symbols of the chains (default: {' '.join(map(str, SIZES))})",
    )
    parser.add_argument(
        "--orders",
        metavar="N",
        nargs="+",
        action="extend",
        type=at_least(0),
        help="symbols of context of the chains: the first for all sizes, the others at one "
        f"(default: {' '.join(map(str, ORDERS))})",
    )
    parser.add_argument(
        "--entropies",
        metavar="SHARE",
        nargs="+",
        action="extend",
        type=float,
        help="entropies of the chains, as shares of log2 of their symbols: the first for all "
        f"sizes, the others at one (default: {' '.join(map(str, ENTROPIES))})",
    )
    parser.add_argument(
        "--varied",
        metavar="D",
        type=at_least(2),
        default=VARIED,
        help="the size with the other orders and entropies (default: %(default)s)",
    )
    parser.add_argument(
        "--chains",
        metavar="N",
        type=at_least(1),
        default=10,
        help="random chains of each kind (default: %(default)s)",
    )
    parser.add_argument(
        "--texts",
        metavar="N",
        type=at_least(1),
        default=1,
        help="texts of each chain (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        metavar="N",
        type=at_least(2),
        default=256,
        help="symbols in each text (default: %(default)s)",
    )
    parser.add_argument(
        "--ngram",
        metavar="NAME|PATH",
        default="letters-space",
        help="the n-gram table; as many texts are drawn from it as from all chains of a kind "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--no-ngram", action="store_true", help="leave the n-gram table out, which is the slowest"
    )
    parser.add_argument(
        "--exact",
        metavar="D",
        type=at_least(1),
        default=EXACT,
        help="enumerate all keys up to so many symbols, and use SMC past them (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same chains, texts and results (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=at_least(1),
        help="texts to read at a time (default: one a core)",
    )
    add_out_option(parser, "results/convergence")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from analysis.results import check_outputs, describe_run, write_table

    said: dict[str, Any] = {
        "sizes": sorted({*(arguments.sizes or SIZES)}),
        "orders": list(dict.fromkeys(arguments.orders or ORDERS)),
        "entropies": list(dict.fromkeys(arguments.entropies or ENTROPIES)),
        "varied": arguments.varied,
        "chains": arguments.chains,
        "texts": arguments.texts,
        "length": arguments.length,
        "exact": arguments.exact,
        "smc": SMC_SETTINGS,
        "jobs": arguments.jobs or -1,
    }
    ngram = None if arguments.no_ngram else load_ngram(arguments.ngram)
    sources = chain_sources(
        said["sizes"],
        said["orders"],
        said["entropies"],
        arguments.varied,
        arguments.chains,
        arguments.seed,
    )
    check_outputs(arguments.out, TABLES, PICTURES)

    read = partial(
        measure,
        length=arguments.length,
        seed=arguments.seed,
        exact=arguments.exact,
        jobs=arguments.jobs or -1,
    )
    readings = read(sources, arguments.texts)
    if ngram is not None:
        # It is one model: its texts are what chains are to the others.
        source = Source(f"{ngram.alphabet} {ngram.order}-grams", "n-gram", [ngram])
        readings += read([source], arguments.chains * arguments.texts)
    table = context_frame(readings, table_contexts(arguments.length))
    exponents = exponent_frame(readings, fit_contexts(arguments.length))
    record = describe_run(said, arguments.seed, _drawn(readings), ngram)
    for frame, name in zip((table, exponents), TABLES, strict=True):
        write_table(frame, arguments.out / f"{name}.csv", record)
    _draw(table, [arguments.out / f"{name}.png" for name in PICTURES], arguments.varied)
    _print(table, exponents)
    print(f"tables, records and figures: {arguments.out}")


def _drawn(readings: Sequence[Readings]) -> Corpus:
    """The texts as a corpus, whose hash goes into the record."""
    documents = [
        Document(f"{each.source.label}, text {i}", each.source.models[0].alphabet.decode(text))
        for each in readings
        for i, text in enumerate(each.plaintext)
    ]
    return Corpus("drawn from the language models", tuple(documents))


def _draw(table: pd.DataFrame, paths: Sequence[Path], varied: int) -> None:
    from analysis.figures import plot_convergence, plot_vocabulary, save_figure

    sizes = sorted(table.loc[table["series"] == "size", "size"].unique())
    # All of them would hide each other.
    some = (table["series"] == "size") & table["size"].isin(sizes[::2])
    save_figure(plot_convergence(table[some | (table["series"] == "n-gram")]), paths[0])
    save_figure(plot_vocabulary(table), paths[1])
    kinds = table[(table["series"] != "n-gram") & (table["size"] == varied)]
    save_figure(plot_convergence(kinds), paths[2])


def _print(table: pd.DataFrame, exponents: pd.DataFrame) -> None:
    columns = ["source", "method", "texts", "mean_gap", "mean_gap_bound"]
    columns += ["kl_bits", "regret_bits", "bound_bits", "error_bits", "above"]
    last = table[table["context"] == table["context"].max()]
    text = last[columns].to_string(index=False, float_format="{:.3g}".format)
    print(f"After {last['context'].iloc[0]} symbols\n{text}")
    text = exponents.to_string(index=False, float_format="{:.2f}".format, na_rep="-")
    print(f"Fitted exponents\n{text}")


if __name__ == "__main__":
    leave(main())
