"""Whether a transformer deciphers what it reads, beside the exact posterior; and the command
`python -m analysis.probing`, which measures and draws it.

A lexinvariant model meets every text as a cipher. Probes on its hidden states (`analysis.probes`)
tell how much of the key it has found: after how many symbols, in which layer, of letters how often
seen, and which letters it takes for which (Huang et al. 2023, arXiv 2305.16349, section 4.2). The
same questions are put to posterior decoding under an n-gram model, and to controls, which say how
much a probe finds where nothing was learned.

All is measured on the same windows, under keys of their own. Every window is read once, and what is
known after each length is known of its first symbols. Probes are fitted to the training split.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from analysis.curves import summarise, text_frame, text_rows
from analysis.models import describe_models, load_models
from analysis.options import (
    CORPORA,
    LENGTHS,
    SEVERAL,
    add_corpus_options,
    add_device_option,
    add_out_option,
    read_corpus,
)
from analysis.perplexity import mean_interval
from analysis.trials import Factory, Reading, Trial
from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.samples import Batch, cryptograms
from decipher.commands import Parser, at_least, leave, run
from decipher.methods import make_decipherer
from decipher.ngram import SHIPPED, NGramModel, load_ngram
from decipher.posterior import KeyPosterior, Rule

if TYPE_CHECKING:
    from analysis.controls import Selectivity
    from analysis.readers import ProbeDecipherer
    from analysis.states import HiddenStates
    from decipher.lexinvariant.model import Transformer

PROG = "python -m analysis.probing"

#: The model under study, and the control that is fed the same ciphertexts.
MODELS = ("letters-space-lexinvariant", "letters-space-standard")
PROBES = ("linear", "mlp", "neighbour", "centroid")
PREDICTIVE = "predictive"
#: Those of `PROBES` whose selectivity is measured: what neighbours know is all learned by heart.
SELECTIVE = ("linear", "mlp")
#: The lines beside those of the models.
FREQUENCY = "frequency ranking"
SMC = "SMC, posterior decoding"
MAP = "SMC, MAP key"
#: How many texts each step takes: the whole is to be done in minutes on two cores.
BAYES = 40
PROBE_TEXTS = 100
LAYER_TEXTS = 32
#: How a posterior is read where it is not by posterior decoding.
RULES: dict[str, Rule] = {FREQUENCY: "map", MAP: "map"}
#: Fewer populations than the default: their error is far below the spread between texts. Beyond
#: `SHORT` symbols, where the posterior is narrow, they are small as well.
SMC_SETTINGS: dict[str, Any] = {"islands": 2, "rounds": 1}
SHORT = 64
SMC_LONG = SMC_SETTINGS | {"particles": 150, "swaps": 100}

#: The controls, all read by a linear probe, and what they are held against.
TRAINED = "trained weights"
UNTRAINED = "untrained weights"
RAW = "symbol vectors alone"
SHUFFLED = "shuffled labels"
CONTROL_TASK = "control task"
OTHER = "fed ciphertext"
#: Texts beside those that the linear probes of layers are fitted to, to choose a layer by.
CHOOSING = 16
#: Symbols of a text at which confusions are shown: enough is known there, and not yet all.
CONFUSED = 64
#: Stands for the space where that could not be seen.
SPACE = "\N{OPEN BOX}"
#: The most confused pairs of letters that the table lists, of each reader.
PAIRS = 10

#: What the command leaves.
TABLES = ("accuracy", "layers", "counts", "confusion", "pairs", "controls", "selectivity")
PICTURES = ("accuracy", "layers", "counts", "confusion")

Right = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Control:
    """Which symbols a linear probe names at the place where each was read.

    Attributes:
        name: `TRAINED`, or which control it is.
        model: the label of what was probed.
        layer: of the states; 0 is before the first block.
        right: [N, n] of the texts measured on.
        chance: what the best answer gets right that looks at no state.
    """

    name: str
    model: str
    layer: int
    right: Right
    chance: float


@dataclass(frozen=True, eq=False)
class Study:
    """All that was measured.

    Attributes:
        readings: what each decipherer knows of the key after each length of each text.
        layers: model -> [layers + 1, N, n], which symbols a linear probe on the states of each
            layer names at the place where each was read.
        controls: the trained model first.
        selectivities: of the trained model's states, by the name of the probe.
        fits: how each probe was fitted, what JSON can hold.
    """

    readings: list[Reading] = field(default_factory=list)
    layers: dict[str, Right] = field(default_factory=dict)
    controls: list[Control] = field(default_factory=list)
    selectivities: dict[str, Selectivity] = field(default_factory=dict)
    fits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pair:
    """What a model made of texts that a probe is fitted to, and of others that it is measured on.

    Attributes:
        fitted, measured: of one layer each, or of all.
    """

    fitted: HiddenStates
    measured: HiddenStates

    def layer(self, layer: int) -> Pair:
        """Those of one layer, where there are all."""
        return Pair(self.fitted.layer(layer), self.measured.layer(layer))

    def hits(self) -> Right:
        """Which symbols [N, n] of the texts measured on a linear probe names."""
        from analysis.states import hits, quick_probe

        fitted = quick_probe().fit(self.fitted.X, self.fitted.y, self.fitted.groups)
        return hits(fitted, self.measured)

    @property
    def chance(self) -> float:
        """What the one answer gets right that is best on the texts fitted to."""
        return float((self.measured.labels == np.bincount(self.fitted.y).argmax()).mean())


# --- reading ------------------------------------------------------------------------------------


def measure(
    models: Mapping[str, Transformer],
    ngram: NGramModel,
    train: Corpus,
    test: Corpus,
    lengths: Sequence[int] = LENGTHS,
    *,
    ciphers: int = 200,
    bayes: int = BAYES,
    probes: Sequence[str] = PROBES,
    probe_texts: int = PROBE_TEXTS,
    layer_texts: int = LAYER_TEXTS,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool | None = None,
) -> Study:
    """Probe models, and decipher the same texts without them.

    Args:
        models: label -> transformer. The first is under study; the others are controls, fed the
            same ciphertexts and read by the first of the probes alone.
        ngram: the language model of the exact posterior, of the search, and of what the first
            model's own predictions are held against.
        train: where the texts come from that probes are fitted to.
        test: where those come from that are measured on: a split with none of these books.
        lengths: after how many symbols; the longest is that of the texts.
        ciphers: texts to measure on.
        bayes: of these, so many from the first, or all, are read by SMC, which is slow.
        probes: names of probes (see `analysis.probes.make_probe`).
        probe_texts: texts that they are fitted to.
        layer_texts: texts that the linear probes of single layers and of controls are fitted to.
        seed: of all random numbers.
        jobs: texts that are deciphered at a time, -1 for one a core; the result does not depend
            on it.
        progress: whether to show bars; by default where standard error is a terminal.

    Raises:
        InputError: there is nothing to measure, models do not share an alphabet, one has too little
            context, there is no such probe, or no document is long enough.
    """
    from analysis.readers import ProbeDecipherer, make_readers
    from analysis.states import best_layer, hits, layer_probes, read_states, torch_generator

    _check(models, ngram, lengths, ciphers, bayes, probes)
    lengths = sorted({*lengths})
    draw = partial(cryptograms, alphabet=ngram.alphabet, length=lengths[-1])
    for_test, for_train, *for_models = np.random.default_rng(seed).spawn(2 + len(models))
    texts = draw(test, count=ciphers, rng=for_test)
    batches = draw(train, count=layer_texts, rng=for_train), texts
    choosing = draw(train, count=CHOOSING, rng=for_train)
    decipher = partial(
        read_prefixes, lengths=lengths, ngram=ngram, seed=seed, jobs=jobs, progress=progress
    )
    study = Study()
    for (label, model), rng in zip(models.items(), for_models, strict=True):
        studied = model is next(iter(models.values()))
        names = [*probes, PREDICTIVE] if studied else probes[:1]
        pair = _read(model, batches, rng)
        by_layer = layer_probes(pair.fitted)
        layers = np.stack([hits(p, pair.measured.layer(i)) for i, p in enumerate(by_layer)])
        generator = torch_generator(model, rng)
        best = best_layer(read_states(model, choosing, generator, None), by_layer)
        readers = make_readers(
            names, {label: model}, ngram, train, texts=probe_texts, layer=best, seed=seed
        )
        study.layers[label] = layers
        study.controls.append(
            Control(TRAINED if studied else OTHER, label, best, layers[best], pair.chance)
        )
        if studied:
            study.controls.append(Control(RAW, label, 0, layers[0], pair.chance))
            study.controls.extend(_controls(label, model, best, batches, pair.layer(best), rng))
            study.selectivities.update(_selectivities(probes, pair.fitted.layer(best), model, rng))
        for name in (f"{name}, {label}" for name in names):
            reader = readers[name]
            study.fits[name] = dict(reader.about)
            if isinstance(reader.decipherer, ProbeDecipherer):
                states = pair.measured.layer(reader.decipherer.layer)
                found = read_by_probe(name, reader.decipherer, states, lengths)
            else:
                found = decipher(name, reader, texts)
            study.readings.extend(found)
    frequency = partial(make_decipherer, "frequency", ngram)
    study.readings.extend(decipher(FREQUENCY, frequency, texts))
    if bayes:
        found = []
        for settings, some in _smc_plans(lengths):
            smc = partial(make_decipherer, "smc", ngram, **settings)
            found += decipher(SMC, smc, texts.take(slice(bayes)), lengths=some)
        study.readings.extend(replace(reading, decipherer=MAP) for reading in found)
        study.readings.extend(found)
    return study


def _smc_plans(lengths: Sequence[int]) -> list[tuple[dict[str, Any], list[int]]]:
    """Settings of SMC, and the lengths that they are for."""
    short, long = ([n for n in lengths if (n <= SHORT) == is_short] for is_short in (True, False))
    return [plan for plan in ((SMC_SETTINGS, short), (SMC_LONG, long)) if plan[1]]


def read_by_probe(
    label: str, reader: ProbeDecipherer, states: HiddenStates, lengths: Sequence[int]
) -> list[Reading]:
    """What a probe knows of the keys of N texts after each length, from one reading of them: what
    the decipherer itself would say of each, with the vectors that the states were made with.

    Args:
        label: what the reader is called.
        reader: a fitted probe and the pooling of its answers.
        states: [N, n, width] of the reader's layer.
        lengths: of prefixes.
    """
    from analysis.pooling import key_posteriors
    from analysis.readers import token_log_proba

    alphabet = reader.model.alphabet
    log_proba = token_log_proba(reader.probe, states.states, alphabet.size)
    scores = reader.pooling.scores(log_proba, states.symbols, lengths)
    readings = []
    for number, text in enumerate(states.symbols):
        prefixes = [text[:length] for length in lengths]
        posteriors = key_posteriors(scores[number], prefixes, alphabet, {})
        readings += _readings(label, number, text, states.labels[number], posteriors, lengths)
    return readings


def read_prefixes(
    label: str,
    factory: Factory,
    texts: Batch,
    lengths: Sequence[int],
    ngram: NGramModel,
    seed: int,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> list[Reading]:
    """What a decipherer knows of the keys of N texts after each length.

    Args:
        label: what it is called.
        factory: makes it, for each text anew.
        texts: N of them.
        lengths: of prefixes.
        ngram: what search failures are judged by.
        seed: of its random numbers, which depend on the number of the text and nothing else.
        jobs, progress: see `measure`.
    """

    def posteriors(number: int) -> list[KeyPosterior]:
        # No child of the seed's: those drew the texts and the keys.
        decipherer = factory(rng=np.random.default_rng([seed, number]))
        return decipherer.posteriors(texts.ciphertext[number], lengths)

    tasks = (joblib.delayed(posteriors)(number) for number in range(len(texts)))
    # The compiled loops and torch release the GIL, so threads serve.
    found = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)
    disable = None if progress is None else not progress
    readings: list[Reading] = []
    for number, of_text in enumerate(
        tqdm(found, label, total=len(texts), unit="text", disable=disable)
    ):
        solution = texts.ciphertext[number], texts.plaintext[number]
        readings += _readings(label, number, *solution, of_text, lengths, ngram)
    return readings


def _readings(
    label: str,
    number: int,
    ciphertext: Ids,
    plaintext: Ids,
    posteriors: Sequence[KeyPosterior],
    lengths: Sequence[int],
    ngram: NGramModel | None = None,
) -> list[Reading]:
    """One for each length. All come of a single pass over the text, so no time is theirs."""
    seed = np.random.SeedSequence(number)
    return [
        Reading(
            label,
            Trial(number, ciphertext[:length], plaintext[:length], seed),
            posterior,
            math.nan,
            ngram,
        )
        for length, posterior in zip(lengths, posteriors, strict=True)
    ]


def _read(
    model: Transformer,
    batches: tuple[Batch, Batch],
    rng: np.random.Generator,
    layer: int | None = None,
) -> Pair:
    """The states of both, of one layer or of all."""
    from analysis.states import read_states, torch_generator

    fitted, measured = (
        read_states(model, batch, torch_generator(model, rng), layer) for batch in batches
    )
    return Pair(fitted, measured)


def _controls(
    label: str,
    model: Transformer,
    layer: int,
    batches: tuple[Batch, Batch],
    pair: Pair,
    rng: np.random.Generator,
) -> list[Control]:
    """Those that are a probe of their own on states of `layer`; `pair` has the trained model's."""
    from analysis.controls import control_labels, shuffle_labels, untrained
    from analysis.states import torch_generator

    fresh = untrained(model, torch_generator(model, rng))
    size = model.alphabet.size
    shuffled = Pair(shuffle_labels(pair.fitted, rng), pair.measured)
    task = Pair(control_labels(pair.fitted, rng, size), control_labels(pair.measured, rng, size))
    untaught = _read(fresh, batches, rng, layer).hits()
    return [
        Control(UNTRAINED, label, layer, untaught, pair.chance),
        Control(SHUFFLED, label, layer, shuffled.hits(), pair.chance),
        Control(CONTROL_TASK, label, layer, task.hits(), 1 / size),
    ]


