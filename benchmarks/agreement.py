"""Whether the samplers agree with the truth: SMC and parallel tempering against enumeration.

The languages are random Markov chains, with models estimated from 2,000 symbols of each; the
ciphertexts are texts drawn from the models, each under a random key. For each setting:

    tv          total variation between the marginals of a sampler and the exact ones, mean over the
                symbols that occur and over ciphertexts; tv_worst is the ciphertext of the largest
    evidence    the largest error of the log evidence, nats
    z           root mean square of the evidence's error over its stated standard error: about 1
                where the errors are honest (1.7 where they come from four populations)
    seconds     processor time a ciphertext

`budget` multiplies the particles of SMC's first and only round, and the draws of tempering: four
times as many should halve the error. Budget 0 is the default budget.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from common import Report, benchmark_parser
from tqdm import tqdm

from ciphers.alphabet import Alphabet
from ciphers.keys import Key
from decipher.commands import at_least, run
from decipher.exact.enumeration import EnumerationDecipherer
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel
from decipher.posterior import KeyPosterior

COLUMNS = {
    "method": "",
    "symbols": "d",
    "order": "d",
    "budget": "d",
    "ciphers": "d",
    "tv": ".4f",
    "tv_worst": ".4f",
    "evidence": ".4f",
    "z": ".2f",
    "seconds": ".2f",
}
#: Particles of SMC and draws of tempering for a budget of 1.
PARTICLES = 250
DRAWS = 250
TRAINING = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = benchmark_parser("agreement", __doc__)
    whole = at_least(1)
    parser.add_argument("--symbols", nargs="+", type=whole, default=[5, 6, 7, 8], metavar="V")
    parser.add_argument("--orders", nargs="+", type=whole, default=[2, 3], metavar="N")
    parser.add_argument("--ciphers", type=whole, default=50, metavar="N")
    parser.add_argument("--longest", type=whole, default=40, metavar="N")
    parser.add_argument("--methods", nargs="+", choices=["smc", "tempering"], default=["smc"])
    parser.add_argument("--budgets", nargs="+", type=at_least(0), default=[0, 1, 4])
    return run(lambda: _measure(parser.parse_args(argv)), parser.prog)


def _measure(arguments: argparse.Namespace) -> None:
    report = Report(arguments, COLUMNS)
    for size in arguments.symbols:
        for order in arguments.orders:
            rng = np.random.default_rng([arguments.seed, size, order])
            model = _model(size, order, rng)
            texts = [
                Key.random(model.alphabet, rng).encrypt(model.sample(length, 1, rng)[0])
                for length in rng.integers(2, arguments.longest + 1, arguments.ciphers)
            ]
            exact = [EnumerationDecipherer(model).posteriors(t, [len(t)])[0] for t in texts]
            for method in arguments.methods:
                for budget in arguments.budgets:
                    _compare(report, method, model, budget, texts, exact, arguments.seed)
    report.close()


def _model(size: int, order: int, rng: np.random.Generator) -> NGramModel:
    """An n-gram model of a random Markov chain with skewed transitions."""
    cumulative = rng.dirichlet(np.full(size, 0.4), size).cumsum(axis=1)
    text = np.zeros(TRAINING, np.uint8)
    for i, u in enumerate(rng.random(TRAINING - 1)):
        text[i + 1] = min(int(np.searchsorted(cumulative[text[i]], u)), size - 1)
    return NGramModel.estimate([text], Alphabet("abcdefghi"[:size], f"first-{size}"), order)


def _compare(
    report: Report,
    method: str,
    model: NGramModel,
    budget: int,
    texts: Sequence[np.ndarray],
    exact: Sequence[KeyPosterior],
    seed: int,
) -> None:
    options: dict[str, int] = {}
    if budget:
        options = (
            {"particles": budget * PARTICLES, "rounds": 1}
            if method == "smc"
            else {"draws": budget * DRAWS}
        )
    distances, errors, scores = [], [], []
    begin = time.process_time()
    for i, (text, truth) in enumerate(
        zip(tqdm(texts, desc=f"{method} {budget}", disable=None), exact, strict=True)
    ):
        rng = np.random.default_rng([seed, model.alphabet.size, model.order, i])
        decipherer = make_decipherer(method, model, rng=rng, **options)
        (found,) = decipherer.posteriors(text, [len(text)])
        gap = np.abs(found.marginals - truth.marginals)[truth.seen].sum(axis=1) / 2
        distances.append(gap.mean())
        assert found.log_evidence is not None
        assert truth.log_evidence is not None
        errors.append(found.log_evidence - truth.log_evidence)
        scores.append(errors[-1] / max(found.info["log_evidence_error"], 1e-4))
    report.add(
        method=method,
        symbols=model.alphabet.size,
        order=model.order,
        budget=budget,
        ciphers=len(texts),
        tv=float(np.mean(distances)),
        tv_worst=float(np.max(distances)),
        evidence=float(np.abs(errors).max()),
        z=float(np.sqrt(np.mean(np.square(scores)))),
        seconds=(time.process_time() - begin) / len(texts),
    )


if __name__ == "__main__":
    sys.exit(main())
