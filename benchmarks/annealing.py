"""What a population of annealed SMC knows, by path and by budget: its spread and its time.

Each setting anneals the same ciphertexts (27 symbols, validation split) several times over. The
guide is the n-gram model that leads the way (0: none, the full model alone), the heat is the power
of the likelihood at which the path changes from the guide to the full model (1: the guide's own
posterior). For each setting:

    spread      standard deviation of the log evidence between populations, nats, median over texts
    worst       the same, of the text where it is largest
    short       how far the log evidence falls below that of all settings' populations taken
                together, nats, mean over populations: what a population misses
    tv          total variation between a population's marginals and those of all settings'
                populations together, mean over the symbols of the text and over texts
    seconds     processor time to anneal one population

The last rows are the cost of a fixed budget: 1,000 particles and 200 swaps at 512 symbols.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from common import Report, benchmark_parser
from scipy.special import logsumexp
from tqdm import tqdm

from ciphers.alphabet import LETTERS_SPACE, Ids
from ciphers.samples import cryptograms
from decipher.commands import at_least, run
from decipher.ngram import NGramModel, load_ngram
from decipher.sampling import smc, spaces
from decipher.sampling.smc import Population, anneal
from decipher.sampling.spaces import KeySpace

COLUMNS = {
    "length": "d",
    "guide": "d",
    "heat": ".1f",
    "particles": ",d",
    "swaps": ",d",
    "share": ".2f",
    "spread": ".2f",
    "worst": ".2f",
    "short": ".2f",
    "tv": ".3f",
    "steps": ".0f",
    "seconds": ".2f",
}


class Setting(NamedTuple):
    """A path and a budget; the defaults are the decipherer's own, but for the particles."""

    guide: int = spaces.GUIDE_ORDER
    heat: float = spaces.HEAT
    particles: int = 500
    swaps: int = smc.SWAPS
    share: float = smc.SHARE


SETTINGS = (
    Setting(),
    Setting(guide=0),
    Setting(guide=2),
    Setting(guide=4),
    Setting(heat=1.0),
    Setting(heat=0.3),
    Setting(particles=125),
    Setting(particles=2000),
    Setting(swaps=50),
    Setting(swaps=800),
    Setting(share=0.5),
    Setting(share=0.5, particles=1500),
)
#: The budget whose time is asked for.
FIXED = (Setting(particles=1000), Setting(particles=1000, share=0.5))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = benchmark_parser("annealing", __doc__)
    whole = at_least(1)
    parser.add_argument("--lengths", nargs="+", type=whole, default=[16, 32, 64, 128], metavar="N")
    parser.add_argument("--ciphers", type=whole, default=8, metavar="N")
    parser.add_argument("--repeats", type=at_least(2), default=4, metavar="N")
    return run(lambda: _measure(parser.parse_args(argv)), parser.prog)


def _measure(arguments: argparse.Namespace) -> None:
    model = load_ngram(LETTERS_SPACE.name)
    report = Report(arguments, COLUMNS, model)
    plan = [(length, SETTINGS) for length in arguments.lengths] + [(512, FIXED)]
    for length, settings in plan:
        rng = np.random.default_rng([arguments.seed, length])
        count = arguments.ciphers
        batch = cryptograms(report.corpus.validation, LETTERS_SPACE, length, count, rng)
        _anneal(model, settings[0], batch.ciphertext[0], rng)  # compiles, fills tables
        bar = tqdm(total=len(settings) * count, desc=f"{length} symbols", disable=None)
        found: dict[Setting, list[list[Population]]] = {}
        seconds: dict[Setting, float] = {}
        for setting in settings:
            begin = time.process_time()
            found[setting] = []
            for text in batch.ciphertext:
                found[setting].append(
                    [_anneal(model, setting, text, rng) for _ in range(arguments.repeats)]
                )
                bar.update()
            seconds[setting] = (time.process_time() - begin) / (count * arguments.repeats)
        bar.close()
        _report(report, length, batch.ciphertext, found, seconds)
    report.close()


def _anneal(model: NGramModel, setting: Setting, text: Ids, rng: np.random.Generator) -> Population:
    powers = np.array([[0, 0], [setting.heat, 0], [0, setting.heat], [0, 1]])
    space = KeySpace(model, text, {}, guide_order=setting.guide or model.order)
    with patch.object(spaces, "POWERS", powers), patch.object(smc, "POWERS", powers):
        return anneal(space, setting.particles, rng, swaps=setting.swaps, share=setting.share)


def _report(
    report: Report,
    length: int,
    texts: Ids,
    found: dict[Setting, list[list[Population]]],
    seconds: dict[Setting, float],
) -> None:
    spreads: dict[Setting, list[float]] = {setting: [] for setting in found}
    shorts: dict[Setting, list[float]] = {setting: [] for setting in found}
    distances: dict[Setting, list[float]] = {setting: [] for setting in found}
    for i, text in enumerate(texts):
        shares = np.bincount(text, minlength=LETTERS_SPACE.size) / length
        union = [p for populations in found.values() for p in populations[i]]
        log_weights = np.array([p.log_evidence + np.log(len(p.keys)) for p in union])
        together = logsumexp(log_weights) - np.log(sum(len(p.keys) for p in union))
        weights = np.exp(log_weights - logsumexp(log_weights))
        marginals = np.tensordot(weights, [p.occupancy for p in union], axes=1)
        for setting, populations in found.items():
            evidence = np.array([p.log_evidence for p in populations[i]])
            spreads[setting].append(float(evidence.std(ddof=1)))
            shorts[setting].append(float(together - evidence.mean()))
            distances[setting] += [
                float(shares @ np.abs(p.occupancy - marginals).sum(axis=1) / 2)
                for p in populations[i]
            ]
    for setting in found:
        report.add(
            length=length,
            **setting._asdict(),
            ciphers=len(texts),
            spread=float(np.median(spreads[setting])),
            worst=float(np.max(spreads[setting])),
            short=float(np.mean(shorts[setting])),
            tv=float(np.mean(distances[setting])),
            steps=float(np.mean([p.steps for each in found[setting] for p in each])),
            seconds=seconds[setting],
        )


if __name__ == "__main__":
    sys.exit(main())
