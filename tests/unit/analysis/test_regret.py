from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.regret import log2_keys, regret_curve


def texts(regret, error=0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"decipherer": "d", "length": 8, "regret": regret, "log_evidence_error": error}
    )


def test_bits_of_the_number_of_keys() -> None:
    assert log2_keys(4) == pytest.approx(math.log2(24))
    assert log2_keys(27) == pytest.approx(93.1, abs=0.05)


def test_one_row_a_length() -> None:
    both = pd.concat([texts([1.0, 3.0, math.nan]), texts([2.0, 2.0]).assign(length=16)])
    frame = regret_curve(both, 4)
    assert frame["length"].tolist() == [8, 16]
    assert frame["ciphers"].tolist() == [2, 2]
    assert frame["regret"].tolist() == [2.0, 2.0]
    assert frame["largest"].tolist() == [3.0, 2.0]
    assert frame["regret_low"].tolist() == [1.0, 2.0]
    assert (frame["bound"] == log2_keys(4)).all()


def test_a_text_above_the_bound_counts_past_three_errors() -> None:
    """An error of 0.1 nats is 0.144 bits."""
    bound = log2_keys(4)
    regret = bound + np.array([-1.0, 0.40, 0.45])
    assert regret_curve(texts(regret, 0.1), 4)["above"].tolist() == [1]
    assert regret_curve(texts(regret, 0.0), 4)["above"].tolist() == [2]
    assert regret_curve(texts(regret, math.nan), 4)["above"].tolist() == [2]
