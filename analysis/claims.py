"""What is claimed, and what was measured: each claim of the paper beside a verdict by rule.

The claims are those of Huang et al. 2023 (*Lexinvariant Language Models*, arXiv 2305.16349), and
this toolkit's own on its ruler. Nothing here is an opinion: a rule looks at the tables of a study
and gives a verdict with the numbers that it rests on. The paper's models have 150 million
parameters and read the Pile; the shipped ones have 1.2 million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from analysis.implicit import GOAL
from analysis.intervals import CONFIDENCE
from analysis.perplexity import MIXTURE
from analysis.probing import CONTROL_TASK, FREQUENCY, RAW, SHUFFLED, SMC
from analysis.reasoning import AVERAGE
from analysis.regret import ERRORS

#: The tables of the studies, by "study/table".
Tables = Mapping[str, pd.DataFrame]
Verdict = Literal["reached", "partly", "not reached"]

PAPER = "Huang et al. 2023"

#: How many times as accurate as the standard model, and from where the gap is to have closed.
FACTOR = 4.0
LEVEL = 1.0
#: How far a probe may stay behind the exact posterior, share of the symbols.
BEHIND = 0.05
LINEAR = "linear, lexinvariant"
#: What a control may have beyond its chance: a probe of shuffled labels is fitted to few texts, and
#: now and then names a letter by luck where the letter is plain to see.
LUCK = 0.02
#: What a regularised model may lose in English, bits a symbol: a hundredth of what a symbol costs.
PRICE = 0.02
#: From this position on the model is to agree with the mixture.
SETTLED = 64
#: The false alarm rate of all rank tests together.
ALPHA = 0.01


class Finding(NamedTuple):
    """What a rule finds: the verdict, and the numbers that it rests on as sentences."""

    verdict: Verdict
    found: str


@dataclass(frozen=True)
class Claim:
    """A claim, and the rule that holds it against what was measured.

    Attributes:
        name: short and unique, for links.
        says: the claim in words.
        source: where it is from.
        study: the study that measures it.
        measure: what is measured, and what each verdict takes.
        rule: from all tables to the finding.
    """

    name: str
    says: str
    source: str
    study: str
    measure: str
    rule: Callable[[Tables], Finding]


def judge(whole: bool, part: bool) -> Verdict:
    """The verdict where all that a claim takes is there, or a part of it."""
    if whole:
        return "reached"
    return "partly" if part else "not reached"


def number(value: float, digits: int) -> str:
    """A number as text; what rounds to nothing has no sign."""
    text = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def estimate(of: pd.Series, name: str, digits: int = 2) -> str:
    """The column `name` of a row with its interval, as text."""
    value, low, high = (number(of[f"{name}{end}"], digits) for end in ("", "_low", "_high"))
    return value if value == low == high else f"{value} ({low} to {high})"


def only(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows in which each column named has the value given."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def row(frame: pd.DataFrame, **wanted: object) -> pd.Series:
    """The first row in which each column named has the value given."""
    return only(frame, **wanted).iloc[0]


def highest(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
    """The row with the highest of `values`, one for each row."""
    return frame.iloc[int(np.nanargmax(values.to_numpy(np.float64)))]


# --- rules --------------------------------------------------------------------------------------


def _ruler(tables: Tables) -> Finding:
    regret, ranks = tables["bayes/regret"], tables["bayes/sbc"]
    proven, errors = tables["bayes/certificates"], tables["bayes/calibration"]
    tests = ranks.drop_duplicates(["decipherer", "quantity"])["p_value"]
    above, least = int(regret["above"].sum()), float(tests.min())
    shown = proven["certified_rate"].mean()
    worst = highest(errors, errors["ece"] - errors["ece_noise"])
    uniform = least > ALPHA / len(tests)
    found = (
        f"{above} texts of {regret['ciphers'].sum()} lie above {regret['bound'].iloc[0]:.1f} bits "
        f"by more than {ERRORS:g} standard errors. "
        f"The least of {len(tests)} p-values for uniform ranks is {least:.2g}. "
        f"{shown:.0%} of the best keys are proven best. The calibration error is at most "
        f"{worst['ece']:.3f}, at {worst['length']:.0f} symbols, where chance alone shows "
        f"{worst['ece_noise']:.3f}."
    )
    return Finding(judge(above == 0 and uniform, above == 0 or uniform), found)


def _convergence(tables: Tables) -> Finding:
    contexts, exponents = tables["convergence/contexts"], tables["convergence/exponents"]
    gaps = only(exponents, quantity="mean L1 gap")
    along_n = only(gaps, along="n")
    slowest = highest(along_n, along_n["exponent"])
    n, d = row(gaps, along="n", at="all"), row(gaps, along="d", at="all")
    exact = only(contexts, method="enumeration")
    over = (exact["above"] > 0) | (exact["mean_gap"] > exact["mean_gap_bound"])
    polynomial = bool((along_n["exponent_high"] < 0).all() and not over.any())
    found = (
        f"The mean L1 gap falls like n to the power {estimate(n, 'exponent')}, slowest for "
        f"{slowest['at']}: {estimate(slowest, 'exponent')}; the bound falls like n to the "
        f"{number(n['bound_exponent'], 1)}. Exact enumeration breaks the bounds in {over.sum()} of "
        f"{len(exact)} settings. With the alphabet the gap grows like d to the power "
        f"{estimate(d, 'exponent')}, the bound to the {number(d['bound_exponent'], 2)}."
    )
    return Finding(judge(polynomial and bool(d["exponent_high"] < 1), polynomial), found)


def _gap(tables: Tables) -> Finding:
    model = _first(tables["perplexity/contexts"], "lexinvariant")
    gaps = model.sort_values("context")
    first, last = gaps.iloc[0], gaps.iloc[-1]
    start = _first(tables["perplexity/bands"], "lexinvariant")["gap"].max()
    falls = bool((gaps["gap"].diff().dropna() < 0).all())
    found = (
        f"The gap is {estimate(first, 'gap')} times the standard model's perplexity at "
        f"{first['context']} symbols and {estimate(last, 'gap')} at {last['context']}; at its "
        f"widest, {start:.1f}."
    )
    return Finding(judge(falls and last["gap_high"] < LEVEL, last["gap"] < first["gap"]), found)


def _regret(tables: Tables) -> Finding:
    frame = tables["perplexity/contexts"]
    last = _first(frame, "lexinvariant").sort_values("context").iloc[-1]
    bound = last["bound"]
    found = (
        f"By {last['context']} symbols the model has paid {estimate(last, 'regret_bits', 0)} bits, "
        f"{last['regret_bits'] / bound:.1f} times the {bound:.1f} of the bound."
    )
    mixture = only(frame, kind="mixture")
    if len(mixture):
        least = mixture.sort_values("context").iloc[-1]
        found += f" The Bayes mixture has paid {estimate(least, 'regret_bits', 0)}."
    spent = last["regret_bits_high"]
    return Finding(judge(spent <= bound, spent <= 2 * bound), found)


def _probes(tables: Tables) -> Finding:
    frame, controls = tables["probes/accuracy"], tables["probes/controls"]
    longest = only(frame, decipherer=LINEAR)["length"].max()
    lengths = [length for length in sorted(frame["length"].unique()) if length >= longest // 2]
    said = []
    for length in lengths:
        probe = row(frame, decipherer=LINEAR, length=length)
        exact = row(frame, decipherer=SMC, length=length)
        said.append(
            f"At {length} symbols the linear probe reads {estimate(probe, 'token_accuracy', 3)} of "
            f"them right, the exact posterior {estimate(exact, 'token_accuracy', 3)}."
        )
    # Untrained weights and the standard model may count symbols; these have nothing to go by.
    blind = controls[controls["control"].isin([RAW, SHUFFLED, CONTROL_TASK])]
    width = blind["accuracy"] - blind["accuracy_low"]
    # Twice its interval's width, so that not one run in 10,000 calls chance a leak.
    leaks = blind[blind["accuracy"] - 2 * width > blind["chance"] + LUCK]
    best = highest(blind, blind["accuracy"] - blind["chance"])
    said.append(
        f"{len(blind) - len(leaks)} of {len(blind)} controls find about what chance does; the best "
        f"of them, {best['control']}, {best['accuracy']:.3f} where chance is {best['chance']:.3f}."
    )
    counting = row(frame, decipherer=FREQUENCY, length=longest)
    near = bool(probe["token_accuracy"] >= exact["token_accuracy"] - BEHIND)
    more = bool(probe["token_accuracy_low"] > counting["token_accuracy_high"])
    return Finding(judge(near and more and not len(leaks), more), " ".join(said))


def _implicit(tables: Tables) -> Finding:
    synthetic = only(
        tables["implicit/synthetic-doublings"], quantity="next symbol", reader="transformer"
    )
    late = synthetic[synthetic["first"] > SETTLED]
    worst = [highest(each, each["kl_nats"]) for _, each in late.groupby("language", sort=False)]
    agree = [bool(each["kl_nats"] <= GOAL) for each in worst]
    english = tables["implicit/english-doublings"]
    last = english[english["last"] == english["last"].max()]
    model = row(last, against=MIXTURE, reader="lexinvariant")
    twins = last[last["against"] != MIXTURE].iloc[0]
    said = "; ".join(f"{each['language']}: {estimate(each, 'kl_nats', 3)}" for each in worst)
    found = (
        f"Beyond {SETTLED} symbols, nats: {said}. On English at {model['first']} to "
        f"{model['last']}: {estimate(model, 'kl_nats')}, where two models that know the alphabet "
        f"differ by {estimate(twins, 'kl_nats')}."
    )
    near = bool(model["kl_nats"] <= twins["kl_nats_high"])
    return Finding(judge(all(agree) and near, any(agree) or near), found)


def _reasoning(tables: Tables) -> Finding:
    frame = only(tables["reasoning/summary"], model="lexinvariant")
    tasks, whole = frame[frame["task"] != AVERAGE], row(frame, task=AVERAGE)
    said = [
        f"{each['task']}: {estimate(each, 'exact', 3)} right, {_times(each)}"
        for _, each in tasks.iterrows()
    ]
    found = f"{'. '.join(said)}. In the average of the tasks {_times(whole)}."
    better = tasks["exact_ratio_low"] > 1
    reached = bool(better.all() and whole["exact_ratio_high"] >= FACTOR)
    return Finding(judge(reached, bool(better.any())), found)


def _times(of: pd.Series) -> str:
    if math.isnan(of["exact_ratio"]):
        return "as the standard model gets none right either"
    return f"{estimate(of, 'exact_ratio', 1)} times the standard model"


def _regularisation(tables: Tables) -> Finding:
    frame = only(tables["regularisation/summary"], reading="learned")
    mixed = frame[(frame["p"] > 0) & (frame["p"] < 1)]
    gains = pd.DataFrame(
        {
            "LookUp": mixed["lookup_change_low"] > 0,
            "Permutation": mixed["permutation_change_low"] > 0,
            "partial ciphers": mixed["cipher_bits_change_high"] < 0,
            "misspellings": mixed["typo_bits_change_high"] < 0,
        }
    )
    free = mixed["bits_change_high"] <= PRICE
    reasons = gains["LookUp"] | gains["Permutation"]
    best = highest(mixed, mixed["lookup_change"])
    where = ", ".join(
        f"{name} at p = {', '.join(f'{p:g}' for p in mixed.loc[gain, 'p'])}"
        for name, gain in gains.items()
        if gain.any()
    )
    found = (
        f"Better than p = 0: {where or 'nothing, at no p'}. The greatest gain in LookUp is at p = "
        f"{best['p']:g}: {estimate(best, 'lookup_change', 3)} more right, at a price in English of "
        f"{estimate(best, 'bits_change', 3)} bits a symbol."
    )
    if (reasons & free).any():
        cheap = mixed[reasons & free].iloc[0]
        price = estimate(cheap, "bits_change", 3)
        found += f" At p = {cheap['p']:g} the price is {price} bits a symbol."
    return Finding(judge(bool((reasons & free).any()), bool(gains.to_numpy().any())), found)


def _first(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of the first model of a kind."""
    of_kind = only(frame, kind=kind)
    return only(of_kind, model=of_kind["model"].iloc[0])