def _selectivities(
    probes: Sequence[str], states: HiddenStates, model: Transformer, rng: np.random.Generator
) -> dict[str, Selectivity]:
    """Of those probes that do not learn by heart alone."""
    from analysis.controls import selectivity
    from analysis.probes import make_probe
    from analysis.states import quick_probe

    made = {
        name: quick_probe() if name == "linear" else make_probe(name, 0)
        for name in SELECTIVE
        if name in probes
    }
    return {
        name: selectivity(probe, states, rng, model.alphabet.size) for name, probe in made.items()
    }


def _check(
    models: Mapping[str, Transformer],
    ngram: NGramModel,
    lengths: Sequence[int],
    ciphers: int,
    bayes: int,
    probes: Sequence[str],
) -> None:
    from analysis.probes import make_probe

    if not models:
        raise InputError("there is no model to probe: name at least one")
    if not lengths or min(lengths) < 1:
        raise InputError("there is no length to measure at: give at least one, of 1 or more")
    if ciphers < 1 or bayes < 0:
        raise InputError(
            f"{ciphers} ciphertexts, {bayes} of them for SMC: give 1 or more, and 0 or more"
        )
    if not probes:
        raise InputError("there is no probe to read with: name at least one")
    for name, count in Counter(probes).items():
        make_probe(name)
        if count > 1:
            raise InputError(f"the probe {name} is named {count} times: name each once")
    for label, model in models.items():
        if model.alphabet != ngram.alphabet:
            raise InputError(
                f"{label} is over the alphabet {model.alphabet} and the n-gram table over "
                f"{ngram.alphabet}: compare models of one alphabet"
            )
        if model.context < max(lengths):
            raise InputError(
                f"{label} reads at most {model.context} symbols, not {max(lengths)}: take lengths "
                f"up to {model.context}, or leave it out"
            )


