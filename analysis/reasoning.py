"""Whether models do in context what English never taught them; and the command
`python -m analysis.reasoning`, which measures and draws it.

Two families of tasks over symbols at random (Huang et al. 2023, arXiv 2305.16349, the section on
synthetic in-context reasoning):

    LookUp        pairs of symbols are listed, then the first symbol of one is repeated, and its
                  partner must follow
    Permutation   one permutation of places is applied to a few random strings, then a new string
                  is given, and its permuted form must follow

Every prompt is one row of words, and a word starts with the separator: the space, or the last
symbol of an alphabet without one. All other symbols are drawn uniformly, so that to know English
helps nobody. Here `_` is the separator, and the answer is in brackets:

    LookUp, 3 pairs                          _qa_zm_cc_z[m]
    Permutation of 3 symbols, 2 examples     _abc_cab_rfx_xrf_uzk_[kuz]

An answer is the most probable symbol of all, read with the true symbols before it. To have the
whole answer right is then the same as to write it symbol by symbol: up to the first mistake both
read the same.
"""

from __future__ import annotations

import argparse
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from analysis.intervals import CONFIDENCE, bootstrap_interval, wilson_interval
from analysis.models import describe_models, load_models, seeded_generator
from analysis.options import SEVERAL, add_device_option, add_out_option
from analysis.perplexity import MODELS
from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus, Document
from ciphers.errors import InputError
from decipher.commands import Parser, at_least, leave, run

if TYPE_CHECKING:
    import torch

    from decipher.lexinvariant.model import Transformer

PROG = "python -m analysis.reasoning"

PAIRS = (2, 4, 8, 16, 24)
LENGTHS = (2, 3, 4)
EXAMPLES = (1, 2, 4, 8, 16)
PROMPTS = 400

COPYING = "copying n-gram"
#: The longest context that the copying n-gram looks for.
ORDER = 5
#: Symbols that a transformer reads at a time.
BATCH = 8192
#: Of the prompts, for the intervals of averages over settings and of their ratios.
RESAMPLES = 1999

MEASURES = ("exact", "token")
AVERAGE = "average"

#: What the command leaves.
TABLES = ("accuracy", "summary")
PICTURE = "accuracy"

Right = NDArray[np.bool_]


# --- tasks --------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """How often a whole answer is right, and how often a symbol of it."""

    exact: float
    token: float


