"""What a little lexinvariance costs a language model, and what it buys; and the command
`python -m analysis.regularisation`, which measures and draws it.

A mixed model has for each training sequence a fresh random vector for every symbol with
probability p, and its learned one otherwise: a standard language model regularised towards
lexinvariance (Huang et al. 2023, arXiv 2305.16349, section 5.3). Models that differ in nothing but
p are asked four things:

    English         what do the symbols of held-out text cost?
    reasoning       are tasks done that only the context tells of (`analysis.reasoning`)?
    partial cipher  what does the text cost where k of its symbols have changed places?
    misspelling     what do typos cost the words beside them, which have none?

Two readings of one model are told apart. *Learned* takes the learned vectors alone (a share of 0):
that is what a user of the regularised model runs. *Fresh* takes none of them (a share of 1): the
model as a lexinvariant one. At p = 1 the learned vectors were never trained, and there is no such
reading; at p = 0 fresh vectors were never seen.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from analysis import reasoning
from analysis.models import describe_models, seeded_generator
from analysis.options import (
    CORPORA,
    SEVERAL,
    add_corpus_options,
    add_device_option,
    add_out_option,
    read_corpus,
)
from analysis.perplexity import Bits, mean_interval, transformer_losses
from analysis.reasoning import draw_prompts, make_tasks, split_alphabet
from ciphers.alphabet import Alphabet, Ids
from ciphers.errors import InputError
from ciphers.keys import apply_keys
from ciphers.samples import cryptograms
from decipher.commands import Parser, at_least, leave, run

if TYPE_CHECKING:
    from decipher.lexinvariant.model import Transformer

PROG = "python -m analysis.regularisation"

MODELS = tuple(f"letters-space-mixed-{percent}" for percent in (0, 10, 25, 50, 75, 100))
SWAPPED = (0, 2, 4, 8, 16, 27)
TYPOS = (0.0, 0.05, 0.1, 0.2)
TEXTS = 32
LENGTH = 512
PROMPTS = 200
#: Of the Permutations the easiest: models of the default size cannot do the others at all.
TASKS = make_tasks(lengths=(2,), examples=(1, 4, 16))

#: Letters of the shortest word that gets a typo.
SHORTEST = 3
EDITS = ("substitution", "deletion", "insertion", "transposition")

#: What the command leaves.
TABLES = ("regularisation", "summary")
PICTURE = "regularisation"

Reading = Literal["learned", "fresh"]
SHARES: dict[Reading, float] = {"learned": 0.0, "fresh": 1.0}
ENGLISH, CIPHER, MISSPELT = "English", "partial cipher", "misspelling"
ALL, EARLY, LATE = "all", "first quarter", "last half"

#: Columns of the summary: the measure and the band of positions that each is of. The loss of
#: ciphers and typos is a mean over all settings that change the text.
SUMMARY = {
    "bits": (ENGLISH, ALL),
    "late_bits": (ENGLISH, LATE),
    "lookup": (reasoning.LookUp.name, ALL),
    "permutation": (reasoning.Permutation.name, ALL),
    "cipher_bits": (CIPHER, ALL),
    "cipher_cost": (f"{CIPHER}, cost", ALL),
    "typo_bits": (MISSPELT, ALL),
    "typo_cost": (f"{MISSPELT}, cost", ALL),
}

Places = NDArray[np.intp]


# --- changed texts ------------------------------------------------------------------------------


class Changed(NamedTuple):
    """Texts that something was done to.

    Attributes:
        measure, setting: what, and how much of it.
        texts: [N, n] ids, as they are read.
        places: [N, n], for each symbol of the clean texts where it is now; -1 if it is not to be
            measured.
    """

    measure: str
    setting: float
    texts: Ids
    places: Places


def changed_texts(
    texts: Ids, alphabet: Alphabet, swapped: Sequence[int], typos: Sequence[float], seed: int
) -> list[Changed]:
    """`texts` [N, n] under keys that swap each number of symbols, and with each rate of typos.

    What is swapped at one k is swapped at all larger ones too, and what is misspelt at one rate at
    all higher ones likewise: so settings differ by less than chance.

    Raises:
        InputError: a number makes no sense, or a text has no word that is left alone.
    """
    here = np.broadcast_to(np.arange(texts.shape[1]), texts.shape)
    found = []
    for k in swapped:
        keys = partial_keys(alphabet.size, len(texts), k, _rng(seed, CIPHER))
        found.append(Changed(CIPHER, k, apply_keys(keys, texts), here))
    for rate in typos:
        misspelt = misspell(texts, alphabet, rate, _rng(seed, MISSPELT))
        found.append(Changed(MISSPELT, rate, *misspelt))
    for each in found:
        for band, within in bands(texts.shape[1]).items():
            if (each.places[:, within] < 0).all(axis=1).any():
                raise InputError(
                    f"typos in {each.setting:g} of the words leave a text none to measure on "
                    f"({band} of its symbols): take fewer typos, or a greater length"
                )
    return found


def partial_keys(size: int, count: int, swapped: int, rng: np.random.Generator) -> Ids:
    """Keys [count, V] that move exactly k = `swapped` of V = `size` symbols, uniform over all such:
    a random subset of k, and a random derangement of it.

    Raises:
        InputError: no key moves so many.
    """
    if not 0 <= swapped <= size or swapped == 1:
        raise InputError(f"no key swaps {swapped} of {size} symbols: give 0, or 2 to {size}")
    keys = np.tile(np.arange(size, dtype=np.uint8), (count, 1))
    moved = rng.permuted(keys, axis=1)[:, :swapped]
    np.put_along_axis(
        keys, moved, np.take_along_axis(moved, derangements(swapped, count, rng), 1), 1
    )
    return keys


def derangements(length: int, count: int, rng: np.random.Generator) -> Places:
    """Permutations of `length` places that leave none as it is, uniform over all such, [count,
    length]; length is not 1."""
    identity = np.arange(length)
    drawn = rng.permuted(np.broadcast_to(identity, (count, length)), axis=1)
    # About one permutation in e is a derangement.
    while (fixed := (drawn == identity).any(axis=1)).any():
        drawn[fixed] = rng.permuted(drawn[fixed], axis=1)
    return drawn


def misspell(
    texts: Ids, alphabet: Alphabet, rate: float, rng: np.random.Generator
) -> tuple[Ids, Places]:
    """Give each word of `SHORTEST` letters or more one typo with probability `rate`.

    A typo is one of the four edits of Damerau 1964, each as likely (`misspell_word`). Words are
    runs of letters; one that the window cuts is what is left of it.

    Args:
        texts: [N, n] ids.
        alphabet: theirs.
        rate: from 0 to 1. With equal generators a higher rate has the typos of a lower one too.
        rng: where every random number comes from.

    Returns:
        The texts [N, n]: longer ones are cut, shorter ones filled with the separator. And the
        places [N, n] of the symbols of words that were left alone, each with what separates it from
        the next word; -1 for all others, and for what was cut off.

    Raises:
        InputError: the rate is no probability, or the alphabet has nothing between words.
    """
    if not 0 <= rate <= 1:
        raise InputError(f"typos in {rate:g} of the words: give a share from 0 to 1")
    is_letter = np.array([symbol.isalpha() for symbol in alphabet.symbols])
    if is_letter.all() or is_letter.sum() < 2:
        raise InputError(
            f"the alphabet {alphabet} has no words to misspell: leave typos out, by --typos and "
            "nothing after it"
        )
    letters = np.flatnonzero(is_letter).tolist()
    separator, _ = split_alphabet(alphabet)
    N, n = texts.shape
    typed = np.full((N, n), separator, dtype=np.uint8)
    places = np.full((N, n), -1, dtype=np.intp)
    for i, text in enumerate(texts):
        symbols = text.tolist()
        written: list[int] = []
        for start, end, stop in _words(is_letter[text]):
            left_alone = True
            if end - start >= SHORTEST:
                # Drawn whether it is used or not, for the same numbers at every rate.
                misspelt = misspell_word(symbols[start:end], letters, rng)
                left_alone = rng.random() >= rate
            if left_alone:
                places[i, start:stop] = np.arange(stop - start) + len(written)
                written += symbols[start:stop]
            else:
                written += misspelt + symbols[end:stop]
        typed[i, : len(written)] = written[:n]
    places[places >= n] = -1
    return typed, places


def misspell_word(word: list[int], letters: list[int], rng: np.random.Generator) -> list[int]:
    """`word` with one edit, which always changes it: a letter substituted, deleted or inserted, or
    two neighbours transposed (Damerau 1964). Each of the four is as likely, then every place; new
    letters are uniform over `letters`. A word of one letter throughout has nothing to transpose,
    and gets a substitution.
    """
    edit = EDITS[rng.integers(len(EDITS))]
    pairs = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    if edit == "transposition" and pairs:
        i = pairs[rng.integers(len(pairs))]
        return [*word[:i], word[i + 1], word[i], *word[i + 2 :]]
    if edit == "insertion":
        i = int(rng.integers(len(word) + 1))
        return [*word[:i], letters[rng.integers(len(letters))], *word[i:]]
    i = int(rng.integers(len(word)))
    if edit == "deletion":
        return [*word[:i], *word[i + 1 :]]
    others = [letter for letter in letters if letter != word[i]]
    return [*word[:i], others[rng.integers(len(others))], *word[i + 1 :]]


def _words(is_letter: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Start and end of each word of a text, and where the next begins. What stands before the first
    is a word of no letters."""
    edges = np.diff(is_letter.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()
    stops = [*starts, len(is_letter)]
    return [(0, 0, stops[0]), *zip(starts, ends, stops[1:], strict=True)]


def bands(length: int) -> dict[str, slice]:
    """The positions that losses are averaged over: a model may find in context what has changed."""
    return {
        ALL: slice(0, length),
        EARLY: slice(0, max(1, length // 4)),
        LATE: slice(length // 2, length),
    }


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a model does at one thing.

    Attributes:
        model: its label.
        share: p, the probability of a fresh vector in its training.
        reading: by learned vectors or by fresh ones.
        measure: `ENGLISH`, `CIPHER`, `MISSPELT`, one of the last two with ", cost", or the name of
            a task.
        setting: k, the symbols swapped, or the rate of typos; 0 where there is nothing to set.
        band: which positions of the texts, see `bands`.
        values: [N], for each text: bits a symbol; with ", cost" how many more than the clean text
            costs on the same symbols; of a task the share of its settings that are answered right.
        guess: what who knows the format of a task alone gets right; not a number of the others.
    """

    model: str
    share: float
    reading: Reading
    measure: str
    setting: float
    band: str
    values: Bits
    guess: float = math.nan


def measure(
    models: Mapping[str, Transformer],
    texts: Ids,
    swapped: Sequence[int] = SWAPPED,
    typos: Sequence[float] = TYPOS,
    prompts: int = PROMPTS,
    seed: int = 0,
    *,
    progress: bool | None = None,
) -> list[Outcome]:
    """Ask models of different p the same things: the same texts, keys, typos and prompts.

    Losses on misspelt texts are of words that were left alone, so that what nobody can predict is
    not counted. Fresh vectors give a text and its encryption the same distribution of losses,
    whatever the key: that reading of the clean text stands for every partial cipher.

    Args:
        models: label -> transformer, of one alphabet and each p once: mixed ones, learned (p = 0)
            and lexinvariant (p = 1).
        texts: [N, n] ids of clean text.
        swapped: the numbers k of symbols that a key swaps; none leaves ciphers out.
        typos: the shares of the words that get a typo; none leaves them out.
        prompts: of each setting of `TASKS`; 0 leaves reasoning out.
        seed: of all random numbers.
        progress: whether to show a bar; by default where standard error is a terminal.

    Raises:
        InputError: there is nothing to read with or to read, models cannot be compared, one has
            too little context, or a setting makes no sense.
    """
    alphabet = _check(models, texts, swapped, typos, prompts, seed)
    changed = changed_texts(texts, alphabet, swapped, typos, seed)
    found = []
    pairs = [(label, reading) for label in models for reading in readings(models[label])]
    disable = None if progress is None else not progress
    with tqdm(total=len(pairs), unit="reading", disable=disable) as bar:
        for label, reading in pairs:
            bar.set_description(f"{label}, {reading}")
            model = as_read(models[label], reading)
            about = (label, models[label].config.share, reading)
            if prompts:
                found += _answer(model, about, prompts, seed)
            found += _read(model, about, texts, changed, seed)
            bar.update()
    return found


def readings(model: Transformer) -> tuple[Reading, ...]:
    """How a model can be read: without learned vectors that were ever trained, by fresh ones."""
    return ("fresh",) if model.config.share == 1 else ("learned", "fresh")


def as_read(model: Transformer, reading: Reading) -> Transformer:
    """`model` with the share of fresh vectors that a reading means; its weights are not copied."""
    if model.config.embedding == "lexinvariant":
        return model
    read = copy(model)
    read.config = replace(model.config, embedding="mixed", random_share=SHARES[reading])
    return read


def _read(
    model: Transformer,
    about: tuple[str, float, Reading],
    texts: Ids,
    changed: Sequence[Changed],
    seed: int,
) -> list[Outcome]:
    """The losses of one reading on clean and changed texts."""

    def losses(of: Ids) -> Bits:
        # The same vectors every time, so that costs are not blurred by them.
        generator = seeded_generator(model, np.random.SeedSequence(seed, spawn_key=(_VECTORS,)))
        return transformer_losses(model, of, generator, progress=False)

    clean = losses(texts)
    within = bands(texts.shape[1])
    found = [
        Outcome(*about, ENGLISH, 0.0, band, clean[:, places].mean(axis=1))
        for band, places in within.items()
    ]
    for each in changed:
        unchanged = each.setting == 0 or (each.measure == CIPHER and about[2] == "fresh")
        read = clean if unchanged else losses(each.texts)
        # The loss of each symbol of the clean text, wherever it is now.
        bits = np.take_along_axis(read, np.maximum(each.places, 0), axis=1)
        counted = each.places >= 0
        for band, places in within.items():
            where = counted[:, places]
            for name, of in ((each.measure, bits), (f"{each.measure}, cost", bits - clean)):
                values = of[:, places].mean(axis=1, where=where)
                found.append(Outcome(*about, name, each.setting, band, values))
    return found


def _answer(
    model: Transformer, about: tuple[str, float, Reading], prompts: int, seed: int
) -> list[Outcome]:
    """The accuracy of one reading in each task, the mean over its settings, prompt by prompt."""
    label = about[0]
    scores = reasoning.measure(
        {label: model}, TASKS, prompts, seed=seed, copying=False, progress=False
    )
    found = []
    for name in dict.fromkeys(task.name for task in TASKS):
        of_task = [each for each in scores if each.task.name == name]
        # Prompts of different settings are independent: their means are too.
        values = np.mean([each.by_prompt("exact") for each in of_task], axis=0)
        guess = np.mean([each.task.guess(each.size).exact for each in of_task])
        found.append(Outcome(*about, name, 0.0, ALL, values, float(guess)))
    return found


_VECTORS = 0


def _rng(seed: int, measure: str) -> np.random.Generator:
    """The generator of keys or typos: what one draws must not change with the other."""
    use = 1 + (CIPHER, MISSPELT).index(measure)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use,)))


def _check(
    models: Mapping[str, Transformer],
    texts: Ids,
    swapped: Sequence[int],
    typos: Sequence[float],
    prompts: int,
    seed: int,
) -> Alphabet:
    """The alphabet of all; what is wrong with the texts alone, `changed_texts` finds."""
    if not models:
        raise InputError("there is no model to read with: name at least one")
    if texts.ndim != 2 or 0 in texts.shape:
        raise InputError("there is no text to read: give at least one of at least one symbol")
    alphabet = next(iter(models.values())).alphabet
    named: dict[float, str] = {}
    for label, model in models.items():
        config = model.config
        if model.alphabet != alphabet:
            raise InputError(
                f"{next(iter(models))} is over the alphabet {alphabet} and {label} over "
                f"{model.alphabet}: compare models of one alphabet"
            )
        if config.embedding == "hinted":
            raise InputError(
                f"{label} reads by hints and has no learned vectors: give models whose embedding "
                "is mixed, learned or lexinvariant"
            )
        if config.share in named:
            raise InputError(
                f"{named[config.share]} and {label} both have p = {config.share:g}: give one model "
                "for each p"
            )
        named[config.share] = label
        longest = max(texts.shape[1], *(task.symbols - 1 for task in TASKS if prompts), 0)
        if longest > config.context:
            raise InputError(
                f"{label} reads at most {config.context} symbols, and texts or prompts have "
                f"{longest}: leave it out, or take a smaller --length and --prompts 0"
            )
    for name, settings in (("swapped symbols", swapped), ("typos", typos)):
        for setting, count in Counter(settings).items():
            if count > 1:
                raise InputError(f"{setting:g} {name} are asked for {count} times: give each once")
    if prompts < 0:
        raise InputError(f"{prompts} prompts: give 0 or more")
    for task in TASKS if prompts else ():
        draw_prompts(task, alphabet, 1, seed)
    return alphabet


# --- summing up ---------------------------------------------------------------------------------


def outcome_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Means over texts.

    Returns:
        One row for each of `outcomes`, with the columns

        - model, p, reading, measure, setting, band: which (see `Outcome`);
        - value: the mean over texts: bits a symbol, or the share of prompts answered right;
        - change: `value` minus that of the model of p = 0 read by its learned vectors, on the same
          texts; not a number where there is no such model;
        - low, high, change_low, change_high: the ends of the 95 % intervals (Student's t over
          texts; that of `change` is over differences, text by text);
        - guess: see `Outcome`;
        - texts: how many.
    """
    base = _base(outcomes)
    rows = []
    for each in outcomes:
        rows.append(
            {
                "model": each.model,
                "p": each.share,
                "reading": each.reading,
                "measure": each.measure,
                "setting": each.setting,
                "band": each.band,
                **_estimate("value", each.values),
                **_estimate("change", _minus(each.values, base.get(_what(each)))),
                "guess": each.guess,
                "texts": len(each.values),
            }
        )
    return pd.DataFrame(rows).rename(columns={"value_low": "low", "value_high": "high"})


def summary_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """What p costs, and what it buys.

    Returns:
        One row for each reading of each model, with the columns

        - model, p, reading: which;
        - perplexity, late_perplexity: of clean text; 2 to the power of `bits` and `late_bits`;
        - bits, late_bits: loss of clean text, bits a symbol; late is the last half of the texts;
        - lookup, permutation: the share of the prompts that are answered right;
        - cipher_bits, typo_bits: loss of changed text, the mean over the settings that change it;
        - cipher_cost, typo_cost: how many bits a symbol that is more than the clean text costs;
        - ..._low, ..._high: the ends of the 95 % interval of each but the perplexities;
        - ..._change, ..._change_low, ..._change_high: against p = 0, see `outcome_frame`;
        - lookup_guess, permutation_guess: see `Outcome`.

        What was not measured has no columns.
    """
    by_reading: dict[tuple[str, float, Reading], list[Outcome]] = {}
    for each in outcomes:
        by_reading.setdefault((each.model, each.share, each.reading), []).append(each)
    means = {about: _means(of_reading) for about, of_reading in by_reading.items()}
    base = next((mean for about, mean in means.items() if about[1:] == (0.0, "learned")), {})
    rows = []
    for about, mean in means.items():
        row: dict[str, Any] = dict(zip(("model", "p", "reading"), about, strict=True))
        row["perplexity"] = 2.0 ** mean["bits"].mean()
        row["late_perplexity"] = 2.0 ** mean["late_bits"].mean()
        for name, values in mean.items():
            row |= _estimate(name, values)
            row |= _estimate(f"{name}_change", _minus(values, base.get(name)))
        for each in by_reading[about]:
            if not math.isnan(each.guess):
                row[f"{each.measure.lower()}_guess"] = each.guess
        rows.append(row)
    return pd.DataFrame(rows)


def _means(outcomes: Sequence[Outcome]) -> dict[str, Bits]:
    """For each column of the summary its values [N], the mean over the settings that matter."""
    found = {}
    for name, wanted in SUMMARY.items():
        values = [
            each.values
            for each in outcomes
            if (each.measure, each.band) == wanted
            and (each.setting > 0 or not each.measure.startswith((CIPHER, MISSPELT)))
        ]
        if values:
            found[name] = np.mean(values, axis=0)
    return found


def _base(outcomes: Sequence[Outcome]) -> dict[tuple[str, float, str], Bits]:
    """The values that changes are from."""
    return {
        _what(each): each.values
        for each in outcomes
        if each.share == 0 and each.reading == "learned"
    }


def _what(outcome: Outcome) -> tuple[str, float, str]:
    return outcome.measure, outcome.setting, outcome.band


def _minus(values: Bits, base: Bits | None) -> Bits:
    return np.full_like(values, math.nan) if base is None else values - base


def _estimate(name: str, values: Bits) -> dict[str, float]:
    value, low, high = map(float, mean_interval(values))
    return {name: value, f"{name}_low": low, f"{name}_high": high}


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure what random embeddings with probability p cost and buy: loss of "
        "English, in-context reasoning, loss under a partial cipher and beside misspelt words; "
        "write the tables and draw the figure.",
        epilog=SEVERAL,
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        nargs="+",
        action="extend",
        help="the transformers, shipped or from a file, one for each p: mixed ones, learned (p = "
        f"0), lexinvariant (p = 1) (default: {' '.join(MODELS)})",
    )
    add_corpus_options(parser)
    parser.add_argument(
        "--texts",
        metavar="N",
        type=at_least(1),
        default=TEXTS,
        help="windows of the corpus to read (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        metavar="N",
        type=at_least(1),
        default=LENGTH,
        help="symbols in each (default: %(default)s)",
    )
    parser.add_argument(
        "--swapped",
        metavar="K",
        type=at_least(0),
        nargs="*",
        action="extend",
        help="symbols that a partial cipher swaps; none after the option leaves ciphers out "
        f"(default: {' '.join(map(str, SWAPPED))})",
    )
    parser.add_argument(
        "--typos",
        metavar="SHARE",
        type=_share,
        nargs="*",
        action="extend",
        help=f"shares of the words of {SHORTEST} or more letters that get a typo; none leaves them "
        f"out (default: {' '.join(f'{rate:g}' for rate in TYPOS)})",
    )
    parser.add_argument(
        "--prompts",
        metavar="N",
        type=at_least(0),
        default=PROMPTS,
        help="prompts of each setting of the reasoning tasks; 0 leaves them out (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same texts and results (default: %(default)s)",
    )
    add_device_option(parser)
    add_out_option(parser, "results/regularisation")
    return parser


def _share(text: str) -> float:
    """The type of an option that takes a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return share


def _run(arguments: argparse.Namespace) -> None:
    from analysis.figures import plot_regularisation, save_figure
    from analysis.results import check_outputs, describe_run, write_table
    from decipher.lexinvariant.checkpoint import load

    names = arguments.model or MODELS
    swapped = SWAPPED if arguments.swapped is None else arguments.swapped
    typos = TYPOS if arguments.typos is None else arguments.typos
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"{name} is named {count} times: name each model once")
    models = {name: load(name, arguments.device) for name in names}
    models = dict(sorted(models.items(), key=lambda item: item[1].config.share))
    alphabet = next(iter(models.values())).alphabet
    sources = arguments.corpus or CORPORA
    corpus = read_corpus(sources, arguments.split)
    rng = np.random.default_rng(arguments.seed)
    texts = cryptograms(corpus, alphabet, arguments.length, arguments.texts, rng).plaintext
    _check(models, texts, swapped, typos, arguments.prompts, arguments.seed)
    changed_texts(texts, alphabet, swapped, typos, arguments.seed)
    check_outputs(arguments.out, TABLES, [PICTURE])

    outcomes = measure(models, texts, swapped, typos, arguments.prompts, arguments.seed)
    frame, summary = outcome_frame(outcomes), summary_frame(outcomes)
    said = {
        "models": list(models),
        "corpus": list(sources),
        "split": arguments.split,
        "texts": arguments.texts,
        "length": arguments.length,
        "swapped": list(swapped),
        "typos": list(typos),
        "prompts": arguments.prompts,
        "device": arguments.device,
    }
    record = describe_run(said, arguments.seed, corpus) | describe_models(models)
    for table, name in zip((frame, summary), TABLES, strict=True):
        write_table(table, arguments.out / f"{name}.csv", record)
    figure = plot_regularisation(frame, corpus=corpus.name)
    save_figure(figure, arguments.out / f"{PICTURE}.png")
    _print(summary, models)
    print(f"tables, records and figure: {arguments.out}")


def _print(summary: pd.DataFrame, models: Mapping[str, Transformer]) -> None:
    measured = [name for name in SUMMARY if name in summary]
    columns = ["p", "reading", "perplexity", "late_perplexity", *measured]
    changes = ["p", "reading"] + [
        f"{name}_change{end}"
        for name in measured
        if not name.startswith("late")
        for end in ("", "_low", "_high")
    ]
    for said, shown in (
        ("Loss in bits a symbol, and the share of answers right", summary[columns]),
        ("The same against p = 0 read by its learned vectors", summary[changes]),
    ):
        print(f"{said}\n{shown.to_string(index=False, float_format='{:.3g}'.format, na_rep='-')}")
    budgets = {model.provenance.get("symbols") for model in models.values()}
    if len(budgets) > 1:
        print("the models were not trained on equally many symbols: not p alone makes the change")


if __name__ == "__main__":
    leave(main())
