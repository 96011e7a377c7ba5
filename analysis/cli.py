"""The command `cipher-accuracy`: measure decipherers, write the table, draw the figure.

What is slow to import is imported once the arguments are known to be good, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from analysis.options import ALPHABET, CORPORA, LENGTHS, SEVERAL, add_text_options, read_corpus
from ciphers.alphabet import Alphabet, get_alphabet
from ciphers.errors import InputError
from decipher.commands import Parser, at_least, leave, run

if TYPE_CHECKING:
    import pandas as pd

    from analysis.trials import Contestant
    from decipher.lexinvariant.model import Transformer
    from decipher.ngram import NGramModel

PROG = "cipher-accuracy"

DECIPHERERS = ("ngram", "frequency")
#: Those that read the transformers of --model, and the ones they read by default.
READERS = ("linear", "mlp", "neighbour", "centroid", "predictive")
MODELS = ("letters-space-lexinvariant",)
RULES = ("map",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _measure_and_report(parser.parse_args(argv)), PROG)


def command() -> NoReturn:
    """The installed command."""
    leave(main())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how often decipherers of substitution ciphers are right, against the "
        "length of the ciphertext; write the table and draw the figure.",
        epilog=SEVERAL,
    )
    several = partial(parser.add_argument, nargs="+", action="extend")
    several(
        "--decipherer",
        metavar="NAME",
        help=f"the methods to measure (default: {' '.join(DECIPHERERS)}); "
        f"{', '.join(READERS[:-1])} and {READERS[-1]} read what is in the transformers of --model",
    )
    several(
        "--model",
        metavar="NAME|PATH",
        help="the transformers to read, shipped or from a file; the texts are then over their "
        f"alphabet (default: {' '.join(MODELS)})",
    )
    parser.add_argument(
        "--layer",
        metavar="N",
        type=at_least(0),
        help="probe the states after so many blocks (default: where a linear probe reads best)",
    )
    parser.add_argument(
        "--probe-texts",
        metavar="N",
        type=at_least(5),
        default=400,
        help="ciphertexts of the training split that probes are fitted to (default: %(default)s)",
    )
    add_text_options(parser, alphabet=None, ciphers=200)
    parser.add_argument(
        "--fixed",
        metavar="SYMBOLS",
        default="",
        help="symbols that every key leaves as they are, such as ' ' (default: none)",
    )
    several(
        "--rule",
        choices=["map", "marginal"],
        help="read a ciphertext with the most probable key (map), or with the key of the most "
        "symbols expected right (marginal); with both, each line is labelled by its rule "
        "(default: map)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.csv",
        type=Path,
        default=Path("results/accuracy.csv"),
        help="the table; a record of the run goes beside it as .json (default: %(default)s)",
    )
    plot = parser.add_mutually_exclusive_group()
    plot.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        default=Path("results/accuracy.png"),
        help="the figure: .png, .svg or .pdf (default: %(default)s)",
    )
    plot.add_argument(
        "--no-plot",
        dest="plot",
        action="store_const",
        const=None,
        help="draw no figure",
    )
    return parser


def _measure_and_report(arguments: argparse.Namespace) -> None:
    from analysis.curves import accuracy_curve
    from analysis.figures import figure_suffix, new_figure, plot_accuracy, save_figure
    from analysis.results import check_writable, describe_run, record_path, write_table
    from decipher.methods import check_methods
    from decipher.ngram import load_ngram

    named = arguments.decipherer or list(DECIPHERERS)
    check_methods(named, READERS)
    readers = [name for name in named if name in READERS]
    if not readers and (arguments.model or arguments.layer is not None):
        raise InputError(
            f"no method is named that reads a transformer: give --decipherer {READERS[0]}, say, "
            "or leave out --model and --layer"
        )

    out, plot = arguments.out, arguments.plot
    record = record_path(out)
    if plot is not None:
        figure_suffix(plot)
    transformers = _transformers(arguments) if readers else {}
    alphabet = _alphabet(arguments.alphabet, transformers)
    model = load_ngram(arguments.ngram or alphabet.name, alphabet)
    sources = arguments.corpus or CORPORA
    corpus = read_corpus(sources, arguments.split)
    for path in (out, record, plot):
        if path is not None:
            check_writable(path)

    rules = arguments.rule or RULES
    measurement = {
        "decipherers": named,
        "lengths": arguments.lengths or LENGTHS,
        "ciphers": arguments.ciphers,
        "seed": arguments.seed,
        "rule": rules[0] if len(rules) == 1 else rules,
        "fixed": arguments.fixed,
        "jobs": arguments.jobs or -1,
    }
    contestants, fits = _contestants(arguments, named, transformers, model)
    frame = accuracy_curve(
        corpus=corpus,
        alphabet=alphabet,
        model=model,
        **measurement | {"decipherers": contestants},
    )
    said = {
        "corpus": sources,
        "split": arguments.split,
        "alphabet": alphabet.name,
        "ngram": arguments.ngram or alphabet.name,
    }
    write_table(frame, out, describe_run(said | measurement | fits, arguments.seed, corpus, model))
    # The files come before the words: a reader that stops reading must not cost the figure.
    if plot is not None:
        figure = new_figure()
        plot_accuracy(frame, figure.add_subplot(), corpus=corpus.name)
        save_figure(figure, plot)
    _print_table(frame)
    print(f"table: {out}\nrecord of the run: {record}")
    if plot is not None:
        print(f"figure: {plot}")


def _transformers(arguments: argparse.Namespace) -> dict[str, Transformer]:
    """The transformers to read, by their labels, all over one alphabet.

    Raises:
        InputError: one does not exist or does not fit the lengths or another one; or the texts are
            those that probes are fitted to.
    """
    from analysis.models import load_models

    models = load_models(arguments.model or MODELS)
    (first, model), *others = models.items()
    for label, other in others:
        if other.alphabet != model.alphabet:
            raise InputError(
                f"{first} is over the alphabet {model.alphabet} and {label} over {other.alphabet}: "
                "compare models of one alphabet"
            )
    longest = max(arguments.lengths or LENGTHS)
    for label, each in models.items():
        if each.context < longest:
            raise InputError(
                f"{label} reads at most {each.context} symbols, not {longest}: take lengths up to "
                f"{each.context}, or leave it out"
            )
    if arguments.split in ("train", "all"):
        raise InputError(
            f"probes are fitted to the training split, which is in {arguments.split!r}: measure "
            "on validation or test"
        )
    return models


def _alphabet(name: str | None, models: Mapping[str, Transformer]) -> Alphabet:
    """The alphabet called `name`, by default that of the models."""
    of_models = next((model.alphabet for model in models.values()), None)
    if name is None:
        return of_models or get_alphabet(ALPHABET)
    alphabet = get_alphabet(name)
    if of_models is not None and of_models != alphabet:
        raise InputError(
            f"the models are over the alphabet {of_models}, not {alphabet}: leave out --alphabet"
        )
    return alphabet


def _contestants(
    arguments: argparse.Namespace,
    names: Sequence[str],
    models: Mapping[str, Transformer],
    ngram: NGramModel,
) -> tuple[dict[str, Contestant], dict[str, Any]]:
    """What to measure, by its label; and what the record says of the readers of transformers."""
    readers = [name for name in names if name in READERS]
    found: dict[str, Contestant] = {}
    fits: dict[str, Any] = {}
    if readers:
        from analysis.readers import make_readers

        fitted = make_readers(
            readers,
            models,
            ngram,
            read_corpus(arguments.corpus or CORPORA, "train"),
            texts=arguments.probe_texts,
            layer=arguments.layer,
            fixed=arguments.fixed,
            seed=arguments.seed,
        )
        fits = {
            "models": list(arguments.model or MODELS),
            "probe_texts": arguments.probe_texts,
            "layer": arguments.layer,
            "readers": {label: reader.about for label, reader in fitted.items()},
        }
    # In the order in which they were named.
    for name in names:
        if name in readers:
            found |= {f"{name}, {label}": fitted[f"{name}, {label}"] for label in models}
        else:
            found[name] = name
    return found, fits


def _print_table(frame: pd.DataFrame) -> None:
    """Print the rates with their intervals, on a terminal so that 80 columns hold them."""
    if not sys.stdout.isatty():
        print(_cells(frame, "{:.3f} ({:.3f}-{:.3f})").to_string(index=False))
    else:
        from rich.console import Console
        from rich.table import Table

        cells = _cells(frame, "{:.3f}\n{:.2f}-{:.2f}")
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for column in cells:
            table.add_column(str(column), justify="left" if column == "decipherer" else "right")
        for row in cells.itertuples(index=False):
            table.add_row(*row)
        Console(markup=False).print(table)
    print("Each rate with its 95 % confidence interval; seconds are the mean for one ciphertext.")


def _cells(frame: pd.DataFrame, layout: str) -> pd.DataFrame:
    """The table as text; `layout` takes a rate and the two ends of its interval."""
    import pandas as pd

    def rates(name: str) -> list[str]:
        columns = frame[[name, f"{name}_low", f"{name}_high"]]
        rows = columns.itertuples(index=False)
        return ["-" if pd.isna(row[0]) else layout.format(*row) for row in rows]

    return pd.DataFrame(
        {
            "decipherer": frame["decipherer"],
            "length": frame["length"].astype(str),
            "ciphers": frame["ciphers"].astype(str),
            "token accuracy": rates("token_accuracy"),
            "key accuracy": rates("key_accuracy"),
            "exact": rates("exact_rate"),
            "search failure": rates("search_failure_rate"),
            "seconds": [f"{seconds:.2g}" for seconds in frame["seconds"]],
        }
    )


if __name__ == "__main__":
    leave(main())
