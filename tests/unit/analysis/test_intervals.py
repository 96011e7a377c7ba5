from __future__ import annotations

import numpy as np
import pytest

from analysis.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(successes, trials, low, high) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_without_trials_is_unknown() -> None:
    assert np.isnan(wilson_interval(0, 0)).all()


def test_bootstrap_interval_is_near_the_normal_one_and_always_the_same() -> None:
    values = np.random.default_rng(1).uniform(size=400)
    half = 1.96 * values.std() / np.sqrt(len(values))
    interval = bootstrap_interval(values)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert interval == bootstrap_interval(values)


@pytest.mark.parametrize("values", [[0.25], [1.0, 1.0, 1.0]])
@pytest.mark.filterwarnings("error")
def test_bootstrap_interval_of_equal_values_has_no_width(values) -> None:
    assert bootstrap_interval(np.array(values)) == (values[0], values[0])


def test_bootstrap_interval_of_nothing_is_unknown() -> None:
    assert np.isnan(bootstrap_interval(np.array([]))).all()
