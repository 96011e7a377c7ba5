"""Simulation-based calibration: whether a method samples the posterior it claims to.

Draw a key from the prior and a text from the language model, encrypt, and infer. Then the truth is
itself a draw from the posterior, so that its rank among the posterior's keys, by any function f of
key and ciphertext, is uniform (Talts et al. 2018). Functions that look at the ciphertext catch
what others let pass, the log likelihood first of all (Modrák et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.trials import Contest, Contestant, Reading, Trial
from ciphers.errors import InputError
from ciphers.keys import apply_keys, random_keys
from decipher.ngram import NGramModel

#: The functions whose ranks are taken: what the most frequent cipher symbol stands for, what the
#: rarest of those that occur does, and how probable the key makes the text.
QUANTITIES = ("most frequent symbol", "rarest symbol", "log likelihood")
#: Of the histogram and the chi-square test.
BINS = 20
#: Of the histogram's counts, each lies in its band with this probability.
BAND = 0.99
#: Decimals to which log likelihoods are compared, nats: sums in another order must tie.
DECIMALS = 9


def sbc(
    decipherers: Mapping[str, Contestant],
    model: NGramModel,
    length: int,
    replications: int = 1000,
    seed: int = 0,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """The randomised probability integral transform u = P(f < f0) + U P(f = f0) of the truth f0
    under the posterior, U uniform on (0, 1): where the posterior is exact, so is u's uniformity.

    Args:
        decipherers: label -> what to check (see `Contestant`); their posteriors must hold samples.
        model: the language model that draws the texts; of those given by name too.
        length: symbols in a text.
        replications: texts and keys, the same for all decipherers.
        seed: of the texts, the keys, the decipherers and the ties.
        jobs, progress: see `accuracy_curve`.

    Returns:
        One row for each decipherer, replication and quantity: decipherer, replication, quantity
        (one of `QUANTITIES`), pit.

    Raises:
        InputError: a number makes no sense, or a posterior holds no samples.
    """
    if not decipherers or length < 1 or replications < 1:
        raise InputError(
            f"cannot check {len(decipherers)} decipherers on {replications} texts of {length} "
            "symbols: take 1 or more of each"
        )
    ties = np.random.SeedSequence(seed, spawn_key=(1,))
    u = np.random.default_rng(ties).random((replications, len(QUANTITIES)))
    trials = [_trial(model, length, number, seed) for number in range(replications)]
    ranks = Contest(decipherers, trials, model).read(
        partial(_pit_rows, ties=u), jobs=jobs, progress=progress
    )
    return pd.DataFrame([row for rows in ranks for row in rows])


def sbc_histogram(pits: pd.DataFrame) -> pd.DataFrame:
    """The histograms of `pits`, what `sbc` gives, and Pearson's chi-square test of each.

    Returns:
        One row for each decipherer, quantity and bin: decipherer, quantity, replications; low and
        high, the bin's ends; count; band_low and band_high, the ends of the central 99 % of the
        count of a uniform u; p_value, of the whole histogram.
    """
    rows = []
    for (decipherer, quantity), group in pits.groupby(["decipherer", "quantity"], sort=False):
        counts = np.histogram(group["pit"], BINS, (0, 1))[0]
        band_low, band_high = stats.binom.interval(BAND, len(group), 1 / BINS)
        p_value = float(stats.chisquare(counts).pvalue)
        for i, count in enumerate(counts):
            rows.append(
                {
                    "decipherer": decipherer,
                    "quantity": quantity,
                    "replications": len(group),
                    "low": i / BINS,
                    "high": (i + 1) / BINS,
                    "count": count,
                    "band_low": band_low,
                    "band_high": band_high,
                    "p_value": p_value,
                }
            )
    return pd.DataFrame(rows)


def sbc_test(pits: pd.DataFrame) -> pd.DataFrame:
    """Pearson's chi-square test that each histogram of `pits`, what `sbc` gives, is uniform.

    Returns:
        One row for each decipherer and quantity: decipherer, quantity, replications, p_value.
    """
    columns = ["decipherer", "quantity", "replications", "p_value"]
    return sbc_histogram(pits)[columns].drop_duplicates(ignore_index=True)


def _trial(model: NGramModel, length: int, number: int, seed: int) -> Trial:
    """A text of the model under a random key; it depends on the seed, the length and its number."""
    text, search = np.random.SeedSequence(seed, spawn_key=(0, length, number)).spawn(2)
    rng = np.random.default_rng(text)
    plaintext = model.sample(length, 1, rng)
    ciphertext = apply_keys(random_keys(model.alphabet, 1, rng), plaintext)
    return Trial(number, ciphertext[0], plaintext[0], search)


def _pit_rows(reading: Reading, ties: NDArray[np.float64]) -> list[dict[str, Any]]:
    """The rows of `sbc` for one reading; `ties` [replications, quantities] settle equal ranks."""
    trial, posterior = reading.trial, reading.posterior
    assert reading.model is not None  # `sbc` gives one
    if posterior.samples is None or posterior.weights is None:
        raise InputError(
            f"the posteriors of {reading.decipherer!r} hold no key samples to rank the truth among"
        )
    # The truth comes as the first row, so that it is treated as the others are.
    plain = np.vstack([trial.plaintext, posterior.samples[:, trial.ciphertext]])
    values = _quantities(reading.model, trial.ciphertext, plain)
    below = posterior.weights @ (values[1:] < values[0])
    equal = posterior.weights @ (values[1:] == values[0])
    # Weights sum to 1 but for rounding.
    pit = np.clip(below + ties[trial.number] * equal, 0.0, 1.0)
    return [
        {
            "decipherer": reading.decipherer,
            "replication": trial.number,
            "quantity": quantity,
            "pit": pit[i],
        }
        for i, quantity in enumerate(QUANTITIES)
    ]


def _quantities(
    model: NGramModel, ciphertext: NDArray[np.uint8], plain: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """[K, quantities] the quantities of K decryptions `plain` [K, n] of `ciphertext` [n]."""
    _, first, counts = np.unique(ciphertext, return_index=True, return_counts=True)
    log_likelihood = model.log_prob(plain).sum(axis=1).round(DECIMALS)
    frequent, rare = first[np.argmax(counts)], first[np.argmin(counts)]
    return np.column_stack([plain[:, frequent], plain[:, rare], log_likelihood])