class Task(ABC):
    """A family of prompts at one difficulty."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def setting(self) -> dict[str, int]:
        """The difficulty, by name."""

    @property
    @abstractmethod
    def answer(self) -> int:
        """L, the symbols of an answer."""

    @property
    @abstractmethod
    def symbols(self) -> int:
        """n, the symbols of a prompt with its answer."""

    @property
    @abstractmethod
    def needed(self) -> int:
        """The fewest symbols beside the separator that an alphabet must have."""

    @abstractmethod
    def draw(self, alphabet: Alphabet, count: int, rng: np.random.Generator) -> Ids:
        """Prompts with their answers at the end, ids [count, n].

        Raises:
            InputError: the alphabet has too few symbols.
        """

    @abstractmethod
    def guess(self, size: int) -> Rate:
        """What a reader gets right who knows the format, and nothing of what stands for what."""

    def chance(self, size: int) -> Rate:
        """What symbols drawn from all V = `size` but the separator get right."""
        one = 1 / (size - 1)
        return Rate(one**self.answer, one)

    def __str__(self) -> str:
        said = ", ".join(f"{name} {number}" for name, number in self.setting.items())
        return f"{self.name} ({said})"

    def _check(self, alphabet: Alphabet) -> None:
        if self.needed > alphabet.size - 1:
            raise InputError(
                f"{self} takes {self.needed} symbols beside the separator, and the alphabet "
                f"{alphabet} has {alphabet.size - 1}: take fewer"
            )


@dataclass(frozen=True)
class LookUp(Task):
    """Pairs of a key and a value. No two keys of a prompt are the same, values are independent of
    them and of each other, and each key is as likely to be asked for.

    Attributes:
        pairs: how many.

    Raises:
        InputError: there are none.
    """

    pairs: int
    name: ClassVar[str] = "LookUp"

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise InputError(f"LookUp of {self.pairs} pairs: give at least 1")

    @property
    def setting(self) -> dict[str, int]:
        return asdict(self)

    @property
    def answer(self) -> int:
        return 1

    @property
    def symbols(self) -> int:
        return 3 * self.pairs + 3

    @property
    def needed(self) -> int:
        return self.pairs

    def draw(self, alphabet: Alphabet, count: int, rng: np.random.Generator) -> Ids:
        self._check(alphabet)
        mark, others = split_alphabet(alphabet)
        text = np.full((count, self.pairs + 1, 3), mark, dtype=np.uint8)
        text[:, :-1, 1] = distinct(others, self.pairs, count, rng)
        text[:, :-1, 2] = rng.choice(others, (count, self.pairs))
        asked = rng.integers(self.pairs, size=count)
        text[:, -1] = text[np.arange(count), asked]
        return text.reshape(count, -1)

    def guess(self, size: int) -> Rate:
        """One of the values that are listed."""
        rate = 1 / self.pairs + (1 - 1 / self.pairs) / (size - 1)
        return Rate(rate, rate)


@dataclass(frozen=True)
class Permutation(Task):
    """Strings, each followed by its permuted form. The symbols of a string are distinct, so that
    one example tells the permutation; every permutation of a prompt is as likely, but for the
    one that changes nothing.

    Attributes:
        length: symbols in a string.
        examples: strings that are shown with their permuted form.

    Raises:
        InputError: a length that has no permutation but the one, or no example.
    """

    length: int
    examples: int
    name: ClassVar[str] = "Permutation"

    def __post_init__(self) -> None:
        if self.length < 2 or self.examples < 1:
            raise InputError(
                f"Permutation of {self.length} symbols by {self.examples} examples: give strings "
                "of at least 2 symbols, and at least 1 example"
            )

    @property
    def setting(self) -> dict[str, int]:
        return asdict(self)

    @property
    def answer(self) -> int:
        return self.length

    @property
    def symbols(self) -> int:
        return 2 * (self.examples + 1) * (self.length + 1)

    @property
    def needed(self) -> int:
        return self.length

    def draw(self, alphabet: Alphabet, count: int, rng: np.random.Generator) -> Ids:
        self._check(alphabet)
        mark, others = split_alphabet(alphabet)
        strings = self.examples + 1
        text = np.full((count, strings, 2, self.length + 1), mark, dtype=np.uint8)
        plain = distinct(others, self.length, count * strings, rng).reshape(count, strings, -1)
        order = permutations(self.length, count, rng)
        text[:, :, 0, 1:] = plain
        text[:, :, 1, 1:] = np.take_along_axis(plain, order[:, None], axis=2)
        return text.reshape(count, -1)

    def guess(self, size: int) -> Rate:
        """The symbols of the new string, in an order at random."""
        return Rate(1 / math.factorial(self.length), 1 / self.length)


def split_alphabet(alphabet: Alphabet) -> tuple[int, Ids]:
    """The separator, which is the space or else the last symbol, and all other symbols."""
    mark = alphabet.index(" ") if " " in alphabet else alphabet.size - 1
    return mark, np.delete(np.arange(alphabet.size, dtype=np.uint8), mark)


def distinct(symbols: Ids, length: int, count: int, rng: np.random.Generator) -> Ids:
    """Strings of `length` distinct symbols, uniform over all such, [count, length]."""
    rows = np.broadcast_to(symbols, (count, len(symbols)))
    return rng.permuted(rows, axis=1)[:, :length]


def permutations(length: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Permutations of `length` places, uniform over all but the identity, [count, length]."""
    identity = np.arange(length)
    drawn = rng.permuted(np.broadcast_to(identity, (count, length)), axis=1)
    while (same := (drawn == identity).all(axis=1)).any():
        drawn[same] = rng.permuted(drawn[same], axis=1)
    return drawn


def make_tasks(
    pairs: Sequence[int] = PAIRS,
    lengths: Sequence[int] = LENGTHS,
    examples: Sequence[int] = EXAMPLES,
) -> list[Task]:
    """LookUp of each number of pairs, then Permutation of each length by each number of examples.

    Raises:
        InputError: a number is too small.
    """
    return [
        *(LookUp(each) for each in pairs),
        *(Permutation(length, each) for length in lengths for each in examples),
    ]