# --- summing up ---------------------------------------------------------------------------------


def accuracy_frame(readings: Sequence[Reading]) -> pd.DataFrame:
    """How much of the texts each decipherer gets right after each length: `summarise` of
    `analysis.curves`, but for the seconds. A length is one of a prefix of the same texts."""
    frame = text_frame([text_rows(each, [_rule(each.decipherer)]) for each in readings])
    return summarise(frame).drop(columns="seconds")


def symbol_frame(readings: Sequence[Reading]) -> pd.DataFrame:
    """What is made of each cipher symbol in what was read so far.

    Returns:
        One row for each reading and symbol seen, with the columns

        - decipherer, length, cipher: which reading;
        - count: how often the symbol was seen;
        - right: 1 where it is read right, else 0;
        - confidence: the posterior probability of the letter that it is read as.
    """
    frames = []
    for each in readings:
        symbols, first, counts = np.unique(
            each.trial.ciphertext, return_index=True, return_counts=True
        )
        decoding = each.posterior.decode(each.trial.ciphertext, _rule(each.decipherer))
        columns = {
            "decipherer": each.decipherer,
            "length": len(each.trial.ciphertext),
            "cipher": each.trial.number,
            "count": counts,
            "right": (decoding.ids == each.trial.plaintext)[first].astype(float),
            "confidence": decoding.confidence[first],
        }
        frames.append(pd.DataFrame(columns, index=symbols))
    return pd.concat(frames, ignore_index=True)


