"""What the symbols of a text cost a model, against how many came before; and the command
`python -m analysis.perplexity`, which draws it.

A reader without the alphabet starts out far behind one with it and, if it learns from what it
reads, draws level: Huang et al. 2023 (arXiv 2305.16349, section 4.1) show it by perplexity against
context. The same losses, added up, are the regret: the bits that the unknown alphabet has cost so
far. The Bayes mixture over all V! keys never pays more than log2 V! of them (`analysis.regret`).

Lexinvariant models and the mixture give a text and its encryption the same probability, so all
models read the same plain windows.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from analysis.certificates import lower_order
from analysis.intervals import CONFIDENCE
from analysis.models import describe_models, load_models, seeded_generator
from analysis.options import (
    CORPORA,
    SEVERAL,
    add_corpus_options,
    add_device_option,
    add_out_option,
    read_corpus,
)
from analysis.regret import ERRORS, log2_keys
from ciphers.alphabet import Alphabet, Ids
from ciphers.errors import InputError
from ciphers.samples import cryptograms
from decipher.commands import Parser, at_least, leave, run
from decipher.ngram import SHIPPED, NGramModel, load_ngram
from decipher.sampling.smc import Prediction, SMCDecipherer

if TYPE_CHECKING:
    import torch

    from decipher.lexinvariant.model import Transformer

PROG = "python -m analysis.perplexity"

MODELS = ("letters-space-standard", "letters-space-lexinvariant")
ORDERS = (1, 2, 3, 4, 5)
#: The contexts of the table, and the share of each that its band of positions takes up: the loss
#: at one position is too noisy.
CONTEXTS = (32, 64, 128, 256, 512)
BAND = 0.25
#: Bands of the figures in each doubling of the position.
PER_OCTAVE = 4

#: Texts that a transformer reads at a time.
BATCH = 16
#: Half the populations and rounds of the default: the error of a text's evidence, about 0.2 nats,
#: is far below the spread between texts.
SMC_SETTINGS: dict[str, Any] = {"islands": 2, "rounds": 2}
MIXTURE = "Bayes mixture"

#: What the command leaves.
TABLES = ("positions", "bands", "contexts")
PICTURES = ("loss", "gap")

Kind = Literal["standard", "lexinvariant", "mixed", "n-gram", "mixture"]
Bits = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Losses:
    """What the symbols of N texts cost a model.

    Attributes:
        model: its label.
        kind: what it is; a mixed model is one that reads some symbols by learned vectors.
        bits: [N, n]; entry i of a text is -log2 p(symbol i | those before it).
        standard: [N, n] the bits of the standard model, with which perplexity is compared; None
            where there is none.
        baseline: [N, n] the bits of the model that regret is against; None where there is none.
        error: [N, n] the standard errors of the sums of the first i + 1 bits; None where exact.
    """

    model: str
    kind: Kind
    bits: Bits
    standard: Bits | None = None
    baseline: Bits | None = None
    error: Bits | None = None


# --- reading ------------------------------------------------------------------------------------


def measure(
    models: Mapping[str, Transformer],
    texts: Ids,
    ngram: NGramModel | None = None,
    orders: Sequence[int] = ORDERS,
    bayes: int = 0,
    draws: int = 1,
    seed: int = 0,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> list[Losses]:
    """Let models read texts.

    Args:
        models: label -> transformer. The first with learned vectors is the standard model: the
            baseline of the regret of all, and what perplexities are compared with.
        texts: [N, n] ids.
        ngram: the n-gram model of the highest order; None leaves out n-grams and the mixture.
        orders: of the n-gram models.
        bayes: so many of the texts, from the first, are read by the Bayes mixture over all keys
            (annealed SMC), under `ngram`, which is the baseline of its regret.
        draws: sets of vectors with which a model that draws them reads each text; losses are
            averaged.
        seed: of all random numbers.
        jobs: texts that the mixture reads at a time, -1 for one a core; the result does not
            depend on it.
        progress: whether to show a bar; by default where standard error is a terminal.

    Returns:
        One entry for each model: transformers, n-grams by order, the mixture.

    Raises:
        InputError: there is nothing to read, models do not share an alphabet, one has too little
            context, an order cannot be made, or a label is used twice.
    """
    _check(models, texts, ngram, orders, bayes, draws)
    # The mixture's numbers must not change with the models beside it, nor theirs with each other.
    for_vectors, for_keys = np.random.SeedSequence(seed).spawn(2)
    found = []
    for label, model in models.items():
        generator = seeded_generator(model, for_vectors)
        bits = transformer_losses(model, texts, generator, draws, label=label, progress=progress)
        found.append(Losses(label, _kind(model), bits))
    standard = next((losses.bits for losses in found if losses.kind == "standard"), None)
    found = [Losses(each.model, each.kind, each.bits, standard, standard) for each in found]
    if ngram is None:
        return found
    found += [
        Losses(_ngram_label(k), "n-gram", ngram_losses(lower_order(ngram, k), texts), standard)
        for k in orders
    ]
    if bayes:
        texts = texts[:bayes]
        rng = np.random.default_rng(for_keys)
        bits, error = mixture_losses(ngram, texts, rng, jobs=jobs, progress=progress)
        of_standard = None if standard is None else standard[:bayes]
        baseline = ngram_losses(ngram, texts)
        found.append(Losses(MIXTURE, "mixture", bits, of_standard, baseline, error))
    return found


def transformer_losses(
    model: Transformer,
    texts: Ids,
    generator: torch.Generator,
    draws: int = 1,
    *,
    label: str = "reading",
    progress: bool | None = None,
) -> Bits:
    """-log2 p(symbol | those before it), [N, n].

    Args:
        model: the transformer; it draws its own vectors.
        texts: [N, n] ids, n at most the model's context.
        generator: of the model's device.
        draws: sets of vectors to average the loss over; standard models need one only.
        label, progress: of the bar, see `measure`.

    Raises:
        InputError: the texts are longer than the context.
    """
    import torch

    draws = 1 if model.config.embedding == "learned" else draws
    bits = np.zeros(texts.shape)
    with _bar(len(texts), label, progress) as bar:
        for start in range(0, len(texts), BATCH):
            rows = slice(start, start + BATCH)
            tokens = torch.tensor(texts[rows], device=model.device)
            for _ in range(draws):
                bits[rows] += model.loss_by_position(tokens, generator).cpu().numpy()
            bar.update(len(tokens))
    return bits / (draws * math.log(2))


def ngram_losses(model: NGramModel, texts: Ids) -> Bits:
    """-log2 p(symbol | those before it), [N, n]; the first symbols of a text have less context.

    Raises:
        InputError: an id lies outside the alphabet.
    """
    return -model.log_prob(texts) / math.log(2)


def mixture_losses(
    model: NGramModel,
    texts: Ids,
    rng: np.random.Generator,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> tuple[Bits, Bits]:
    """What the symbols of texts cost the Bayes mixture over all keys.

    Arguments and errors are those of `mixture_predictions`.

    Returns:
        What `prediction_losses` gives.
    """
    return prediction_losses(mixture_predictions(model, texts, rng, jobs=jobs, progress=progress))


def mixture_predictions(
    model: NGramModel,
    texts: Ids,
    rng: np.random.Generator,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> list[Prediction]:
    """The Bayes mixture over all keys, by annealed SMC: p'(x) = (1/V!) sum over keys of
    p(decrypt(x, key)) (Huang et al. 2023, theorem 2.1).

    Args:
        model: p.
        texts: [N, n] ids, encrypted or not.
        rng: where every random number comes from.
        jobs, progress: see `measure`.

    Returns:
        What the sampler says of each text, symbol by symbol.

    Raises:
        InputError: the table of the model is too large for the sampler.
    """
    import joblib

    readers = [SMCDecipherer(model, each, **SMC_SETTINGS) for each in rng.spawn(len(texts))]
    tasks = (
        joblib.delayed(reader.predict)(text) for reader, text in zip(readers, texts, strict=True)
    )
    # The compiled loops release the GIL, so threads serve.
    found = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)
    predictions = []
    with _bar(len(texts), MIXTURE, progress) as bar:
        for prediction in found:
            predictions.append(prediction)
            bar.update()
    return predictions


def prediction_losses(predictions: Sequence[Prediction]) -> tuple[Bits, Bits]:
    """The losses, bits [N, n], and the standard errors of their running sums, bits [N, n].

    The loss of a symbol is by how much it lowers the log evidence; where the population was
    annealed afresh the Monte Carlo error of both evidences is in it, so that sums are as exact as
    the last evidence, but a single loss may even be negative.
    """
    evidence = np.array([each.log_evidence for each in predictions])
    error = np.array([each.log_evidence_error[1:] for each in predictions])
    return -np.diff(evidence) / math.log(2), error / math.log(2)


def _check(
    models: Mapping[str, Transformer],
    texts: Ids,
    ngram: NGramModel | None,
    orders: Sequence[int],
    bayes: int,
    draws: int,
) -> None:
    if texts.ndim != 2 or 0 in texts.shape:
        raise InputError("there is no text to read: give at least one of at least one symbol")
    if bayes < 0 or draws < 1:
        raise InputError(f"{bayes} texts and {draws} draws: give 0 or more texts, 1 or more draws")
    named: dict[str, Alphabet] = {label: model.alphabet for label, model in models.items()}
    if ngram is not None:
        named["the n-gram table"] = ngram.alphabet
        for order in orders:
            if not 1 <= order <= ngram.order:
                raise InputError(
                    f"the n-gram table has the orders 1 to {ngram.order}, not {order}: ask for "
                    "those, or give a table of a higher order"
                )
        labels = [*models, *map(_ngram_label, orders), *([MIXTURE] if bayes else [])]
    else:
        labels = list(models)
    if not labels:
        raise InputError("there is no model to read with: name at least one")
    for label, count in Counter(labels).items():
        if count > 1:
            raise InputError(f"{label} is named {count} times: name each model once")
    (first, alphabet), *others = named.items()
    for label, other in others:
        if other != alphabet:
            raise InputError(
                f"{first} is over the alphabet {alphabet} and {label} over {other}: compare models "
                "of one alphabet"
            )
    for label, model in models.items():
        if model.config.context < texts.shape[1]:
            raise InputError(
                f"{label} reads at most {model.config.context} symbols, not {texts.shape[1]}: take "
                f"a length of {model.config.context} or less, or leave it out"
            )


def _kind(model: Transformer) -> Kind:
    kinds: dict[str, Kind] = {"learned": "standard", "lexinvariant": "lexinvariant"}
    return kinds.get(model.config.embedding, "mixed")


def _ngram_label(order: int) -> str:
    return f"{order}-gram"


def _bar(total: int, label: str, progress: bool | None) -> tqdm[None]:
    disable = None if progress is None else not progress
    return tqdm(total=total, desc=label, unit="text", disable=disable)


# --- summing up ---------------------------------------------------------------------------------


def position_frame(losses: Sequence[Losses]) -> pd.DataFrame:
    """The loss at every position.

    Returns:
        One row for each model and position, with the columns

        - model, position: which; the first symbol is at position 1;
        - loss_bits, low, high: the mean over texts, and the ends of its 95 % interval
          (Student's t over texts; not a number for a single text);
        - texts: how many.
    """
    frames = []
    for each in losses:
        mean, low, high = mean_interval(each.bits)
        texts, n = each.bits.shape
        columns = {"position": np.arange(1, n + 1), "loss_bits": mean, "low": low, "high": high}
        frames.append(pd.DataFrame({"model": each.model, **columns, "texts": texts}))
    return pd.concat(frames, ignore_index=True)


def band_frame(
    losses: Sequence[Losses], bands: Sequence[tuple[int, int]], size: int
) -> pd.DataFrame:
    """Sum up over bands of positions.

    Args:
        losses: what `measure` gives.
        bands: the first and the last position of each, counted from 1.
        size: V, the number of symbols.

    Returns:
        One row for each model and band, with the columns

        - model, kind: which;
        - first, last, texts: the positions, and how many texts;
        - bits: the mean loss of a symbol over texts and the positions of the band;
        - perplexity: 2 to the power of that;
        - gap: perplexity over that of the standard model on the same texts, minus 1: the gap as a
          multiple of the standard model's perplexity;
        - regret_bits: the mean over texts of the loss of all symbols up to `last` minus the
          baseline's;
        - bound: log2 V!, which the regret of the Bayes mixture cannot pass;
        - above: the texts whose regret is above the bound by more than `analysis.regret.ERRORS`
          standard errors: bits that a trained model wastes, but for the mixture each is a mistake;
        - bits_low, bits_high, and the same of gap and regret_bits: the ends of the 95 % interval
          (Student's t over texts; that of the gap is over differences of bits, text by text).

        What lacks its baseline is not a number.

    Raises:
        InputError: a band is not within the texts.
    """
    bound = log2_keys(size)
    rows = []
    for each in losses:
        for first, last in bands:
            if not 1 <= first <= last <= each.bits.shape[1]:
                raise InputError(
                    f"positions {first} to {last} are not within texts of {each.bits.shape[1]}"
                )
            rows.append(
                {
                    "model": each.model,
                    "kind": each.kind,
                    "first": first,
                    "last": last,
                    "texts": len(each.bits),
                    **_band(each, first, last, bound),
                }
            )
    return pd.DataFrame(rows)


def _band(losses: Losses, first: int, last: int, bound: float) -> dict[str, float]:
    within = slice(first - 1, last)
    mean = losses.bits[:, within].mean(axis=1)
    bits, bits_low, bits_high = mean_interval(mean)
    gap = gap_low = gap_high = math.nan
    if losses.standard is not None:
        behind = mean - losses.standard[:, within].mean(axis=1)
        gap, gap_low, gap_high = (2.0**end - 1 for end in mean_interval(behind))
    regret = regret_low = regret_high = above = math.nan
    if losses.baseline is not None:
        regrets = (losses.bits - losses.baseline)[:, :last].sum(axis=1)
        regret, regret_low, regret_high = mean_interval(regrets)
        error = 0.0 if losses.error is None else losses.error[:, last - 1]
        above = float(np.count_nonzero(regrets - ERRORS * error > bound + 1e-6))
    return {
        "bits": bits,
        "perplexity": 2.0**bits,
        "gap": gap,
        "regret_bits": regret,
        "bound": bound,
        "above": above,
        "bits_low": bits_low,
        "bits_high": bits_high,
        "gap_low": gap_low,
        "gap_high": gap_high,
        "regret_bits_low": regret_low,
        "regret_bits_high": regret_high,
    }


def context_bands(contexts: Sequence[int]) -> list[tuple[int, int]]:
    """For each context the band that ends there and takes up its last quarter: 25 to 32."""
    return [(context - max(1, int(BAND * context)) + 1, context) for context in contexts]


def geometric_bands(length: int) -> list[tuple[int, int]]:
    """Bands that fill 1 to `length`, `PER_OCTAVE` of them in each doubling, as far as there are
    positions for them; each power of two ends one."""
    octaves = np.arange(math.floor(PER_OCTAVE * math.log2(length)) + 1) / PER_OCTAVE
    ends = sorted({*np.rint(2.0**octaves).astype(int).tolist(), length})
    return [(before + 1, end) for before, end in zip([0, *ends], ends, strict=False)]


def mean_interval(values: Bits) -> tuple[Any, Any, Any]:
    """The mean of `values` [N, ...] over N texts, and the ends of its 95 % interval by Student's t;
    these are not a number for a single text.

    There are too many positions for a bootstrap of each, and means over texts are close to normal.
    """
    mean = values.mean(axis=0)
    if len(values) < 2:
        return mean, mean * math.nan, mean * math.nan
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    half = quantile * values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return mean, mean - half, mean + half


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure what the symbols of held-out text cost transformers, n-gram models "
        "and the Bayes mixture over all keys, against position; write the tables and draw the "
        "figures.",
        epilog=SEVERAL,
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        nargs="*",
        action="extend",
        help="the transformers, shipped or from a file; mixed ones are read without their learned "
        f"vectors (default: {' '.join(MODELS)})",
    )
    add_corpus_options(parser)
    parser.add_argument(
        "--texts",
        metavar="N",
        type=at_least(1),
        default=128,
        help="windows of the corpus to read (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        metavar="N",
        type=at_least(1),
        default=512,
        help="symbols in each (default: %(default)s)",
    )
    parser.add_argument(
        "--ngram",
        metavar="NAME|PATH",
        help="the n-gram table (default: the one shipped for the alphabet)",
    )
    parser.add_argument(
        "--orders",
        metavar="N",
        type=at_least(1),
        nargs="*",
        action="extend",
        help="orders of the n-gram models; none after the option leaves them out (default: "
        f"{' '.join(map(str, ORDERS))})",
    )
    parser.add_argument(
        "--bayes",
        metavar="N",
        type=at_least(0),
        default=8,
        help="of the texts, so many are read by the Bayes mixture too, which is slow; 0 leaves it "
        "out (default: %(default)s)",
    )
    parser.add_argument(
        "--draws",
        metavar="N",
        type=at_least(1),
        default=1,
        help="sets of random vectors with which each text is read (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same texts and results (default: %(default)s)",
    )
    add_device_option(parser)
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=at_least(1),
        help="texts that the mixture reads at a time (default: one a core)",
    )
    add_out_option(parser, "results/perplexity")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from analysis.results import check_outputs, describe_run, write_table

    names = MODELS if arguments.model is None else arguments.model
    models = load_models(names, arguments.device)
    orders = ORDERS if arguments.orders is None else arguments.orders
    ngram = _ngram(arguments.ngram, models) if orders or arguments.bayes else None
    alphabets = [each.alphabet for each in models.values()]
    alphabets += [ngram.alphabet] if ngram is not None else []
    if not alphabets:
        raise InputError("there is no model to read with: name at least one")
    alphabet = alphabets[0]
    sources = arguments.corpus or CORPORA
    corpus = read_corpus(sources, arguments.split)
    rng = np.random.default_rng(arguments.seed)
    texts = cryptograms(corpus, alphabet, arguments.length, arguments.texts, rng).plaintext
    _check(models, texts, ngram, orders, arguments.bayes, arguments.draws)
    check_outputs(arguments.out, TABLES, PICTURES)

    losses = measure(
        models,
        texts,
        ngram,
        orders,
        arguments.bayes,
        arguments.draws,
        arguments.seed,
        jobs=arguments.jobs or -1,
    )
    contexts = sorted({c for c in CONTEXTS if c < arguments.length} | {arguments.length})
    table = band_frame(losses, context_bands(contexts), alphabet.size).rename(
        columns={"last": "context"}
    )
    bands = band_frame(losses, geometric_bands(arguments.length), alphabet.size)
    said = {
        "models": dict(zip(models, names, strict=True)),
        "corpus": list(sources),
        "split": arguments.split,
        "texts": arguments.texts,
        "length": arguments.length,
        "orders": list(orders),
        "bayes": arguments.bayes,
        "smc": SMC_SETTINGS,
        "draws": arguments.draws,
        "device": arguments.device,
        "jobs": arguments.jobs or -1,
    }
    record = describe_run(said, arguments.seed, corpus, ngram) | describe_models(models)
    for frame, name in zip((position_frame(losses), bands, table), TABLES, strict=True):
        write_table(frame, arguments.out / f"{name}.csv", record)
    _draw(bands, [arguments.out / f"{name}.png" for name in PICTURES], corpus.name)
    _print(table)
    print(f"tables, records and figures: {arguments.out}")


def _ngram(name: str | None, models: Mapping[str, Transformer]) -> NGramModel:
    """The n-gram table called `name`; None takes the one shipped for the alphabet of the models,
    or over letters and the space where there are none."""
    alphabet = next((model.alphabet for model in models.values()), None)
    if name is None and alphabet is not None and alphabet.name not in SHIPPED:
        raise InputError(
            f"no n-gram table is shipped for the alphabet {alphabet}: give one by --ngram, or "
            "leave n-grams out by --orders and nothing after it, and --bayes 0"
        )
    return load_ngram(name or (alphabet.name if alphabet else "letters-space"), alphabet)


def _draw(bands: pd.DataFrame, paths: Sequence[Path], corpus: str) -> None:
    from analysis.figures import new_figure, plot_loss, plot_perplexity_gap, save_figure

    figure = new_figure()
    plot_loss(bands, figure.add_subplot(), corpus=corpus)
    save_figure(figure, paths[0])
    kinds = {*bands["kind"]}
    if "standard" not in kinds:
        print("no standard model is among those given: no gap, and no figure of gap and regret")
    elif kinds & {"lexinvariant", "mixture"}:
        save_figure(plot_perplexity_gap(bands, corpus=corpus), paths[1])


def _print(table: pd.DataFrame) -> None:
    columns = ["model", "context", "texts", "bits", "perplexity", "gap", "regret_bits", "above"]
    shown = table[columns].to_string(index=False, float_format="{:.3g}".format, na_rep="-")
    print(f"Loss in bits a symbol, over the last quarter of each context\n{shown}")


if __name__ == "__main__":
    leave(main())
