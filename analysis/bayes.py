"""The command `python -m analysis.bayes`: the exact Bayesian reference, a table and a figure for
each of its questions.

What is slow to import is imported once the arguments are known to be good, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.options import CORPORA, LENGTHS, SEVERAL, add_text_options, read_corpus
from ciphers.alphabet import Alphabet, get_alphabet
from ciphers.corpora import BUILT_IN, Corpus, load_corpus
from decipher.commands import Parser, at_least, leave, run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.trials import Reading
    from decipher.ngram import NGramModel

PROG = "python -m analysis.bayes"

#: Each part, the tables it writes, and what it answers. A figure bears the part's name.
PARTS = {
    "accuracy": (("accuracy", "texts"), "how many symbols are right, against length"),
    "regret": (("regret", "texts"), "the bits that the unknown key costs, against length"),
    "reliability": (
        ("reliability", "calibration", "texts"),
        "whether the confidence in a letter is right",
    ),
    "sbc": (("sbc",), "whether the samplers sample the posterior"),
    "certificates": (("certificates",), "how often the most probable key is proven to be it"),
    "temper": (("temper",), "how far the model is to be trusted; for a validation split"),
}
#: What is done unless --only says otherwise: a power is fitted to other text than is tested on.
DEFAULT_PARTS = ("accuracy", "regret", "reliability", "sbc", "certificates")
#: Those that one pass over the same readings serves.
SURVEYS = ("accuracy", "regret", "reliability")

#: The lines of the accuracy figure: the label by `measure`, and in words.
CURVES = {
    "frequency (map)": "frequency ranking",
    "ngram (map)": "n-gram search, MAP key",
    "smc (map)": "SMC, MAP key",
    "smc (marginal)": "SMC, posterior decoding",
}

#: Simulation-based calibration is exact where all keys can be enumerated: over the six commonest
#: letters, all else left out.
SIX = Alphabet("etaoin", "six-letters")
SIX_ORDER = 3
SIX_LENGTH = 12
SIX_SETTINGS: dict[str, Any] = {"particles": 100, "islands": 2, "rounds": 1, "swaps": 20}
#: Its texts over the whole alphabet, and the settings that it can afford there.
WHOLE_LENGTH = 24
WHOLE_SETTINGS: dict[str, Any] = {"particles": 1000, "islands": 2, "rounds": 1}
#: Of the replications, the whole alphabet gets one in so many.
WHOLE_SHARE = 4

#: What powers of the likelihood are compared with: many texts matter more than each one's error.
TEMPER_SETTINGS: dict[str, Any] = {"particles": 500, "islands": 2, "rounds": 1}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure the Bayesian decipherers and draw the figures: "
        + "; ".join(f"{part}, {question}" for part, (_, question) in PARTS.items())
        + ".",
        epilog=SEVERAL,
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results/bayes"),
        help="where the tables (.csv), the records of how they were made (.json) and the figures "
        "(.png) go (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="PART",
        nargs="+",
        action="extend",
        choices=list(PARTS),
        help=f"the parts to do, of {', '.join(PARTS)} (default: all but temper)",
    )
    add_text_options(parser, alphabet="letters-space", ciphers=30)
    parser.add_argument(
        "--replications",
        metavar="N",
        type=at_least(1),
        default=1000,
        help="texts drawn from the six-letter model for sbc; over the whole alphabet one for every "
        f"{WHOLE_SHARE} of them (default: %(default)s)",
    )
    parser.add_argument(
        "--tempers",
        metavar="POWER",
        nargs="+",
        action="extend",
        type=_power,
        help="powers of the likelihood that temper tries (default: 0.5 to 1.1 by tenths)",
    )
    return parser


def _power(text: str) -> float:
    """The type of a power of the likelihood."""
    try:
        power = float(text)
    except ValueError:
        power = 0.0
    if not 0 < power < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no power above 0")
    return power


@dataclass(frozen=True, eq=False)
class _Task:
    """What to measure, and where the results go."""

    out: Path
    sources: Sequence[str]
    split: str
    corpus: Corpus
    model: NGramModel
    lengths: Sequence[int]
    ciphers: int
    replications: int
    tempers: Sequence[float] | None
    seed: int
    jobs: int

    @property
    def texts(self) -> dict[str, Any]:
        """The arguments of every measurement that reads windows of the corpus."""
        return {
            "corpus": self.corpus,
            "lengths": self.lengths,
            "ciphers": self.ciphers,
            "seed": self.seed,
            "jobs": self.jobs,
        }

    def write(self, frame: pd.DataFrame, name: str, settings: Mapping[str, Any]) -> None:
        """Write a table and its record; `settings` are those of the part."""
        from analysis.results import describe_run, write_table

        said = {
            "corpus": list(self.sources),
            "split": self.split,
            "alphabet": self.model.alphabet.name,
            "lengths": list(self.lengths),
            "ciphers": self.ciphers,
            "seed": self.seed,
            "jobs": self.jobs,
        }
        record = describe_run(said | dict(settings), self.seed, self.corpus, self.model)
        write_table(frame, self.out / f"{name}.csv", record)

    def draw(self, figure: Figure, name: str) -> None:
        """Write a figure."""
        from analysis.figures import save_figure

        save_figure(figure, self.out / f"{name}.png")


def _run(arguments: argparse.Namespace) -> None:
    from analysis.results import check_outputs
    from decipher.ngram import load_ngram

    parts = [part for part in PARTS if part in (arguments.only or DEFAULT_PARTS)]
    alphabet = get_alphabet(arguments.alphabet)
    model = load_ngram(arguments.ngram or alphabet.name, alphabet)
    sources = arguments.corpus or CORPORA
    task = _Task(
        arguments.out,
        sources,
        arguments.split,
        read_corpus(sources, arguments.split),
        model,
        arguments.lengths or LENGTHS,
        arguments.ciphers,
        arguments.replications,
        arguments.tempers,
        arguments.seed,
        arguments.jobs or -1,
    )
    for part in parts:
        tables, _ = PARTS[part]
        check_outputs(task.out, tables, [part])

    surveys = [part for part in parts if part in SURVEYS]
    if surveys:
        _survey(task, surveys)
    for part in parts:
        if part not in SURVEYS:
            OTHERS[part](task)
    print(f"tables, records and figures: {task.out}")


# --- accuracy, regret, reliability --------------------------------------------------------------


def _survey(task: _Task, parts: Sequence[str]) -> None:
    """Read the ciphertexts once for all of `parts`."""
    from analysis.calibration import token_frame
    from analysis.curves import text_frame
    from analysis.trials import contest

    methods = ("frequency", "ngram", "smc") if "accuracy" in parts else ("smc",)
    entered = contest(methods, alphabet=task.model.alphabet, model=task.model, **task.texts)
    observed = entered.read(_survey_rows, jobs=task.jobs)
    texts = text_frame([rows for rows, _ in observed])
    texts = texts[texts["decipherer"].isin(CURVES)].replace({"decipherer": CURVES})
    tokens = token_frame(rows for _, rows in observed)
    settings = {"decipherers": list(methods)}
    task.write(texts, "texts", settings)
    if "accuracy" in parts:
        _accuracy(task, texts, settings)
    if "regret" in parts:
        _regret(task, texts, settings)
    if "reliability" in parts:
        _reliability(task, tokens[tokens["decipherer"] == "smc"], settings)


def _survey_rows(reading: Reading) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from analysis.calibration import token_rows
    from analysis.curves import text_rows

    return text_rows(reading, ("map", "marginal")), token_rows(reading)


def _accuracy(task: _Task, texts: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    from analysis.curves import summarise
    from analysis.figures import new_figure, plot_accuracy

    frame = summarise(texts)
    task.write(frame, "accuracy", settings)
    figure = new_figure()
    plot_accuracy(frame, figure.add_subplot(), corpus=task.corpus.name)
    task.draw(figure, "accuracy")
    shown = frame.pivot(index="length", columns="decipherer", values="token_accuracy")
    _print("Token accuracy", shown[frame["decipherer"].unique()].reset_index())


def _regret(task: _Task, texts: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    from analysis.figures import new_figure, plot_regret
    from analysis.regret import regret_curve

    of_smc = texts[texts["decipherer"] == CURVES["smc (marginal)"]].replace(
        {"decipherer": {CURVES["smc (marginal)"]: "SMC"}}
    )
    frame = regret_curve(of_smc, task.model.alphabet.size)
    task.write(frame, "regret", settings)
    figure = new_figure()
    plot_regret(frame, of_smc, figure.add_subplot(), corpus=task.corpus.name)
    task.draw(figure, "regret")
    _print("Regret in bits; no text may lie above the bound", frame.drop(columns="decipherer"))


def _reliability(task: _Task, tokens: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    from analysis.calibration import calibration_error, reliability
    from analysis.figures import plot_reliability

    bins, errors = reliability(tokens), calibration_error(tokens)
    task.write(bins, "reliability", settings)
    task.write(errors, "calibration", settings)
    task.draw(plot_reliability(bins, errors, corpus=task.corpus.name), "reliability")
    _print("Calibration of posterior decoding", errors.drop(columns="decipherer"))


# --- the other parts ----------------------------------------------------------------------------


def _sbc(task: _Task) -> None:
    from functools import partial

    import pandas as pd

    from analysis.figures import plot_sbc
    from analysis.sbc import sbc, sbc_histogram, sbc_test
    from decipher.methods import make_decipherer
    from decipher.ngram import NGramModel

    text, _ = load_corpus(BUILT_IN).train.encode_joined(SIX)
    six = NGramModel.estimate([text], SIX, SIX_ORDER, {"corpus": BUILT_IN})
    small = {
        "enumeration, V = 6": partial(make_decipherer, "enumerate", six),
        "SMC, V = 6": partial(make_decipherer, "smc", six, **SIX_SETTINGS),
    }
    whole = {
        f"SMC, V = {task.model.alphabet.size}": partial(
            make_decipherer, "smc", task.model, **WHOLE_SETTINGS
        )
    }
    replications = -(-task.replications // WHOLE_SHARE)
    pits = pd.concat(
        [
            sbc(small, six, SIX_LENGTH, task.replications, task.seed, jobs=task.jobs),
            sbc(whole, task.model, WHOLE_LENGTH, replications, task.seed, jobs=task.jobs),
        ]
    )
    histogram = sbc_histogram(pits)
    settings = {
        "six letters": {"order": SIX_ORDER, "hash": six.hash, "length": SIX_LENGTH, **SIX_SETTINGS},
        "whole alphabet": {"length": WHOLE_LENGTH, **WHOLE_SETTINGS},
    }
    task.write(histogram, "sbc", settings)
    task.draw(plot_sbc(histogram), "sbc")
    _print("Uniform ranks of the truth (chi-square test)", sbc_test(pits))


def _certificates(task: _Task) -> None:
    from analysis.certificates import certificates, lower_order
    from analysis.figures import plot_certificates

    model = lower_order(task.model)
    frame = certificates("astar", model, **task.texts)
    task.write(frame, "certificates", {"decipherer": "astar", "order": model.order})
    task.draw(plot_certificates(frame, corpus=task.corpus.name), "certificates")
    _print(f"Keys proven the most probable under {model.order}-grams", frame)


def _temper(task: _Task) -> None:
    from analysis.calibration import TEMPERS, fit_temper
    from analysis.figures import plot_temper

    tempers = task.tempers or TEMPERS
    best, frame = fit_temper(task.model, **task.texts, tempers=tempers, **TEMPER_SETTINGS)
    task.write(frame, "temper", {"tempers": list(tempers), **TEMPER_SETTINGS})
    task.draw(plot_temper(frame, corpus=task.corpus.name), "temper")
    columns = ["temper", "length", "uncertain", "ece", "ece_noise", "score"]
    _print(f"Powers of the likelihood; the best score is at {best:g}", frame[columns])


OTHERS: dict[str, Callable[[_Task], None]] = {
    "sbc": _sbc,
    "certificates": _certificates,
    "temper": _temper,
}


def _print(title: str, frame: pd.DataFrame) -> None:
    print(f"\n{title}\n{frame.to_string(index=False, float_format='{:.3g}'.format, na_rep='-')}")


if __name__ == "__main__":
    leave(main())