def count_frame(symbols: pd.DataFrame) -> pd.DataFrame:
    """How often a symbol is read right that was seen once, twice, 3 to 4 times, 5 to 8, ...

    Args:
        symbols: what `symbol_frame` gives.

    Returns:
        One row for each decipherer and band of counts, with the columns

        - decipherer, first, last: which;
        - texts, symbols: how many texts have such symbols, and how many symbols there are, over
          all lengths;
        - accuracy, confidence: the share that is right, and what the posterior expects of it;
        - accuracy_low, accuracy_high: the 95 % interval, over texts.
    """
    octave = np.ceil(np.log2(symbols["count"])).astype(int)
    rows = []
    for (decipherer, _), group in symbols.groupby(["decipherer", octave], sort=False):
        last = 1 << int(octave[group.index[0]])
        by_text = group.groupby("cipher")["right"].agg(["sum", "count"])
        accuracy, low, high = ratio_interval(by_text["sum"], by_text["count"])
        rows.append(
            {
                "decipherer": decipherer,
                "first": 1 + last // 2,
                "last": last,
                "texts": len(by_text),
                "symbols": len(group),
                "accuracy": accuracy,
                "accuracy_low": low,
                "accuracy_high": high,
                "confidence": group["confidence"].mean(),
            }
        )
    order = {name: i for i, name in enumerate(symbols["decipherer"].unique())}
    frame = pd.DataFrame(rows)
    return frame.sort_values(
        ["decipherer", "last"], key=lambda column: column.replace(order), ignore_index=True
    )


