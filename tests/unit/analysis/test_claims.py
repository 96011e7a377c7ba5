from __future__ import annotations

import pandas as pd
import pytest

from analysis.claims import CLAIMS, estimate, judge, number
from analysis.studies import STUDIES

BY_NAME = {claim.name: claim for claim in CLAIMS}


def put(tables, name: str, column: str, value: object, **where: object) -> None:
    """Set a column where all others named have the values given."""
    frame = tables[name]
    rows = pd.Series(True, index=frame.index)
    for other, wanted in where.items():
        rows &= frame[other] == wanted
    assert rows.any()
    frame[column] = frame[column].astype(object if isinstance(value, str) else float)
    frame.loc[rows, column] = value


@pytest.mark.parametrize("name", BY_NAME)
def test_a_claim_is_reached(name, tables) -> None:
    finding = BY_NAME[name].rule(tables)
    assert finding.verdict == "reached"
    assert finding.found.endswith(".")
    assert "nan" not in finding.found


MODEL = {"model": "lexinvariant"}
LAST = MODEL | {"context": 512}
LINEAR = {"decipherer": "linear, lexinvariant", "length": 512}
LEARNED = {"reading": "learned"}
LATE = {"first": 65}
ENGLISH = {"reader": "lexinvariant", "last": 512}
RANKS = {"quantity": "log likelihood"}


@pytest.mark.parametrize(
    ("claim", "verdict", "changes"),
    [
        # The power of d counts as below 1 only with its interval.
        ("convergence", "partly", [("exponents", "exponent_high", 1.01, {"along": "d"})]),
        ("convergence", "not reached", [("exponents", "exponent_high", 0.01, {"at": "d = 27"})]),
        ("convergence", "not reached", [("contexts", "above", 1, {"source": "d = 3"})]),
        ("convergence", "not reached", [("contexts", "mean_gap", 0.48, {"source": "d = 3"})]),
        # What only SMC says breaks no bound.
        ("convergence", "reached", [("contexts", "above", 5, {"method": "smc"})]),
        ("gap", "partly", [("contexts", "gap_high", 1.01, LAST)]),
        ("gap", "partly", [("contexts", "gap", 0.2, MODEL | {"context": 256})]),
        ("gap", "not reached", [("contexts", "gap", 4.2, LAST)]),
        ("regret", "partly", [("contexts", "regret_bits_high", 94, LAST)]),
        ("regret", "not reached", [("contexts", "regret_bits_high", 187, LAST)]),
        ("probes", "partly", [("accuracy", "token_accuracy", 0.94, LINEAR)]),
        (
            "probes",
            "not reached",
            [
                ("accuracy", "token_accuracy", 0.46, LINEAR),
                ("accuracy", "token_accuracy_low", 0.45, LINEAR),
            ],
        ),
        ("probes", "partly", [("controls", "chance", 0.15, {"control": "shuffled labels"})]),
        # Untrained weights may count.
        ("probes", "reached", [("controls", "chance", 0.05, {"control": "untrained weights"})]),
        ("mixture", "partly", [("synthetic-doublings", "kl_nats", 0.021, {"language": "V = 6"})]),
        ("mixture", "partly", [("english-doublings", "kl_nats", 0.4, ENGLISH)]),
        (
            "mixture",
            "not reached",
            [
                ("synthetic-doublings", "kl_nats", 0.021, LATE),
                ("english-doublings", "kl_nats", 0.4, ENGLISH),
            ],
        ),
        ("reasoning", "partly", [("summary", "exact_ratio_high", 3.9, MODEL)]),
        ("reasoning", "partly", [("summary", "exact_ratio_low", 0.9, MODEL | {"task": "LookUp"})]),
        ("reasoning", "not reached", [("summary", "exact_ratio_low", 0.9, MODEL)]),
        ("regularisation", "partly", [("summary", "bits_change_high", 0.03, {"p": 0.5})]),
        (
            "regularisation",
            "not reached",
            [
                ("summary", "lookup_change_low", -0.01, LEARNED),
                ("summary", "cipher_bits_change_high", 0.01, LEARNED),
            ],
        ),
        ("ruler", "partly", [("regret", "above", 1, {"length": 512})]),
        ("ruler", "partly", [("sbc", "p_value", 0.004, RANKS)]),
        (
            "ruler",
            "not reached",
            [("regret", "above", 1, {"length": 512}), ("sbc", "p_value", 0.004, RANKS)],
        ),
    ],
)
def test_the_rules(claim, verdict, changes, tables) -> None:
    for name, column, value, where in changes:
        put(tables, f"{BY_NAME[claim].study}/{name}", column, value, **where)
    assert BY_NAME[claim].rule(tables).verdict == verdict


def test_the_numbers_that_a_finding_names(tables) -> None:
    assert BY_NAME["gap"].rule(tables).found == (
        "The gap is 4.10 (4.08 to 4.12) times the standard model's perplexity at 32 symbols and "
        "0.30 (0.28 to 0.32) at 512; at its widest, 6.5."
    )
    assert "1.0 times the 93.1 of the bound" in BY_NAME["regret"].rule(tables).found


def test_no_ratio_over_nothing(tables) -> None:
    where = {"model": "lexinvariant", "task": "Permutation"}
    for end in ("", "_low", "_high"):
        put(tables, "reasoning/summary", f"exact_ratio{end}", float("nan"), **where)
    finding = BY_NAME["reasoning"].rule(tables)
    assert finding.verdict == "partly"
    assert "nan" not in finding.found


def test_each_claim_has_a_study_and_a_name() -> None:
    assert len(BY_NAME) == len(CLAIMS)
    assert {claim.study for claim in CLAIMS} <= {study.name for study in STUDIES}


def test_judge() -> None:
    assert [judge(True, True), judge(False, True), judge(False, False)] == [
        "reached",
        "partly",
        "not reached",
    ]


def test_numbers_as_text() -> None:
    assert number(-0.126, 2) == "\N{MINUS SIGN}0.13"
    assert number(-0.001, 2) == "0.00"
    row = pd.Series({"x": 0.5, "x_low": 0.25, "x_high": 0.75})
    assert estimate(row, "x") == "0.50 (0.25 to 0.75)"
    assert estimate(pd.Series({"x": 1, "x_low": 1, "x_high": 1}), "x", 1) == "1.0"
