"""How often decipherers are right, against the length of the ciphertext."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.samples import cryptograms
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import Decipherer, Rule


class Factory(Protocol):
    """Makes a decipherer that takes all its random numbers from `rng`."""

    def __call__(self, *, rng: np.random.Generator) -> Decipherer: ...


Contestant = str | Decipherer | Factory
"""What can be measured: a name known to `make_decipherer`, a decipherer that draws no random
numbers, or a factory of one that does (each ciphertext gets a generator of its own)."""

TOLERANCE = 1e-6
"""Nats by which a key may score below the true key before the search counts as failed."""

CHUNK = 10
"""Ciphertexts a task: few enough to spread over a cluster, enough to outweigh the sending."""

CONFIDENCE = 0.95
RESAMPLES = 9999

PROPORTIONS = ("exact_rate", "search_failure_rate")
MEANS = ("token_accuracy", "key_accuracy")
SUMMARY_COLUMNS = (
    "decipherer",
    "length",
    "ciphers",
    "token_accuracy",
    "key_accuracy",
    "exact_rate",
    "search_failure_rate",
    "seconds",
    *(f"{rate}_{end}" for rate in (*MEANS, *PROPORTIONS) for end in ("low", "high")),
)


def accuracy_curve(
    decipherers: Iterable[str] | Mapping[str, Contestant],
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    lengths: Sequence[int],
    ciphers: int = 200,
    seed: int = 0,
    *,
    model: NGramModel | None = None,
    rule: Rule = "map",
    fixed: str = "",
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Measure decipherers on the same ciphertexts and sum up: `summarise(measure(...))`.

    To measure a decipherer of your own beside a built-in one, give both a label:

        accuracy_curve({"n-gram": "ngram", "probe": probe}, corpus.test, LETTERS, [32, 64, 128])

    The ciphertexts are shared out over `jobs` threads. To use processes or a cluster instead,
    choose another backend of joblib around the call; the numbers stay the same:

        with joblib.parallel_config(backend="loky", n_jobs=8):  # or "dask", "ray"
            frame = accuracy_curve(["ngram", "frequency"], corpus.test, LETTERS, [32, 64, 128])

    Args:
        decipherers: names known to `make_decipherer`; or label -> name, decipherer or factory
            (see `Contestant`).
        corpus: where plaintexts are cut from, usually the `test` split of a corpus; or the ids of
            each document.
        alphabet: the symbols of plaintext and ciphertext.
        lengths: symbols in a ciphertext.
        ciphers: ciphertexts of each length.
        seed: 0 or more. It settles the ciphertexts of a length and the random numbers for each of
            them, whatever else is measured and however it is spread.
        model: the language model of decipherers given by name, and the judge of search failures.
            By default the table shipped for the alphabet where a decipherer is given by name;
            otherwise none, and search failures are not known.
        rule: how a posterior is read, "map" or "marginal" (see `KeyPosterior.best_key`).
        fixed: symbols that every key leaves as they are. Decipherers given by name know of them.
        jobs: how many at a time, -1 for one a core; by default what `joblib.parallel_config` says,
            else 1. Jobs wait for each other, so take 1 to compare `seconds`.
        progress: whether to show a bar; by default where standard error is a terminal.

    Returns:
        One row for each decipherer and length; see `summarise`.

    Raises:
        InputError: an argument makes no sense, or no document is as long as a length.
    """
    return summarise(
        measure(
            decipherers,
            corpus,
            alphabet,
            lengths,
            ciphers,
            seed,
            model=model,
            rule=rule,
            fixed=fixed,
            jobs=jobs,
            progress=progress,
        )
    )