def confusion_frame(readings: Sequence[Reading], length: int) -> pd.DataFrame:
    """Which letters are taken for which after `length` symbols.

    Returns:
        One row for each decipherer and pair of letters, with the columns

        - decipherer, length: which;
        - truth, read: the letters; `SPACE` is the space;
        - tokens: how often the true letter occurs;
        - share: of its occurrences, those that are read so;
        - probability: that the posterior gives to this reading, the mean over its occurrences.

    Raises:
        InputError: there is no reading of that length.
    """
    found: dict[str, _Confusion] = {}
    for each in readings:
        if len(each.trial.ciphertext) == length:
            of_all = found.setdefault(each.decipherer, _Confusion(each.posterior.alphabet))
            of_all.add(each)
    if not found:
        raise InputError(f"nothing was read up to {length} symbols: choose one of the lengths")
    return pd.concat(
        [each.frame().assign(decipherer=name, length=length) for name, each in found.items()],
        ignore_index=True,
    )[["decipherer", "length", "truth", "read", "tokens", "share", "probability"]]


class _Confusion:
    """Sums over the texts that one decipherer read.

    Attributes:
        read: [V, V] occurrences of the first letter that are read as the second.
        mass: [V, V] the sum of their posterior probabilities.
    """

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.read, self.mass = np.zeros((2, alphabet.size, alphabet.size))

    def add(self, reading: Reading) -> None:
        """Take in one reading."""
        ciphertext, truth = reading.trial.ciphertext, reading.trial.plaintext
        decoding = reading.posterior.decode(ciphertext, _rule(reading.decipherer))
        np.add.at(self.read, (truth, decoding.ids), 1)
        np.add.at(self.mass, truth, reading.posterior.marginals[ciphertext])

    def frame(self) -> pd.DataFrame:
        """The columns of `confusion_frame` but for the two that name it."""
        letters = [SPACE if letter == " " else letter for letter in self.alphabet.symbols]
        tokens = self.read.sum(axis=1, keepdims=True)
        some = np.where(tokens > 0, tokens, np.nan)
        return pd.DataFrame(
            {
                "truth": np.repeat(letters, len(letters)),
                "read": np.tile(letters, len(letters)),
                "tokens": np.repeat(tokens.astype(int), len(letters)),
                "share": (self.read / some).ravel(),
                "probability": (self.mass / some).ravel(),
            }
        )


