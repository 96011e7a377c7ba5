"""Regret: the bits that a decipherer pays for not knowing the key.

The Bayes mixture over all keys, p'(x) = (1/V!) sum over keys of p(decrypt(x, key)), holds the true
key's term, so that for every single text log p - log p' <= log V!, however long it is and wherever
it comes from (Huang et al. 2023, theorem 2.1, has the averaged form).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.intervals import bootstrap_interval

#: A text counts as above the bound when it is so many standard errors of its evidence above it.
ERRORS = 3.0


def log2_keys(size: int) -> float:
    """log2 of V!, the number of keys of an alphabet of `size` symbols, bits."""
    return math.lgamma(size + 1) / math.log(2)


def regret_curve(texts: pd.DataFrame, size: int) -> pd.DataFrame:
    """Sum up the regret of each decipherer and length.

    Args:
        texts: what `measure` gives; texts without a regret are left out.
        size: V, the number of symbols that keys permute.

    Returns:
        One row for each decipherer and length, in the order of `texts`, with the columns

        - decipherer, length, ciphers: which, and how many;
        - regret, regret_low, regret_high: the mean in bits, and the ends of its 95 % interval
          (percentile bootstrap over ciphertexts);
        - largest: the largest regret of a text, bits;
        - bound: log2 V!, which the evidence of no text can pass, bits;
        - above: texts above the bound by more than `ERRORS` standard errors of their evidence:
          each one is a mistake.
    """
    bound = log2_keys(size)
    known = texts.dropna(subset="regret")
    error = known["log_evidence_error"].fillna(0.0) / math.log(2)
    known = known.assign(above=known["regret"] - ERRORS * error > bound + 1e-6)
    rows = []
    for (decipherer, length), group in known.groupby(["decipherer", "length"], sort=False):
        values = group["regret"].to_numpy(np.float64)
        low, high = bootstrap_interval(values)
        rows.append(
            {
                "decipherer": decipherer,
                "length": length,
                "ciphers": len(values),
                "regret": values.mean(),
                "regret_low": low,
                "regret_high": high,
                "largest": values.max(),
                "bound": bound,
                "above": int(group["above"].sum()),
            }
        )
    return pd.DataFrame(rows)