# --- answers ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model got right.

    Attributes:
        model: its label.
        task: what it was asked.
        size: V, the symbols of its alphabet.
        right: [N, L], for each prompt and each symbol of the answer.
    """

    model: str
    task: Task
    size: int
    right: Right

    def by_prompt(self, measure: str) -> NDArray[np.float64]:
        """[N] whether all of the answer is right (`exact`), or the share that is (`token`)."""
        right = self.right.all(axis=1) if measure == "exact" else self.right.mean(axis=1)
        return np.asarray(right, dtype=np.float64)


def reasoning_accuracy(
    model: Transformer,
    tasks: Sequence[Task] | None = None,
    prompts: int = PROMPTS,
    draws: int = 1,
    seed: int = 0,
    *,
    share: float | None = None,
    label: str = "model",
    progress: bool | None = None,
) -> pd.DataFrame:
    """How often one transformer is right, task by task: see `measure` and `accuracy_frame`.

    The mean over the settings of each task is what models are compared by:

        frame = reasoning_accuracy(model, share=0.0)
        frame.groupby("task")[["exact", "token"]].mean()

    Arguments and errors are those of `measure`; tasks are those of `make_tasks` by default.
    """
    scores = measure(
        {label: model}, tasks, prompts, draws, seed, share=share, copying=False, progress=progress
    )
    return accuracy_frame(scores)


def measure(
    models: Mapping[str, Transformer],
    tasks: Sequence[Task] | None = None,
    prompts: int = PROMPTS,
    draws: int = 1,
    seed: int = 0,
    *,
    share: float | None = None,
    copying: bool = True,
    progress: bool | None = None,
) -> list[Scores]:
    """Put the same prompts to all models.

    Args:
        models: label -> transformer, all over one alphabet.
        tasks: what to ask; by default what `make_tasks` gives.
        prompts: N, for each task.
        draws: sets of random vectors with which a model that draws them reads each prompt; the
            probabilities of the next symbol are averaged.
        seed: of all random numbers. The prompts of a task, and the vectors for them, do not depend
            on the tasks and models beside it.
        share: p, the probability that a symbol is not known (see `Transformer.draw_vectors`); None
            is what each model's embedding says.
        copying: whether the copying n-gram answers too.
        progress: whether to show a bar; by default where standard error is a terminal.

    Returns:
        An entry for each model and task, by model.

    Raises:
        InputError: there is no model, no task or no prompt, models do not share an alphabet, or one
            has too little context.
    """
    tasks = make_tasks() if tasks is None else tasks
    alphabet = _check(models, tasks, prompts, draws)
    texts = [draw_prompts(task, alphabet, prompts, seed) for task in tasks]
    found = []
    disable = None if progress is None else not progress
    rounds = len(models) + copying
    with tqdm(total=rounds * len(tasks), unit="task", disable=disable) as bar:
        for label in [*models, COPYING][:rounds]:
            bar.set_description(label)
            for task, text in zip(tasks, texts, strict=True):
                if label in models:
                    generator = seeded_generator(models[label], _seed(seed, 1, task))
                    answers = transformer_answers(
                        models[label], text, task.answer, generator, draws, share
                    )
                else:
                    answers = copying_answers(text, task.answer, alphabet.size)
                right = answers == text[:, -task.answer :]
                found.append(Scores(label, task, alphabet.size, right))
                bar.update()
    return found


def draw_prompts(task: Task, alphabet: Alphabet, count: int, seed: int) -> Ids:
    """The prompts that `measure` puts, with their answers at the end: ids [count, n].

    Raises:
        InputError: the alphabet has too few symbols.
    """
    return task.draw(alphabet, count, np.random.default_rng(_seed(seed, 0, task)))


def transformer_answers(
    model: Transformer,
    texts: Ids,
    answer: int,
    generator: torch.Generator,
    draws: int = 1,
    share: float | None = None,
) -> Ids:
    """The most probable symbol at each of the last `answer` places, given those before it.

    Args:
        model: the transformer; it draws its own vectors.
        texts: [N, n] ids.
        answer: L, at most n.
        generator: of the model's device.
        draws, share: see `measure`.

    Returns:
        [N, L] ids.

    Raises:
        InputError: the texts are longer than the context, or a lexinvariant model is asked for
            learned vectors.
    """
    import torch

    share = model.config.share if share is None else share
    if share == 0 and model.config.embedding in ("learned", "mixed"):
        draws = 1  # all vectors come from the table
    rows = max(1, BATCH // texts.shape[1])
    found = []
    for start in range(0, len(texts), rows):
        tokens = torch.tensor(texts[start : start + rows, :-1], device=model.device)
        p = torch.zeros(())
        for _ in range(draws):
            vectors = model.draw_vectors(len(tokens), generator, share)
            p = p + model.log_conditionals(tokens, vectors=vectors)[:, -answer:].exp().cpu()
        found.append(p.argmax(dim=-1).numpy().astype(np.uint8))
    return np.concatenate(found)


def copying_answers(texts: Ids, answer: int, size: int) -> Ids:
    """`transformer_answers`, [N, L], of the copying n-gram."""
    n = texts.shape[1]
    places = range(n - answer, n)
    answers = [copying_conditionals(texts[:, :i], size).argmax(axis=1) for i in places]
    return np.stack(answers, axis=1).astype(np.uint8)


def copying_conditionals(texts: Ids, size: int, order: int = ORDER) -> NDArray[np.float64]:
    """p(next symbol) of an n-gram model that knows each text by itself and nothing else, [N, V].

    What followed the last k symbols before, for k up to `order`: as in prediction by partial
    matching (Cleary and Witten 1984), with the escape of Moffat 1990 (method C), interpolated as by
    Witten and Bell 1991, down to the uniform distribution.

    Args:
        texts: [N, n] ids.
        size: V.
        order: the longest context.
    """
    N, n = texts.shape
    rows = np.arange(N)[:, None]
    p = np.full((N, size), 1 / size)
    # Where the last k symbols stand before a symbol of the text: [N, n].
    follows = np.ones((N, n), dtype=np.bool_)
    for k in range(min(order, n) + 1):
        if k:
            follows[:, :k] = False
            follows[:, k:] &= texts[:, : n - k] == texts[:, n - k, None]
        counts = np.zeros((N, size))
        np.add.at(counts, (rows, texts), follows)
        total = counts.sum(axis=1, keepdims=True)
        escape = np.count_nonzero(counts, axis=1, keepdims=True)
        p = np.where(total > 0, (counts + escape * p) / np.maximum(total + escape, 1), p)
    return p


def _check(
    models: Mapping[str, Transformer], tasks: Sequence[Task], prompts: int, draws: int
) -> Alphabet:
    """The alphabet of all."""
    if not models:
        raise InputError("there is no model to ask: name at least one")
    if not tasks:
        raise InputError("there is no task: give a number of pairs, or a length and examples")
    for task, count in Counter(tasks).items():
        if count > 1:
            raise InputError(f"{task} is asked {count} times: give each setting once")
    if prompts < 1 or draws < 1:
        raise InputError(f"{prompts} prompts and {draws} draws: give at least 1 of each")
    if COPYING in models:
        raise InputError(f"{COPYING} is a control: call the model something else")
    (first, model), *others = models.items()
    for label, other in others:
        if other.alphabet != model.alphabet:
            raise InputError(
                f"{first} is over the alphabet {model.alphabet} and {label} over "
                f"{other.alphabet}: compare models of one alphabet"
            )
    for task in tasks:
        task._check(model.alphabet)
        for label, each in models.items():
            # The last symbol of the answer is predicted, not read.
            if task.symbols - 1 > each.context:
                raise InputError(
                    f"{task} takes {task.symbols - 1} symbols, and {label} reads at most "
                    f"{each.context}: take fewer"
                )
    return model.alphabet


def _seed(seed: int, use: int, task: Task) -> np.random.SeedSequence:
    family = (LookUp, Permutation).index(type(task))
    return np.random.SeedSequence(seed, spawn_key=(use, family, *task.setting.values()))


# --- summing up ---------------------------------------------------------------------------------


def accuracy_frame(scores: Sequence[Scores]) -> pd.DataFrame:
    """How often each model is right in each setting.

    Returns:
        One row for each entry of `scores`, with the columns

        - model, task: which;
        - pairs, length, examples: the difficulty; missing where the task has no such number;
        - prompts: how many;
        - exact: the share of prompts whose whole answer is right;
        - token: the share of the answers' symbols that are right, each read with the true symbols
          before it;
        - exact_low, exact_high, token_low, token_high: the ends of the 95 % interval (Wilson's; for
          answers of several symbols, whose mistakes go together, that of `token` is a bootstrap
          over prompts);
        - chance_exact, chance_token: what symbols at random get right;
        - guess_exact, guess_token: what a reader gets right who takes one of the listed values at
          random (LookUp), or the symbols of the new string in an order at random (Permutation).
    """
    rows = []
    for each in scores:
        chance, guess = each.task.chance(each.size), each.task.guess(each.size)
        row: dict[str, Any] = {"model": each.model, "task": each.task.name}
        row |= dict.fromkeys(("pairs", "length", "examples")) | each.task.setting
        row["prompts"] = len(each.right)
        for measure in MEASURES:
            values = each.by_prompt(measure)
            whole = measure == "exact" or each.task.answer == 1
            low, high = (
                wilson_interval(int(values.sum()), len(values))
                if whole
                else bootstrap_interval(values)
            )
            row |= {measure: values.mean(), f"{measure}_low": low, f"{measure}_high": high}
        for name, rate in (("chance", chance), ("guess", guess)):
            row |= {f"{name}_{measure}": getattr(rate, measure) for measure in MEASURES}
        rows.append(row)
    counts = dict.fromkeys(("pairs", "length", "examples"), "Int64")
    return pd.DataFrame(rows).astype(counts)


def summary_frame(scores: Sequence[Scores], standard: str | None = None) -> pd.DataFrame:
    """The accuracy of each model on each task, and how many times the standard model's it is.

    Args:
        scores: what `measure` gives: all models on the same prompts.
        standard: the label of the standard model; None where there is none.

    Returns:
        One row for each model and task, and where there are several tasks for their average, with
        the columns

        - model, task: which;
        - exact, token: the mean of the settings; in the average, the mean of the tasks;
        - exact_ratio, token_ratio: that over the standard model's; infinite where only that is 0,
          not a number where both are or there is none;
        - chance_exact, chance_token, guess_exact, guess_token: see `accuracy_frame`, likewise
          averaged;
        - ..._low, ..._high: of the first four, the ends of the 95 % interval (percentile bootstrap
          of the prompts of each setting, always from the same resamples; those of a ratio are
          paired, prompt by prompt, and leave out resamples in which both models are at 0).
    """
    by_model: dict[str, list[Scores]] = {}
    for each in scores:
        by_model.setdefault(each.model, []).append(each)
    means = {label: _resampled(of_model) for label, of_model in by_model.items()}
    rows = []
    for label, of_model in by_model.items():
        controls = _controls(of_model)
        for task, found in means[label].items():
            row: dict[str, Any] = {"model": label, "task": task}
            for measure in MEASURES:
                row |= _estimate(measure, found[measure])
            for measure in MEASURES:
                base = np.full(RESAMPLES + 1, math.nan)
                if standard is not None:
                    base = means[standard][task][measure]
                row |= _estimate(f"{measure}_ratio", _ratio(found[measure], base))
            rows.append(row | controls[task])
    return pd.DataFrame(rows)


def _resampled(scores: Sequence[Scores]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """For each task and measure the mean of one model, then what it is in each resample of the
    prompts: [1 + RESAMPLES]. All models get the same resamples."""
    rng = np.random.default_rng(0)
    settings: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for each in scores:
        N = len(each.right)
        weights = np.ones((RESAMPLES + 1, N))
        weights[1:] = rng.multinomial(N, np.full(N, 1 / N), size=RESAMPLES)
        means = {measure: weights @ each.by_prompt(measure) / N for measure in MEASURES}
        settings.setdefault(each.task.name, []).append(means)
    return _averaged(settings)


def _controls(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """For each task what chance and a guess get right, the mean of its settings."""
    settings: dict[str, list[dict[str, float]]] = {}
    for each in scores:
        task, size = each.task, each.size
        rates = {"chance": task.chance(size), "guess": task.guess(size)}
        flat = {f"{k}_{m}": float(getattr(v, m)) for k, v in rates.items() for m in MEASURES}
        settings.setdefault(task.name, []).append(flat)
    return _averaged(settings)


def _averaged(settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """For each task the mean of each entry over settings, and of several tasks their mean."""
    tasks = {task: _mean(each) for task, each in settings.items()}
    return tasks | ({AVERAGE: _mean([*tasks.values()])} if len(tasks) > 1 else {})


def _mean(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum(each[name] for each in entries) / len(entries) for name in entries[0]}


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element by element; infinite over 0, not a number where both are 0."""
    over_zero = np.where(above > 0, math.inf, math.nan)
    return np.divide(above, below, out=over_zero, where=below != 0)