def confused_pairs(confusions: pd.DataFrame, most: int = PAIRS) -> pd.DataFrame:
    """The mistakes that cost the most symbols, the worst first.

    Args:
        confusions: what `confusion_frame` gives.
        most: how many of each decipherer.

    Returns:
        Rows of `confusions` of different letters, with one more column: mistakes, the number of
        symbols that are read wrong so.
    """
    wrong = confusions[confusions["truth"] != confusions["read"]]
    wrong = wrong.assign(mistakes=(wrong["tokens"] * wrong["share"]).round())
    wrong = wrong[wrong["mistakes"] > 0].astype({"mistakes": int})
    groups = wrong.groupby("decipherer", sort=False, group_keys=False)
    by = ["mistakes", "probability"]
    worst = [group.sort_values(by, ascending=False).head(most) for _, group in groups]
    return pd.concat(worst or [wrong], ignore_index=True)


def layer_frame(layers: Mapping[str, Right], ends: Sequence[int]) -> pd.DataFrame:
    """Where in a model, and after how many symbols, the letter of a symbol can be read.

    Args:
        layers: as in `Study`.
        ends: the last position of each band of positions, counted from 1, ascending.

    Returns:
        One row for each model, layer and band, with the columns

        - model, layer: which; layer 0 is before the first block;
        - first, last, texts: the positions, and how many texts;
        - accuracy: the share of the symbols that a linear probe names where they are read;
        - accuracy_low, accuracy_high: the 95 % interval (Student's t over texts);
        - appears: whether this is the layer where the alphabet appears: the first with half of
          what any layer adds to layer 0, in the last band; none is where nothing is added beyond
          the intervals.
    """
    frames = []
    for label, right in layers.items():
        rows = [
            {"model": label, "layer": layer, **_band(of_layer, first, last)}
            for layer, of_layer in enumerate(right)
            for first, last in zip([1, *(end + 1 for end in ends)], ends, strict=False)
        ]
        frame = pd.DataFrame(rows)
        late = frame[frame["last"] == ends[-1]]
        accuracy = late["accuracy"].to_numpy()
        best = int(accuracy.argmax())
        half = int((accuracy >= (accuracy[0] + accuracy[best]) / 2).argmax())
        added = late["accuracy_low"].iloc[best] > late["accuracy_high"].iloc[0]
        frames.append(frame.assign(appears=(frame["layer"] == half) & added))
    return pd.concat(frames, ignore_index=True)


