"""Certificates: for how many ciphertexts the most probable key is proven to be the most probable,
and how much more probable another one can at most be for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import bootstrap_interval, wilson_interval
from analysis.trials import Contestant, Reading, contest
from ciphers.alphabet import Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from decipher.ngram import NGramModel

#: Order of the language model: the exact search is hopeless for much longer n-grams.
ORDER = 3


def lower_order(model: NGramModel, order: int = ORDER) -> NGramModel:
    """The model of `order` that was estimated from the same text; `model` itself if its order is
    no higher.

    Raises:
        InputError: the model has no counts to estimate from.
    """
    if model.order <= order:
        return model
    if model.counts is None:
        raise InputError(
            f"an n-gram model of order {order} follows from the counts of a larger one, and a "
            "model read from an ARPA file has none: give a table made by `decipher fit`"
        )
    counts = model.counts
    while counts.order > order:
        counts = counts.lower
    return NGramModel.from_counts(counts, model.alphabet, model.provenance)


def certificates(
    decipherer: Contestant,
    model: NGramModel,
    corpus: Corpus | Sequence[Ids],
    lengths: Sequence[int],
    ciphers: int = 20,
    seed: int = 0,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """How often an exact search ends with a proof.

    Args:
        decipherer: an exact search (see `Contestant`), such as "astar". The `info` of its
            posteriors holds "certified", whether the MAP key is proven, and "gap", by how many
            nats the log probability of another key can at most exceed that of the MAP key.
        model: the language model.
        corpus, lengths, ciphers, seed, jobs, progress: see `accuracy_curve`.

    Returns:
        One row for each length, with the columns

        - length, ciphers: which, and how many;
        - certified_rate, with its 95 % interval certified_rate_low to certified_rate_high (Wilson):
          the share with a proof;
        - gap, with its 95 % interval gap_low to gap_high (percentile bootstrap): mean over the
          others, bits; not a number where there are none;
        - seconds: mean for one ciphertext.

    Raises:
        InputError: an argument makes no sense.
    """
    entered = contest(
        {"search": decipherer},
        corpus,
        model.alphabet,
        lengths,
        ciphers,
        seed,
        model=model,
        jobs=jobs,
    )
    texts = pd.DataFrame(entered.read(_row, jobs=jobs, progress=progress))
    return pd.DataFrame(
        [
            {"length": length, **_summary(group)}
            for length, group in texts.groupby("length", sort=False)
        ]
    )


def _row(reading: Reading) -> dict[str, Any]:
    info = reading.posterior.info
    return {
        "length": len(reading.trial.ciphertext),
        "certified": bool(info["certified"]),
        "gap": float(info["gap"]) / math.log(2),
        "seconds": reading.seconds,
    }


def _summary(group: pd.DataFrame) -> dict[str, float]:
    certified = int(group["certified"].sum())
    rate_low, rate_high = wilson_interval(certified, len(group))
    gaps = group["gap"][~group["certified"]].to_numpy(np.float64)
    gap_low, gap_high = bootstrap_interval(gaps)
    return {
        "ciphers": len(group),
        "certified_rate": certified / len(group),
        "certified_rate_low": rate_low,
        "certified_rate_high": rate_high,
        "gap": gaps.mean() if len(gaps) else math.nan,
        "gap_low": gap_low,
        "gap_high": gap_high,
        "seconds": group["seconds"].mean(),
    }
