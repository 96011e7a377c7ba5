"""How often decipherers are right, against the length of the ciphertext."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import bootstrap_interval, wilson_interval
from analysis.trials import Contestant, Reading, contest
from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from decipher.ngram import NGramModel
from decipher.posterior import Rule

TOLERANCE = 1e-6
"""Nats by which a key may score below the true key before the search counts as failed."""

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
    rule: Rule | Sequence[Rule] = "map",
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
        rule: how a posterior is read, "map" or "marginal" (see `KeyPosterior.best_key`); or
            several, by which each posterior is read in turn, under labels like "smc (marginal)".
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
    rule: Rule | Sequence[Rule] = "map",
    fixed: str = "",
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Let decipherers read the same ciphertexts; see `accuracy_curve` for the arguments.

    Returns:
        One row for each decipherer (and rule, if there are several), length and ciphertext, in
        that order, with the columns

        - decipherer, length, cipher: which; ciphers are numbered from 0 within a length;
        - token_accuracy: share of the symbols of the text that are right;
        - expected_accuracy: the share that the posterior expects to be right;
        - key_accuracy: share of the distinct symbols of the text that are right;
        - exact: 1 where the whole text is right, else 0;
        - search_failure: 1 where the MAP key makes the text less probable under `model` than the
          true key does, so that a better key was there to be found; else 0; not a number without a
          model, or where the decipherer reports no log probability;
        - regret: bits by which the plaintext is more probable under `model` than the ciphertext is
          to the decipherer, averaged over all keys: the price of not knowing the key; not a number
          without a model, or where the decipherer gives no evidence;
        - log_evidence_error: the standard error of the log evidence, nats, where it is estimated;
        - seconds: time to read the ciphertext, compilation and set-up left out.

    Raises:
        InputError: an argument makes no sense, or no document is as long as a length.
    """
    rules = _rules(rule)
    entered = contest(
        decipherers,
        corpus,
        alphabet,
        lengths,
        ciphers,
        seed,
        model=model,
        fixed=fixed,
        jobs=jobs,
    )
    observe = partial(text_rows, rules=rules)
    return text_frame(entered.read(observe, jobs=jobs, progress=progress))


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


def text_rows(reading: Reading, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """The rows of `measure` for one ciphertext, one for each rule."""
    trial, posterior, model = reading.trial, reading.posterior, reading.model
    ciphertext, plaintext = trial.ciphertext, trial.plaintext
    _, first_places = np.unique(ciphertext, return_index=True)
    search_failure = regret = math.nan
    if model is not None:
        truth = model.log_prob(plaintext).sum()
        if posterior.map_log_prob is not None:
            found = model.log_prob(posterior.map_key.decrypt(ciphertext)).sum()
            search_failure = float(found < truth - TOLERANCE)
        if posterior.log_evidence is not None:
            regret = float(truth - posterior.log_evidence) / math.log(2)
    rows = []
    for rule in rules:
        decoding = posterior.decode(ciphertext, rule)
        right = decoding.ids == plaintext
        label = reading.decipherer
        rows.append(
            {
                "decipherer": label if len(rules) == 1 else f"{label} ({rule})",
                "length": len(ciphertext),
                "cipher": trial.number,
                "token_accuracy": right.mean(),
                "expected_accuracy": decoding.confidence.mean(),
                "key_accuracy": right[first_places].mean(),
                "exact": float(right.all()),
                "search_failure": search_failure,
                "regret": regret,
                "log_evidence_error": posterior.info.get("log_evidence_error", math.nan),
                "seconds": reading.seconds,
            }
        )
    return rows


def text_frame(rows: Sequence[Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """The frame of `measure` from the `text_rows` of its readings: all that one decipherer read
    by one rule together."""
    frame = pd.DataFrame([row for of_text in rows for row in of_text])
    groups = [group for _, group in frame.groupby("decipherer", sort=False)]
    return pd.concat(groups, ignore_index=True)


def _rules(rule: Rule | Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules, checked."""
    rules: tuple[Rule, ...] = (rule,) if isinstance(rule, str) else tuple(dict.fromkeys(rule))
    if not rules:
        raise InputError("there is no decoding rule to read with: give 'map' or 'marginal'")
    for one in rules:
        if one not in ("map", "marginal"):
            raise InputError(f"a decoding rule is 'map' or 'marginal', not {one!r}")
    return rules


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