def _band(right: Right, first: int, last: int) -> dict[str, float]:
    mean, low, high = mean_interval(right[:, first - 1 : last].mean(axis=1))
    return {
        "first": first,
        "last": last,
        "texts": len(right),
        "accuracy": mean,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def control_frame(controls: Sequence[Control], ends: Sequence[int]) -> pd.DataFrame:
    """What a linear probe finds in the trained model, and where there is less to find.

    Args:
        controls: as in `Study`.
        ends: see `layer_frame`; `late` is the last band.

    Returns:
        One row for each, with the columns control, model, layer, texts; accuracy over all
        positions and late, over the last band, with the ends ..._low and ..._high of their 95 %
        intervals (Student's t over texts); chance, what the best answer gets right that looks at
        no state.
    """
    start = ends[-2] + 1 if len(ends) > 1 else 1
    rows = []
    for each in controls:
        whole = _band(each.right, 1, ends[-1])
        late = _band(each.right, start, ends[-1])
        rows.append(
            {
                "control": each.name,
                "model": each.model,
                "layer": each.layer,
                "texts": len(each.right),
                **{name: whole[name] for name in whole if name.startswith("accuracy")},
                **{
                    name.replace("accuracy", "late"): late[name]
                    for name in late
                    if name.startswith("accuracy")
                },
                "chance": each.chance,
            }
        )
    return pd.DataFrame(rows)


def selectivity_frame(selectivities: Mapping[str, Selectivity]) -> pd.DataFrame:
    """One row for each probe: its accuracy at positions between those that it was fitted to, with
    the true labels (accuracy) and with those of the control task (control), and their difference
    (selectivity; Hewitt and Liang 2019)."""
    return pd.DataFrame(
        [
            {"probe": name, **asdict(each), "selectivity": each.selectivity}
            for name, each in selectivities.items()
        ],
        columns=["probe", "accuracy", "control", "selectivity"],
    )


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, float, float]:
    """The ratio of two sums over N texts, and the ends of its 95 % interval within 0 and 1, by
    linearisation (Cochran 1977, chapter 6) and Student's t; not a number for a single text."""
    numerators, denominators = np.asarray(numerators, float), np.asarray(denominators, float)
    ratio = float(numerators.sum() / denominators.sum())
    deviations = (numerators - ratio * denominators) / denominators.mean()
    _, low, high = mean_interval(ratio + deviations)
    return ratio, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def _rule(decipherer: str) -> Rule:
    return RULES.get(decipherer, "marginal")


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Probe a transformer that is fed ciphertexts: how many symbols are read right, "
        "after how many, in which layer, and which letters are mistaken for which, beside the "
        "exact posterior and controls; write the tables and draw the figures.",
        epilog=SEVERAL,
    )
    several = partial(parser.add_argument, action="extend")
    several(
        "--model",
        metavar="NAME|PATH",
        nargs="+",
        help="the transformer to study, shipped or from a file, and after it those that are fed "
        f"the same ciphertexts as controls (default: {' '.join(MODELS)})",
    )
    several(
        "--probes",
        metavar="PROBE",
        nargs="+",
        choices=PROBES,
        help="how to read hidden states; the first stands beside the exact posterior in the "
        f"figures by symbol (default: {' '.join(PROBES)})",
    )
    add_corpus_options(parser)
    several(
        "--lengths",
        metavar="N",
        nargs="+",
        type=at_least(1),
        help="symbols after which to ask; the longest is that of the texts "
        f"(default: {' '.join(map(str, LENGTHS))})",
    )
    numbers = {
        "--ciphers": (1, 200, "ciphertexts to measure on"),
        "--bayes": (0, BAYES, "of these, so many at most are read by SMC too, which is slow"),
        "--probe-texts": (
            5,
            PROBE_TEXTS,
            "ciphertexts of the training split that probes are fitted to",
        ),
        "--layer-texts": (
            1,
            LAYER_TEXTS,
            "of other windows of it, so many are for the linear probes of layers and of controls",
        ),
        "--confused": (1, CONFUSED, "the length at which confusions are shown, one of --lengths"),
        "--seed": (0, 0, "the same seed gives the same ciphertexts and results"),
    }
    for option, (least, default, said) in numbers.items():
        parser.add_argument(
            option,
            metavar="N",
            type=at_least(least),
            default=default,
            help=f"{said} (default: %(default)s)",
        )
    parser.add_argument(
        "--ngram",
        metavar="NAME|PATH",
        help="the n-gram table (default: the one shipped for the alphabet)",
    )
    add_device_option(parser)
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=at_least(1),
        help="texts that are deciphered at a time (default: one a core)",
    )
    add_out_option(parser, "results/probes")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from analysis.results import check_outputs, describe_run, write_table
    from analysis.states import RIDGE, STEPS

    names = arguments.model or MODELS
    if arguments.split in ("train", "all"):
        raise InputError(
            f"probes are fitted to the training split, which is in {arguments.split!r}: measure "
            "on validation or test"
        )
    lengths = sorted({*(arguments.lengths or LENGTHS)})
    if arguments.confused not in lengths:
        raise InputError(
            f"confusions are asked for at {arguments.confused} symbols, where nothing is measured: "
            f"choose one of {', '.join(map(str, lengths))} by --confused"
        )
    models = load_models(names, arguments.device)
    ngram = _ngram(arguments.ngram, next(iter(models.values())).alphabet)
    probes = arguments.probes or PROBES
    _check(models, ngram, lengths, arguments.ciphers, arguments.bayes, probes)
    sources = arguments.corpus or CORPORA
    train, test = read_corpus(sources, "train"), read_corpus(sources, arguments.split)
    check_outputs(arguments.out, TABLES, PICTURES)

    settings = {
        "lengths": lengths,
        "ciphers": arguments.ciphers,
        "bayes": arguments.bayes,
        "probes": list(probes),
        "probe_texts": arguments.probe_texts,
        "layer_texts": arguments.layer_texts,
    }
    jobs = arguments.jobs or -1
    study = measure(models, ngram, train, test, **settings, seed=arguments.seed, jobs=jobs)
    tables = _tables(study, lengths, arguments.confused)
    said = settings | {
        "models": dict(zip(models, names, strict=True)),
        "corpus": list(sources),
        "split": arguments.split,
        "confused": arguments.confused,
        "smc": _smc_plans(lengths),
        "quick_probe": {"ridge": RIDGE, "steps": STEPS},
        "device": arguments.device,
        "jobs": jobs,
        "readers": study.fits,
    }
    record = describe_run(said, arguments.seed, test, ngram) | describe_models(models)
    for name, frame in tables.items():
        write_table(frame, arguments.out / f"{name}.csv", record)
    studied = next(iter(models))
    _draw(tables, [f"{probes[0]}, {studied}", SMC], arguments.out, test.name)
    _print(tables)
    print(f"\ntables, records and figures: {arguments.out}")