def measure(
    decipherers: Iterable[str] | Mapping[str, Contestant],
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    lengths: Sequence[int],
    ciphers: int = 200,
    seed: int = 0,
    *,
    model: NGramModel | None = None,
    rule: Rule = "map",
    fixed: str = "",
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Let decipherers read the same ciphertexts; see `accuracy_curve` for the arguments.

    Returns:
        One row for each decipherer, length and ciphertext, in that order, with the columns

        - decipherer, length, cipher: which; ciphers are numbered from 0 within a length;
        - token_accuracy: share of the symbols of the text that are right;
        - key_accuracy: share of the distinct symbols of the text that are right;
        - exact: 1 where the whole text is right, else 0;
        - search_failure: 1 where the MAP key makes the text less probable under `model` than the
          true key does, so that a better key was there to be found; else 0; not a number without a
          model, or where the decipherer reports no log probability;
        - seconds: time to read the ciphertext, compilation and set-up left out.

    Raises:
        InputError: an argument makes no sense, or no document is as long as a length.
    """
    contestants = _contestants(decipherers)
    lengths = list(dict.fromkeys(lengths))
    _check_numbers(lengths, ciphers, seed, jobs, rule)
    if model is None and any(isinstance(one, str) for one in contestants.values()):
        model = load_ngram(alphabet.name)
    if model is not None and model.alphabet != alphabet:
        raise InputError(
            f"the n-gram model is over the alphabet {model.alphabet}, not {alphabet}: "
            "choose a model or an alphabet that fit together"
        )
    known = {int(i): int(i) for i in alphabet.indices(fixed)}
    trials = [
        trial
        for length in lengths
        for trial in _trials(corpus, alphabet, length, ciphers, seed, fixed)
    ]
    # Here and not only in the tasks: what cannot run should fail before the long work, and what
    # compiles or fills tables should do it once and not in each thread.
    for contestant in contestants.values():
        _warm_up(contestant, trials[0], model, known)

    tasks = (
        joblib.delayed(_measure_chunk)(label, contestant, trials[i : i + CHUNK], model, known, rule)
        for label, contestant in contestants.items()
        for i in range(0, len(trials), CHUNK)
    )
    # Compiled searches release the GIL, so threads serve, and need nothing copied to them.
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    # A backend such as Ray's hands all results over at the end, and the bar waits for them.
    return_as = "generator" if backend.supports_return_generator else "list"
    chunks = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as=return_as)(tasks)
    rows = []
    with tqdm(
        total=len(contestants) * len(trials),
        desc="deciphering",
        unit="cipher",
        disable=None if progress is None else not progress,
    ) as bar:
        for chunk in chunks:
            rows += chunk
            bar.update(len(chunk))
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Sum up what `measure` gives over the ciphertexts of each decipherer and length.

    Returns:
        One row for each decipherer and length, in the order of `frame`, with `SUMMARY_COLUMNS`:
        decipherer, length, ciphers (how many), the means of the other columns of `measure`, and
        the ends `..._low` and `..._high` of 95 % confidence intervals:

        - exact_rate and search_failure_rate are proportions: Wilson's score interval (Wilson
          1927), over the ciphertexts for which a search failure is known;
        - token_accuracy and key_accuracy are means of fractions: percentile bootstrap over
          ciphertexts (Efron 1979), of no width where all fractions are equal.
    """
    rows = [
        {"decipherer": decipherer, "length": length, **_summary(group)}
        for (decipherer, length), group in frame.groupby(["decipherer", "length"], sort=False)
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval for a proportion (95 %); not a number without trials."""
    if trials == 0:
        return math.nan, math.nan
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap interval for the mean of `values` [N] (95 %), always from the same
    resamples; of no width where all are equal."""
    if np.ptp(values) == 0.0:
        return float(values[0]), float(values[0])
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, eq=False)
class _Trial:
    """A ciphertext [n] with its solution [n], its number, and the seed for its decipherment."""

    number: int
    ciphertext: Ids
    plaintext: Ids
    seed: np.random.SeedSequence


def _trials(
    corpus: Corpus | Sequence[Ids],
    alphabet: Alphabet,
    length: int,
    count: int,
    seed: int,
    fixed: str,
) -> Iterator[_Trial]:
    """`count` trials of one length; each depends on the seed, the length and its number only."""
    for number in range(count):
        text, search = np.random.SeedSequence(seed, spawn_key=(length, number)).spawn(2)
        batch = cryptograms(corpus, alphabet, length, 1, np.random.default_rng(text), fixed)
        yield _Trial(number, batch.ciphertext[0], batch.plaintext[0], search)


def _contestants(
    decipherers: Iterable[str] | Mapping[str, Contestant],
) -> dict[str, Contestant]:
    """label -> what to measure under it."""
    if isinstance(decipherers, str):
        raise InputError(f"decipherers are a list of names: write [{decipherers!r}]")
    if isinstance(decipherers, Mapping):
        contestants = dict(decipherers)
    else:
        contestants = {name: name for name in decipherers}
    if not contestants:
        raise InputError("there is no decipherer to measure: name at least one")
    return contestants


def _check_numbers(
    lengths: Sequence[int], ciphers: int, seed: int, jobs: int | None, rule: str
) -> None:
    if not lengths:
        raise InputError("there is no ciphertext length to measure at: give at least one")
    if min(lengths) < 1:
        raise InputError(f"a ciphertext cannot have {min(lengths)} symbols: take 1 or more")
    if ciphers < 1:
        raise InputError(f"cannot measure on {ciphers} ciphertexts: take 1 or more")
    if seed < 0:
        raise InputError(f"a seed is 0 or more, not {seed}")
    if jobs == 0:
        raise InputError("0 jobs do no work: take 1 or more, or -1 for one a core")
    if rule not in ("map", "marginal"):
        raise InputError(f"a decoding rule is 'map' or 'marginal', not {rule!r}")


def _ready(
    contestant: Contestant,
    rng: np.random.Generator,
    model: NGramModel | None,
    known: Mapping[int, int],
) -> Decipherer:
    """The decipherer to read one ciphertext with."""
    if isinstance(contestant, str):
        assert model is not None  # `measure` loads one where a decipherer is given by name
        return make_decipherer(contestant, model, rng=rng, known=known)
    # A class has the attribute too, but is a factory; a neural network is callable, but is none.
    if hasattr(contestant, "posteriors") and not isinstance(contestant, type):
        return cast(Decipherer, contestant)
    return cast(Factory, contestant)(rng=rng)


def _warm_up(
    contestant: Contestant,
    trial: _Trial,
    model: NGramModel | None,
    known: Mapping[int, int],
) -> None:
    """Read one symbol, so that compilation and first look-ups are done before a clock runs."""
    decipherer = _ready(contestant, np.random.default_rng(trial.seed), model, known)
    decipherer.posteriors(trial.ciphertext[:1], (1,))


def _measure_chunk(
    label: str,
    contestant: Contestant,
    trials: Sequence[_Trial],
    model: NGramModel | None,
    known: Mapping[int, int],
    rule: Rule,
) -> list[dict[str, Any]]:
    """Rows for a few trials: the task of one job, which may run in another process."""
    _warm_up(contestant, trials[0], model, known)
    return [
        {"decipherer": label} | _measure_trial(contestant, trial, model, known, rule)
        for trial in trials
    ]


def _measure_trial(
    contestant: Contestant,
    trial: _Trial,
    model: NGramModel | None,
    known: Mapping[int, int],
    rule: Rule,
) -> dict[str, Any]:
    ciphertext, plaintext = trial.ciphertext, trial.plaintext
    decipherer = _ready(contestant, np.random.default_rng(trial.seed), model, known)
    start = time.perf_counter()
    (posterior,) = decipherer.posteriors(ciphertext, (len(ciphertext),))
    seconds = time.perf_counter() - start

    right = posterior.decode(ciphertext, rule).ids == plaintext
    _, first_places = np.unique(ciphertext, return_index=True)
    search_failure = math.nan
    if model is not None and posterior.map_log_prob is not None:
        found = model.log_prob(posterior.map_key.decrypt(ciphertext)).sum()
        search_failure = float(found < model.log_prob(plaintext).sum() - TOLERANCE)
    return {
        "length": len(ciphertext),
        "cipher": trial.number,
        "token_accuracy": right.mean(),
        "key_accuracy": right[first_places].mean(),
        "exact": float(right.all()),
        "search_failure": search_failure,
        "seconds": seconds,
    }


def _summary(group: pd.DataFrame) -> dict[str, float]:
    """The columns of one row of `summarise`, but for the two that name it."""
    summary: dict[str, float] = {"ciphers": len(group), "seconds": group["seconds"].mean()}
    for rate in MEANS:
        values = group[rate].to_numpy(np.float64)
        summary[rate] = values.mean()
        summary[f"{rate}_low"], summary[f"{rate}_high"] = bootstrap_interval(values)
    for rate in PROPORTIONS:
        known = group[rate.removesuffix("_rate")].dropna()
        summary[rate] = known.mean()
        low_high = wilson_interval(int(known.sum()), len(known))
        summary[f"{rate}_low"], summary[f"{rate}_high"] = low_high
    return summary