def _estimate(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """The first of `values`, and the ends of the interval that the others make."""
    value, others = float(values[0]), values[1:][~np.isnan(values[1:])]
    low = high = math.nan
    if not math.isnan(value) and len(others):
        ends = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
        # Without interpolation: a ratio may be infinite.
        low, high = map(float, np.quantile(others, ends, method="inverted_cdf"))
    return {name: value, f"{name}_low": low, f"{name}_high": high}


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how often transformers, and an n-gram model that copies, answer the "
        "synthetic in-context tasks LookUp and Permutation; write the tables and draw the figure.",
        epilog=SEVERAL,
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        nargs="+",
        action="extend",
        help="the transformers, shipped or from a file; mixed ones are read without their learned "
        f"vectors (default: {' '.join(MODELS)})",
    )
    numbers = (
        ("--pairs", PAIRS, 1, "pairs of a LookUp; none after the option leaves LookUp out"),
        ("--lengths", LENGTHS, 2, "symbols of a string of a Permutation; none leaves it out"),
        ("--examples", EXAMPLES, 1, "examples of a Permutation; none leaves it out"),
    )
    for option, default, least, meaning in numbers:
        parser.add_argument(
            option,
            metavar="N",
            type=at_least(least),
            nargs="*",
            action="extend",
            help=f"{meaning} (default: {' '.join(map(str, default))})",
        )
    parser.add_argument(
        "--prompts",
        metavar="N",
        type=at_least(1),
        default=PROMPTS,
        help="prompts of each setting (default: %(default)s)",
    )
    parser.add_argument(
        "--draws",
        metavar="N",
        type=at_least(1),
        default=1,
        help="sets of random vectors with which each prompt is read; probabilities are averaged "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same prompts and results (default: %(default)s)",
    )
    add_device_option(parser)
    add_out_option(parser, "results/reasoning")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from analysis.figures import plot_reasoning, save_figure
    from analysis.results import check_outputs, describe_run, write_table

    names = arguments.model or MODELS
    given = (arguments.pairs, arguments.lengths, arguments.examples)
    pairs, lengths, examples = (
        default if each is None else each
        for each, default in zip(given, (PAIRS, LENGTHS, EXAMPLES), strict=True)
    )
    tasks = make_tasks(pairs, lengths, examples)
    models = load_models(names, arguments.device)
    alphabet = _check(models, tasks, arguments.prompts, arguments.draws)
    check_outputs(arguments.out, TABLES, [PICTURE])

    scores = measure(models, tasks, arguments.prompts, arguments.draws, arguments.seed)
    frame = accuracy_frame(scores)
    learned = (label for label, model in models.items() if model.config.embedding == "learned")
    summary = summary_frame(scores, next(learned, None))
    said = {
        "models": dict(zip(models, names, strict=True)),
        "pairs": list(pairs),
        "lengths": list(lengths),
        "examples": list(examples),
        "prompts": arguments.prompts,
        "draws": arguments.draws,
        "device": arguments.device,
    }
    prompts = _corpus(tasks, alphabet, arguments.prompts, arguments.seed)
    record = describe_run(said, arguments.seed, prompts) | describe_models(models)
    for table, name in zip((frame, summary), TABLES, strict=True):
        write_table(table, arguments.out / f"{name}.csv", record)
    save_figure(plot_reasoning(frame), arguments.out / f"{PICTURE}.png")
    _print(summary)
    print(f"tables, records and figure: {arguments.out}")


def _corpus(tasks: Sequence[Task], alphabet: Alphabet, count: int, seed: int) -> Corpus:
    """All prompts with their answers, a document for each task: the record holds their hash."""
    documents = [
        Document(
            str(task), "\n".join(map(alphabet.decode, draw_prompts(task, alphabet, count, seed)))
        )
        for task in tasks
    ]
    return Corpus("synthetic prompts", tuple(documents))


def _print(summary: pd.DataFrame) -> None:
    columns = ["model", "task", *MEASURES]
    columns += [f"{name}_{measure}" for measure in MEASURES for name in ("chance", "guess")]
    for measure in MEASURES:
        columns += [f"{measure}_ratio{end}" for end in ("", "_low", "_high")]
    shown = summary[columns].to_string(index=False, float_format="{:.3g}".format, na_rep="-")
    print(f"Share of answers right, and how many times the standard model's\n{shown}")


if __name__ == "__main__":
    leave(main())