def _tables(study: Study, lengths: Sequence[int], confused: int) -> dict[str, pd.DataFrame]:
    """All of them, in the order of `TABLES`."""
    confusions = confusion_frame(study.readings, confused)
    frames = (
        accuracy_frame(study.readings),
        layer_frame(study.layers, lengths),
        count_frame(symbol_frame(study.readings)),
        confusions,
        confused_pairs(confusions),
        control_frame(study.controls, lengths),
        selectivity_frame(study.selectivities),
    )
    return dict(zip(TABLES, frames, strict=True))


def _ngram(name: str | None, alphabet: Alphabet) -> NGramModel:
    """The n-gram table called `name`, by default the one shipped for the alphabet."""
    if name is None and alphabet.name not in SHIPPED:
        raise InputError(
            f"no n-gram table is shipped for the alphabet {alphabet}: give one by --ngram"
        )
    return load_ngram(name or alphabet.name, alphabet)


def _draw(
    tables: Mapping[str, pd.DataFrame], beside: Sequence[str], out: Path, corpus: str
) -> None:
    """All figures; `beside` are the readers that those by symbol compare."""
    from analysis.figures import (
        new_figure,
        plot_confusions,
        plot_counts,
        plot_layers,
        plot_probe_accuracy,
        save_figure,
    )

    counts, confusions = (
        frame[frame["decipherer"].isin(beside)] for frame in (tables["counts"], tables["confusion"])
    )
    by_count = new_figure()
    plot_counts(counts, by_count.add_subplot(), corpus=corpus)
    figures = (
        plot_probe_accuracy(tables["accuracy"], corpus=corpus),
        plot_layers(tables["layers"], corpus=corpus),
        by_count,
        plot_confusions(confusions, corpus=corpus),
    )
    for name, figure in zip(PICTURES, figures, strict=True):
        save_figure(figure, out / f"{name}.png")


def _print(tables: Mapping[str, pd.DataFrame]) -> None:
    accuracy, layers = tables["accuracy"], tables["layers"]
    by_length = accuracy.pivot(index="decipherer", columns="length", values="token_accuracy")
    _show("Token accuracy", by_length.loc[accuracy["decipherer"].unique()].reset_index())
    for label, frame in layers.groupby("model", sort=False):
        by_band = frame.pivot(index="layer", columns="last", values="accuracy")
        _show(f"Accuracy by layer, {label}, up to each position", by_band.reset_index())
        where = frame.loc[frame["appears"], "layer"].unique()
        print(f"the alphabet appears in layer {where[0]}" if len(where) else "no layer adds to 0")
    controls = tables["controls"].drop(columns=["accuracy_low", "accuracy_high"])
    _show("Controls, by a linear probe", controls)
    if len(tables["selectivity"]):
        _show("Selectivity", tables["selectivity"])
    if len(tables["pairs"]):
        _show("What is taken for what", tables["pairs"])


def _show(title: str, frame: pd.DataFrame) -> None:
    print(f"\n{title}\n{frame.to_string(index=False, float_format='{:.3f}'.format, na_rep='-')}")


if __name__ == "__main__":
    leave(main())