CLAIMS = (
    Claim(
        name="convergence",
        says="A lexinvariant model can be built that converges to the true language model, at a "
        "uniform rate polynomial in the context, with a constant sublinear in the vocabulary.",
        source=f"{PAPER}, abstract",
        study="convergence",
        measure="The mean L1 gap between the Bayes mixture over all d! keys and the model that it "
        "mixes, and powers of n and d fitted to it. Reached if every power of n is below 0, no "
        "exact bound is broken and the power of d is below 1; partly without the last. A fit over "
        "a few sizes is no proof or disproof of the theorem's constant.",
        rule=_convergence,
    ),
    Claim(
        name="gap",
        says="The perplexity of a lexinvariant model approaches the standard one's: the gap falls "
        "from 9 times the standard perplexity to less than 1 by 512 symbols.",
        source=f"{PAPER}, section 4.1",
        study="perplexity",
        measure="Perplexity over that of the standard twin, minus 1, in the last quarter of each "
        f"context. Reached if it falls at every doubling and ends below {LEVEL:g}, interval and "
        "all; partly if it only falls.",
        rule=_gap,
    ),
    Claim(
        name="probes",
        says="It deciphers implicitly: probes on its hidden states recover the cipher key.",
        source=f"{PAPER}, section 4.2",
        study="probes",
        measure="The share of the symbols of unseen texts, under unseen keys, that a linear probe "
        f"reads right. Reached if it comes within {BEHIND:g} of the exact posterior at the longest "
        f"texts and no control exceeds chance by more than {LUCK:g}; partly if it only beats "
        "counting letters.",
        rule=_probes,
    ),
    Claim(
        name="reasoning",
        says=f"It is about {FACTOR:g} times as accurate as a standard model on in-context tasks "
        "over symbols, LookUp and Permutation.",
        source=f"{PAPER}, synthetic in-context reasoning",
        study="reasoning",
        measure="Whole answers right, over those of the standard twin. Reached if the interval of "
        f"the average ratio goes up to {FACTOR:g} and each task gains; partly if one task gains.",
        rule=_reasoning,
    ),
    Claim(
        name="regularisation",
        says="A standard model can be regularised towards lexinvariance, by random vectors for "
        "some of its symbols, and gains by it.",
        source=f"{PAPER}, section 5.3",
        study="regularisation",
        measure="Models that differ in the share p of random vectors alone, read by their learned "
        "ones, against p = 0. Reached if some p between 0 and 1 gains in LookUp or Permutation and "
        f"loses no more than {PRICE:g} bits a symbol in English, interval and all; partly if one "
        "gains in anything.",
        rule=_regularisation,
    ),
    Claim(
        name="ruler",
        says="The ruler is straight: the Bayesian reference samples the exact posterior, and never "
        "pays more than log2 V! bits for the key.",
        source="this toolkit",
        study="bayes",
        measure="Regret of every text, ranks of the true key (simulation-based calibration) and "
        "proofs by the exact search. Reached if no text lies above the bound and the ranks are "
        f"uniform at the level {ALPHA:g} over all tests; partly if one of the two.",
        rule=_ruler,
    ),
    Claim(
        name="mixture",
        says="A trained lexinvariant model does not only decipher, it believes what Bayes' rule "
        f"says: beyond {SETTLED} symbols it is within {GOAL:g} nats of the exact mixture.",
        source="this toolkit; theorem 2.1 of the paper says it of the best model",
        study="implicit",
        measure="KL(mixture || model) a symbol. Reached if it is below the goal on every synthetic "
        "language, and on English not above what two models with the alphabet differ by; partly if "
        "on one of these.",
        rule=_implicit,
    ),
    Claim(
        name="regret",
        says="A trained lexinvariant model pays for the unknown alphabet no more than the Bayes "
        "mixture could, log2 V! bits.",
        source="this toolkit; the bound is that of theorem 2.1",
        study="perplexity",
        measure="Cumulative loss minus that of the standard twin. Reached if at the longest "
        "context it is below the bound, interval and all; partly if below twice the bound.",
        rule=_regret,
    ),
)

INTERVALS = f"Numbers in brackets are {CONFIDENCE:.0%} intervals."
