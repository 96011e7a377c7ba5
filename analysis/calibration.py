"""Calibration: whether a letter given with confidence 0.8 is right 8 times in 10.

Letters of one text stand and fall together, so that every interval here resamples whole texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.intervals import CONFIDENCE
from analysis.trials import Reading, contest
from ciphers.alphabet import Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel

Array = NDArray[np.float64]

#: Bins of equal width from confidence 0 to 1.
BINS = 10
#: A token is uncertain where its confidence is below this.
CERTAIN = 0.99
#: Probabilities are scored after mixing in so much of the uniform distribution: a posterior from
#: finitely many draws says 0 where it means less than it can resolve.
SMOOTHING = 1e-3
RESAMPLES = 2000
#: Powers of the likelihood that `fit_temper` tries.
TEMPERS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)


def token_rows(reading: Reading) -> list[dict[str, Any]]:
    """What posterior decoding says of each symbol of one ciphertext, and whether it is right.

    Returns:
        One row for each distinct symbol, for all tokens of a symbol share their fate: decipherer,
        length, cipher; tokens, how often it occurs; confidence, the probability of the letter it
        was decoded to; right, 1 or 0; score, log2 of the probability of the true letter, bits.
    """
    trial, posterior = reading.trial, reading.posterior
    decoding = posterior.decode(trial.ciphertext, "marginal")
    symbols, first, counts = np.unique(trial.ciphertext, return_index=True, return_counts=True)
    truth = trial.plaintext[first]
    probability = (1 - SMOOTHING) * posterior.marginals[symbols, truth]
    score = np.log2(probability + SMOOTHING / posterior.alphabet.size)
    return [
        {
            "decipherer": reading.decipherer,
            "length": len(trial.ciphertext),
            "cipher": trial.number,
            "tokens": int(counts[i]),
            "confidence": decoding.confidence[first[i]],
            "right": float(decoding.ids[first[i]] == truth[i]),
            "score": score[i],
        }
        for i in range(len(symbols))
    ]


def token_frame(rows: Iterable[Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """One frame of the `token_rows` of many readings."""
    return pd.DataFrame([row for of_text in rows for row in of_text])


def reliability(tokens: pd.DataFrame) -> pd.DataFrame:
    """The reliability diagram (Murphy and Winkler 1977) of each decipherer and length.

    Args:
        tokens: what `token_frame` gives.

    Returns:
        One row for each bin that holds a token: decipherer, length; low and high, its ends; texts
        and tokens in it; confidence, their mean; accuracy, the share that is right, with its 95 %
        interval accuracy_low to accuracy_high (percentile bootstrap over texts).
    """
    rows = []
    for (decipherer, length), group in tokens.groupby(["decipherer", "length"], sort=False):
        sums = _Sums.of(group)
        draws = _resamples(len(sums.tokens))
        resampled_tokens, resampled_right = draws @ sums.tokens, draws @ sums.right
        for i in np.flatnonzero(sums.tokens.sum(axis=0)):
            held = resampled_tokens[:, i] > 0
            accuracies = resampled_right[held, i] / resampled_tokens[held, i]
            count = sums.tokens[:, i].sum()
            low, high = _ends(accuracies)
            rows.append(
                {
                    "decipherer": decipherer,
                    "length": length,
                    "low": i / BINS,
                    "high": (i + 1) / BINS,
                    "texts": int(np.count_nonzero(sums.tokens[:, i])),
                    "tokens": int(count),
                    "confidence": sums.confidence[:, i].sum() / count,
                    "accuracy": sums.right[:, i].sum() / count,
                    "accuracy_low": low,
                    "accuracy_high": high,
                }
            )
    return pd.DataFrame(rows)


def calibration_error(tokens: pd.DataFrame) -> pd.DataFrame:
    """How far confidence and accuracy are apart, for each decipherer and length.

    Args:
        tokens: what `token_frame` gives.

    Returns:
        One row for each decipherer and length, with the columns

        - decipherer, length, ciphers: which, and how many;
        - accuracy, confidence: means over all tokens;
        - uncertain: the share of tokens with a confidence below `CERTAIN`;
        - ece, ece_low, ece_high: the expected calibration error (Naeini, Cooper and Hauskrecht
          2015): the mean over tokens of |accuracy - confidence| of their bin; the ends of its 95 %
          interval (percentile bootstrap over texts);
        - ece_noise: the error that as many texts would show by chance if all confidences were
          right. The interval is shifted up by about as much, for a resample adds noise of its own;
        - score, score_low, score_high: mean log2 probability of the true letter, bits a token, a
          proper score (Good 1952), with its 95 % interval.
    """
    rows = []
    for (decipherer, length), group in tokens.groupby(["decipherer", "length"], sort=False):
        sums = _Sums.of(group)
        draws = _resamples(len(sums.tokens))
        per_text = sums.tokens.sum(axis=1)
        total = per_text.sum()
        # Texts of one length hold equally many tokens, so that each resample does too.
        ece_low, ece_high = _ends(np.abs(draws @ sums.excess).sum(axis=1) / total)
        score_low, score_high = _ends(draws @ sums.score / total)
        certain = group["confidence"] >= CERTAIN
        rows.append(
            {
                "decipherer": decipherer,
                "length": length,
                "ciphers": len(per_text),
                "accuracy": sums.right.sum() / total,
                "confidence": sums.confidence.sum() / total,
                "uncertain": 1 - group["tokens"][certain].sum() / total,
                "ece": np.abs(sums.excess.sum(axis=0)).sum() / total,
                "ece_low": ece_low,
                "ece_high": ece_high,
                "ece_noise": _noise(sums.excess) / total,
                "score": sums.score.sum() / total,
                "score_low": score_low,
                "score_high": score_high,
            }
        )
    return pd.DataFrame(rows)


def fit_temper(
    model: NGramModel,
    corpus: Corpus | Sequence[Ids],
    lengths: Sequence[int],
    ciphers: int = 50,
    seed: int = 0,
    *,
    tempers: Sequence[float] = TEMPERS,
    jobs: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> tuple[float, pd.DataFrame]:
    """The power of the likelihood under which the SMC decipherer scores best.

    A model that misfits a text is too sure of its letters. The tempered posterior, proportional to
    prior x likelihood^temper, trusts it less (Grünwald 2012). Of the powers tried, the one is taken
    that gives the true letters the highest mean log probability over all lengths; each is tried
    on the same ciphertexts with the same seeds.

    Args:
        model: the n-gram model.
        corpus: where the plaintexts come from: text that nothing is tested on.
        lengths, ciphers, seed: the ciphertexts, as of `accuracy_curve`.
        tempers: the powers to try.
        jobs, progress: see `accuracy_curve`.
        options: settings of `SMCDecipherer`.

    Returns:
        The best power; and what `calibration_error` says of each, labelled by the column `temper`
        instead of `decipherer`.

    Raises:
        InputError: there is no power to try, or an argument makes no sense.
    """
    if not tempers:
        raise InputError("there is no power of the likelihood to try: give at least one")
    samplers = {
        f"{temper:g}": partial(make_decipherer, "smc", model, temper=temper, **options)
        for temper in tempers
    }
    entered = contest(
        samplers, corpus, model.alphabet, lengths, ciphers, seed, model=model, jobs=jobs
    )
    tokens = token_frame(entered.read(token_rows, jobs=jobs, progress=progress))
    frame = calibration_error(tokens).rename(columns={"decipherer": "temper"})
    frame["temper"] = frame["temper"].astype(float)
    scores = frame.groupby("temper", sort=False)["score"].mean()
    return float(frame["temper"].unique()[scores.argmax()]), frame


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over the tokens of each of T texts, [T, BINS] by bins of confidence: how many they are,
    their confidences, how many are right; and [T] their scores."""

    tokens: Array
    confidence: Array
    right: Array
    score: Array

    @classmethod
    def of(cls, group: pd.DataFrame) -> _Sums:
        """Those of a frame of tokens of one decipherer and length."""
        text, _ = pd.factorize(group["cipher"])
        bins = np.minimum((group["confidence"].to_numpy() * BINS).astype(int), BINS - 1)
        count = group["tokens"].to_numpy(np.float64)
        tokens, confidence, right = np.zeros((3, text.max() + 1, BINS))
        np.add.at(tokens, (text, bins), count)
        np.add.at(confidence, (text, bins), count * group["confidence"].to_numpy())
        np.add.at(right, (text, bins), count * group["right"].to_numpy())
        score = np.bincount(text, count * group["score"].to_numpy()).astype(np.float64)
        return cls(tokens, confidence, right, score)

    @property
    def excess(self) -> Array:
        """[T, BINS] how many more are right than the confidences say."""
        return self.right - self.confidence


def _resamples(texts: int) -> Array:
    """[RESAMPLES, texts] how often a bootstrap sample holds each text; always the same."""
    rng = np.random.default_rng(0)
    return rng.multinomial(texts, np.full(texts, 1 / texts), RESAMPLES).astype(np.float64)


def _ends(values: Array) -> tuple[float, float]:
    """The ends of the percentile interval."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _noise(excess: Array) -> float:
    """Sum over bins of the mean |x| of a normal x with mean 0 and the variance that the sum of
    `excess` [T, BINS] over independent texts has; not a number for a single text."""
    if len(excess) < 2:
        return float("nan")
    deviation = np.sqrt(len(excess) * excess.var(axis=0, ddof=1))
    return float(np.sqrt(2 / np.pi) * deviation.sum())
