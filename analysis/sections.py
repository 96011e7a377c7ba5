"""What the report says of each study: its question, method, figures, tables and reading.

Whatever speaks of results is computed from the tables: captions and methods hold for any run,
alternative texts and findings are functions. A figure's alternative text says in words and numbers
what the figure shows, so that the page reads with images off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.claims import Tables, number, only

PAPER = "Huang et al. 2023, arXiv:2305.16349"

#: A number that was not measured.
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Picture:
    """A figure: the name of its file, what it shows, and what is to be seen in it."""

    name: str
    caption: str
    describe: Callable[[Tables], str]


@dataclass(frozen=True)
class Table:
    """A table: an id, its caption, and its cells as text, made from the study's tables."""

    name: str
    caption: str
    make: Callable[[Tables], pd.DataFrame]


@dataclass(frozen=True)
class Section:
    """What the report says of a study.

    Attributes:
        study: its name.
        question: that it answers.
        method: how it was measured, with the source.
        pictures: in the order of the page.
        tables: likewise.
        reading: how the figures are to be read.
    """

    study: str
    question: str
    method: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]
    reading: str


# --- words and cells ----------------------------------------------------------------------------


def from_to(frame: pd.DataFrame, by: str, x: str, y: str, *, digits: int = 2) -> str:
    """Each line of a figure by its ends: "ngram 0.26 at 16 and 1.00 at 512; ..."."""
    said = []
    for label, line in frame.dropna(subset=y).groupby(by, sort=False):
        ends = line.sort_values(x).iloc[sorted({0, len(line) - 1})]
        words = (f"{number(row[y], digits)} at {row[x]:g}" for _, row in ends.iterrows())
        said.append(f"{label} {listed(words)}")
    return "; ".join(said)


def listed(words: Iterable[object]) -> str:
    """The words, commas between them and "and" before the last."""
    *most, last = map(str, words)
    return f"{', '.join(most)} and {last}" if most else last


def cell(value: Any, digits: int | None = None) -> str:
    """A value as a table shows it: numbers rounded, what is missing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if digits is None or isinstance(value, str):
        return str(value)
    return number(value, digits)


def columns(frame: pd.DataFrame, *wanted: tuple[str, str, int | None]) -> pd.DataFrame:
    """Columns as text, each given by its name, its heading and its decimals (None: as it is);
    those with an interval show it."""
    cells: dict[str, list[str]] = {}
    for name, heading, digits in wanted:
        texts = [cell(value, digits) for value in frame[name]]
        if {f"{name}_low", f"{name}_high"} <= {*frame}:
            low = [cell(value, digits) for value in frame[f"{name}_low"]]
            high = [cell(value, digits) for value in frame[f"{name}_high"]]
            texts = [
                text if text == NONE or (a == b == text) else f"{text} ({a} to {b})"
                for text, a, b in zip(texts, low, high, strict=True)
            ]
        cells[heading] = texts
    return pd.DataFrame(cells)


def grid(
    frame: pd.DataFrame, rows: Sequence[tuple[str, str]], column: str, value: str, digits: int
) -> pd.DataFrame:
    """A column for each value of `column`; `rows` are columns that tell the lines apart, each with
    its heading."""
    keys = [name for name, _ in rows]
    wide = frame.pivot_table(value, keys, column, sort=False, dropna=False, observed=True)
    ordered = wide.dropna(how="all").reindex(columns=frame[column].drop_duplicates())
    cells = ordered.map(lambda value: cell(value, digits)).reset_index()
    return cells.rename(columns=dict(rows)).rename(columns=str)


def bands(frame: pd.DataFrame) -> pd.DataFrame:
    """With a column `positions`, such as "17\N{EN DASH}32", from `first` and `last`."""
    names = [
        f"{first}\N{EN DASH}{last}" if first < last else f"{first}"
        for first, last in zip(frame["first"], frame["last"], strict=True)
    ]
    return frame.assign(positions=names)


# --- accuracy, the Bayesian reference -----------------------------------------------------------


def _accuracy_alt(tables: Tables) -> str:
    frame = tables["accuracy/accuracy"]
    lines = from_to(frame, "decipherer", "length", "token_accuracy")
    return f"Share of the symbols right against ciphertext length, in symbols: {lines}."


def _accuracy_grid(table: str) -> Callable[[Tables], pd.DataFrame]:
    rows = [("decipherer", "Method")]
    return lambda tables: grid(tables[table], rows, "length", "token_accuracy", 3)


ACCURACY = Section(
    study="accuracy",
    question="How much ciphertext does a method need before it reads a substitution cipher right?",
    method="Windows of held-out text, each under a uniform key of its own, without spaces and "
    "punctuation. The n-gram search looks for the most probable key under the shipped 5-gram table "
    "by hill climbing from many starts; frequency ranking pairs symbols and letters by rank. Bands "
    "are 95% intervals, by bootstrap over ciphertexts.",
    pictures=(
        Picture(
            "accuracy",
            "Share of the symbols that are right, against the length of the ciphertext.",
            _accuracy_alt,
        ),
    ),
    tables=(
        Table(
            "accuracy",
            "Share of the symbols right, by ciphertext length in symbols",
            _accuracy_grid("accuracy/accuracy"),
        ),
    ),
    reading="Chance is one symbol in 26. Where a line is low, either the search missed the best "
    "key or a wrong reading of so short a text is more probable than the truth; the table of the "
    "study tells the two apart (search_failure_rate).",
)


def _bayes_accuracy_alt(tables: Tables) -> str:
    lines = from_to(tables["bayes/accuracy"], "decipherer", "length", "token_accuracy")
    return f"Share of the symbols right against ciphertext length, in symbols: {lines}."


def _bayes_regret_alt(tables: Tables) -> str:
    frame = tables["bayes/regret"]
    lines = from_to(frame, "decipherer", "length", "regret", digits=1)
    bound, above = frame["bound"].iloc[0], frame["above"].sum()
    return (
        f"Regret in bits against ciphertext length, in the mean over texts: {lines}; under a line "
        f"at {bound:.1f} bits, which {above} texts pass."
    )


def _reliability_alt(tables: Tables) -> str:
    frame = tables["bayes/calibration"]
    said = (
        f"at {row['length']} symbols {row['accuracy']:.3f} are right where {row['confidence']:.3f} "
        "are expected"
        for _, row in frame.iterrows()
    )
    return f"Accuracy against confidence, a panel for each length: {'; '.join(said)}."


def _rank_tests(tables: Tables) -> pd.DataFrame:
    return tables["bayes/sbc"].drop_duplicates(["decipherer", "quantity"])


def _sbc_alt(tables: Tables) -> str:
    tests = _rank_tests(tables)
    bars = tables["bayes/sbc"]
    outside = (bars["count"] < bars["band_low"]) | (bars["count"] > bars["band_high"])
    return (
        f"{len(tests)} histograms of the rank of the true key, of three quantities for "
        f"{listed(tests['decipherer'].unique())}. {int(outside.sum())} of {len(outside)} bars lie "
        f"outside their band; the least p-value of a uniform rank is {tests['p_value'].min():.2g}."
    )


def _certificates_alt(tables: Tables) -> str:
    frame = tables["bayes/certificates"]
    said = (f"{row['certified_rate']:.0%} at {row['length']:.0f}" for _, row in frame.iterrows())
    return f"Share of the ciphertexts whose best key is proven, by length: {listed(said)} symbols."


BAYES = Section(
    study="bayes",
    question="What can be read by someone who knows the language and nothing of the key, what does "
    "the missing key cost, and is the confidence in a letter to be believed?",
    method="Annealed sequential Monte Carlo samples the posterior over keys under the shipped "
    "5-gram table (Del Moral et al. 2006). Its evidence gives the regret, the bits that not "
    "knowing the key costs; it is checked by simulation-based calibration (Talts et al. 2018), and "
    "the best key by an exact search with a proof (Corlett and Penn 2010).",
    pictures=(
        Picture(
            "accuracy",
            "Share of the symbols right, for keys chosen by several rules from the same texts.",
            _bayes_accuracy_alt,
        ),
        Picture(
            "regret",
            "Regret of the Bayes mixture over all keys. No text can pass log2 V! bits.",
            _bayes_regret_alt,
        ),
        Picture(
            "reliability",
            "How often letters of a given confidence are right. On the diagonal confidence is "
            "honest; the size of a point is its share of the symbols.",
            _reliability_alt,
        ),
        Picture(
            "sbc",
            "Ranks of the true key among the sampled ones. A right sampler gives level bars, in "
            "the grey band.",
            _sbc_alt,
        ),
        Picture(
            "certificates",
            "How often the exact search proves its key the most probable of all, under 3-grams, "
            "within its time.",
            _certificates_alt,
        ),
    ),
    tables=(
        Table(
            "accuracy",
            "Share of the symbols right, by ciphertext length in symbols",
            _accuracy_grid("bayes/accuracy"),
        ),
        Table(
            "regret",
            "Regret in bits, by ciphertext length",
            lambda tables: columns(
                tables["bayes/regret"],
                ("length", "Length (symbols)", 0),
                ("ciphers", "Texts", 0),
                ("regret", "Regret (bits, mean)", 1),
                ("largest", "Largest (bits)", 1),
                ("bound", "Bound (bits)", 1),
                ("above", "Texts above", 0),
            ),
        ),
        Table(
            "calibration",
            "Calibration of posterior decoding, by ciphertext length",
            lambda tables: columns(
                tables["bayes/calibration"],
                ("length", "Length (symbols)", 0),
                ("accuracy", "Share right", 3),
                ("confidence", "Share expected", 3),
                ("ece", "Calibration error", 3),
                ("ece_noise", "The same by chance", 3),
                ("score", "Score (bits a symbol)", 2),
            ),
        ),
        Table(
            "ranks",
            "Simulation-based calibration: are the ranks of the true key uniform?",
            lambda tables: columns(
                _rank_tests(tables),
                ("decipherer", "Method", None),
                ("quantity", "Rank of", None),
                ("replications", "Texts", 0),
                ("p_value", "p-value", 3),
            ),
        ),
    ),
    reading="Regret that flattens below its bound has learned the key; letters that do not occur "
    "need not be learned. A calibration error near what chance gives says nothing against the "
    "method; one well above it says that the language model does not fit the text.",
)


# --- convergence --------------------------------------------------------------------------------


def _sizes_alt(tables: Tables) -> str:
    frame = only(tables["convergence/contexts"], series="size")
    lines = from_to(frame, "source", "context", "mean_gap")
    return (
        "Left: mean L1 gap of the first n predictions against n, for each size of the alphabet: "
        f"{lines}. {int((frame['mean_gap'] > frame['mean_gap_bound']).sum())} of {len(frame)} "
        "points lie above their bound, which falls like n to the -0.5. Right: the mean regret as a "
        f"share of its bound, log2 d! bits: {_shares(frame)}."
    )


def _shares(frame: pd.DataFrame) -> str:
    last = frame[frame["context"] == frame["context"].max()]
    shares = last["regret_bits"] / last["bound_bits"]
    return f"from {shares.min():.0%} to {shares.max():.0%} at n = {last['context'].max()}"


def _vocabulary_alt(tables: Tables) -> str:
    frame = only(tables["convergence/contexts"], series="size")
    last = frame[frame["context"] == frame["context"].max()]
    said = (
        f"{row['mean_gap']:.2f} and {row['regret_bits']:.1f} bits at d = {row['size']}"
        for _, row in last.iterrows()
    )
    return (
        f"Mean L1 gap, left, and mean regret, right, against the size d of the alphabet. At n = "
        f"{last['context'].max()}: {'; '.join(said)}."
    )


def _kinds_alt(tables: Tables) -> str:
    frame = tables["convergence/contexts"]
    kinds = frame[(frame["series"] == "kind")]
    lines = from_to(kinds, "source", "context", "mean_gap")
    return f"Mean L1 gap against n for chains of several orders and entropies: {lines}."


def _exponents(along: str) -> Callable[[Tables], pd.DataFrame]:
    def make(tables: Tables) -> pd.DataFrame:
        frame = only(tables["convergence/exponents"], along=along)
        return columns(
            frame,
            ("quantity", "Quantity", None),
            ("at", "At", None),
            ("exponent", f"Power of {along}", 2),
            ("bound_exponent", "Power of its bound", 2),
        )

    return make


CONVERGENCE = Section(
    study="convergence",
    question="How soon does a reader without the key predict as well as the true language model "
    "does with it, and what does the way there cost as the alphabet grows?",
    method="Texts are drawn from known models p over d symbols (Markov chains; the English 5-gram "
    "table) and encrypted. The reader is the Bayes mixture over all d! keys, by enumeration up to "
    "7 symbols and by annealed SMC past them. Its predictions are held against those of p with the "
    f"key ({PAPER}, abstract; the bound sqrt(2 ln(d!) / n) follows from Pinsker and Jensen).",
    pictures=(
        Picture(
            "sizes",
            "Mean L1 gap and regret against context, by size of the alphabet; broken: the bounds.",
            _sizes_alt,
        ),
        Picture(
            "vocabulary",
            "Mean L1 gap and regret against the size of the alphabet.",
            _vocabulary_alt,
        ),
        Picture(
            "kinds",
            "Mean L1 gap and regret against context, by order and entropy of the language.",
            _kinds_alt,
        ),
    ),
    tables=(
        Table("exponents-n", "Fitted powers of the context n", _exponents("n")),
        Table("exponents-d", "Fitted powers of the size d of the alphabet", _exponents("d")),
    ),
    reading="A line along its bound has a key that is as hard to learn as any. Where the regret "
    "meets log2 d!, all of the key was needed and has been learned. Past 7 symbols regrets are "
    "estimates, and may lie a bit above the bound for that reason.",
)


# --- perplexity ---------------------------------------------------------------------------------


def _loss_alt(tables: Tables) -> str:
    lines = from_to(tables["perplexity/contexts"], "model", "context", "bits")
    return f"Loss in bits a symbol against position in the text: {lines} symbols."


def _gap_alt(tables: Tables) -> str:
    frame = tables["perplexity/contexts"]
    read = frame[frame["kind"].isin(["lexinvariant", "mixed", "mixture"])]
    return (
        "Left: perplexity gap, as a multiple of the standard model's perplexity, against position: "
        f"{from_to(read, 'model', 'context', 'gap')}. Right: regret in bits: "
        f"{from_to(read, 'model', 'context', 'regret_bits', digits=0)}; the bound is "
        f"{frame['bound'].iloc[0]:.1f}."
    )


PERPLEXITY = Section(
    study="perplexity",
    question="A model without fixed vectors for its symbols meets every text as a cipher. Does it, "
    "once it has read enough, predict as well as one that knew the alphabet all along?",
    method="The shipped lexinvariant and standard transformers, n-grams and the Bayes mixture read "
    f"the same windows of held-out text ({PAPER}, section 4.1). A lexinvariant model gives a text "
    "and its encryption the same probability, so nothing need be encrypted. Intervals are 95%, "
    "over texts; those of the gap are paired.",
    pictures=(
        Picture(
            "loss",
            "Loss against position in the text. The horizontal lines know the alphabet.",
            _loss_alt,
        ),
        Picture(
            "gap",
            "Left, perplexity over the standard model's, minus 1 (0: level with it); the paper's "
            "numbers are quoted for orientation. Right, the regret: bits that the unknown alphabet "
            "has cost so far.",
            _gap_alt,
        ),
    ),
    tables=(
        Table(
            "bits",
            "Loss in bits a symbol, in the last quarter of each context (symbols)",
            lambda tables: grid(
                tables["perplexity/contexts"], [("model", "Reader")], "context", "bits", 2
            ),
        ),
        Table(
            "gap",
            "Perplexity gap (times the standard model's) and regret (bits), by context",
            lambda tables: columns(
                tables["perplexity/contexts"].query("kind in ['lexinvariant', 'mixed', 'mixture']"),
                ("model", "Reader", None),
                ("context", "Context (symbols)", 0),
                ("gap", "Gap", 2),
                ("regret_bits", "Regret (bits)", 0),
                ("bound", "Bound (bits)", 1),
                ("texts", "Texts", 0),
            ),
        ),
    ),
    reading="Bits spent under the line of the bound may be what learning the key takes; bits over "
    "it are waste, and a line that goes on rising is a model that still predicts worse than its "
    "twin.",
)


# --- probes, implicit ---------------------------------------------------------------------------


def _probe_alt(tables: Tables) -> str:
    lines = from_to(tables["probes/accuracy"], "decipherer", "length", "token_accuracy", digits=3)
    return f"Share of the symbols right against ciphertext length, in symbols: {lines}."


def _layers_alt(tables: Tables) -> str:
    frame = tables["probes/layers"]
    late = frame[frame["last"] == frame["last"].max()]
    said = []
    for model, of_model in late.groupby("model", sort=False):
        first, best = of_model.iloc[0], of_model.loc[of_model["accuracy"].idxmax()]
        appears = of_model.loc[of_model["appears"].astype(bool), "layer"]
        where = f"appears in layer {appears.iloc[0]}" if len(appears) else "appears in no layer"
        said.append(
            f"{model}: {first['accuracy']:.2f} in layer {first['layer']}, at best "
            f"{best['accuracy']:.2f} in layer {best['layer']}; the alphabet {where}"
        )
    return (
        "Heat maps of the accuracy of a linear probe by layer and position. At positions "
        f"{late['first'].iloc[0]} to {late['last'].iloc[0]}: {'. '.join(said)}."
    )


def _counts_alt(tables: Tables) -> str:
    frame = tables["probes/counts"]
    lines = from_to(frame, "decipherer", "first", "accuracy")
    return f"Share of the symbols read right against how often they were seen: {lines} times seen."


def _confusion_alt(tables: Tables) -> str:
    pairs = tables["probes/pairs"]
    said = []
    for reader, of_reader in pairs.groupby("decipherer", sort=False):
        top = of_reader.head(3)
        mistakes = (
            f"{row['truth']} as {row['read']} ({row['share']:.0%})" for _, row in top.iterrows()
        )
        said.append(f"{reader} reads {listed(mistakes)}")
    return (
        f"Heat maps of what is taken for what after {pairs['length'].iloc[0]} symbols. Most often, "
        f"{'; '.join(said)}."
    )


PROBES = Section(
    study="probes",
    question="If a lexinvariant model predicts a text in an alphabet it has never met, it must "
    "have found out which symbol plays which letter. Where does it keep that, and how much is it?",
    method="Small classifiers are fitted to the model's hidden states on texts of the training "
    f"split under other keys ({PAPER}, section 4.2), pooled over the occurrences of a symbol, and "
    "read unseen texts under unseen keys, beside the exact posterior. Controls: untrained weights, "
    "shuffled labels, the control task (Hewitt and Liang 2019), and the standard model fed "
    "ciphertext.",
    pictures=(
        Picture(
            "accuracy",
            "Share of the symbols right by probes, by the model's own predictions, by the exact "
            "posterior and by controls.",
            _probe_alt,
        ),
        Picture(
            "layers",
            "A linear probe's accuracy by layer and position; a frame marks the layer where the "
            "alphabet appears.",
            _layers_alt,
        ),
        Picture("counts", "Accuracy by how often a symbol has been seen.", _counts_alt),
        Picture(
            "confusion",
            "What is taken for what: the probe beside the exact posterior. Rows are true letters, "
            "in order of frequency.",
            _confusion_alt,
        ),
    ),
    tables=(
        Table(
            "accuracy",
            "Share of the symbols right, by ciphertext length in symbols",
            _accuracy_grid("probes/accuracy"),
        ),
        Table(
            "controls",
            "Controls, read by a linear probe: share of the symbols right",
            lambda tables: columns(
                tables["probes/controls"],
                ("control", "Control", None),
                ("model", "Model", None),
                ("layer", "Layer", 0),
                ("accuracy", "All positions", 3),
                ("late", "Last half", 3),
                ("chance", "Best without looking", 3),
            ),
        ),
        Table(
            "selectivity",
            "Selectivity: accuracy with true labels minus that on the control task",
            lambda tables: columns(
                tables["probes/selectivity"],
                ("probe", "Probe", None),
                ("accuracy", "True labels", 2),
                ("control", "Control task", 2),
                ("selectivity", "Selectivity", 2),
            ),
        ),
    ),
    reading="The exact posterior is what can be known. Where a probe is below it and the model's "
    "own predictions are too, the model falls short; where only the probe is, the probe does.",
)


def _chains_alt(tables: Tables) -> str:
    frame = only(tables["implicit/synthetic-doublings"], reader="transformer")
    said = from_to(frame, "language", "last", "kl_nats", digits=3)
    probe = only(tables["implicit/synthetic-doublings"], reader="linear probe")
    return (
        "Divergence from the exact mixture in nats against position, a panel for each language. "
        f"Next symbol, by the transformer: {said}. Meaning, by a linear probe: "
        f"{from_to(probe, 'language', 'last', 'kl_nats', digits=3)}."
    )


def _english_alt(tables: Tables) -> str:
    frame = tables["implicit/english-doublings"].copy()
    frame["line"] = frame["reader"] + " from " + frame["against"]
    regret = tables["implicit/regret"].dropna(subset="regret_bits")
    return (
        "Left: divergence in nats against position: "
        f"{from_to(frame, 'line', 'last', 'kl_nats')}. Right: regret in bits: "
        f"{from_to(regret, 'model', 'last', 'regret_bits', digits=0)}."
    )


def _divergences(name: str) -> Callable[[Tables], pd.DataFrame]:
    rows = [
        ("language", "Language"),
        ("quantity", "Of"),
        ("against", "From"),
        ("reader", "Reader"),
    ]
    return lambda tables: grid(bands(tables[name]), rows, "positions", "kl_nats", 3)


IMPLICIT = Section(
    study="implicit",
    question="That a probe finds the key shows that the model deciphers. Does it also believe what "
    "Bayes' rule says it should?",
    method="The best lexinvariant model is the Bayes mixture over all keys "
    f"({PAPER}, theorem 2.1). The model is held against the mixture itself, KL(mixture || model) "
    "at every position: on random Markov chains, with a transformer trained on each and all V! "
    "keys enumerated; and on English, where annealed SMC estimates the mixture under the "
    "5-gram table.",
    pictures=(
        Picture(
            "synthetic",
            "Divergence from the exact mixture against position, three synthetic languages; the "
            "broken line is the goal.",
            _chains_alt,
        ),
        Picture(
            "english",
            "On English: divergences, and the regret beside its bound.",
            _english_alt,
        ),
    ),
    tables=(
        Table(
            "synthetic",
            "Synthetic languages: divergence in nats, by positions",
            _divergences("implicit/synthetic-doublings"),
        ),
        Table(
            "english",
            "English: divergence in nats, by positions",
            _divergences("implicit/english-doublings"),
        ),
    ),
    reading="0 is agreement. A transformer no nearer to the mixture than the reader that counts "
    "pairs counts too, and does not decipher. On English two models that know the alphabet differ "
    "as well: the mixture and the model learned their language in different ways.",
)


# --- reasoning, regularisation ------------------------------------------------------------------


def _reasoning_alt(tables: Tables) -> str:
    frame = tables["reasoning/summary"]
    said = []
    for task, of_task in frame.groupby("task", sort=False):
        rates = (f"{row['model']} {row['exact']:.3f}" for _, row in of_task.iterrows())
        said.append(f"{task}: {listed(rates)}, a guess {of_task['guess_exact'].iloc[0]:.3f}")
    return f"Share of whole answers right, in the mean over settings. {'. '.join(said)}."


REASONING = Section(
    study="reasoning",
    question="A model that cannot know its symbols beforehand has to work with what the context "
    "says of them. Is it better at tasks that are nothing but context?",
    method="LookUp (pairs of symbols are listed; the partner of one is asked) and Permutation (a "
    "few strings and their permuted forms; the next is asked), over symbols at random "
    f"({PAPER}, synthetic in-context reasoning). The layout and sizes are ours, for 27 symbols. No "
    "model is trained on the tasks.",
    pictures=(
        Picture(
            "accuracy",
            "Answers right, against the number of pairs and of examples. Dashed: a guess in the "
            "right format; dotted: chance.",
            _reasoning_alt,
        ),
    ),
    tables=(
        Table(
            "summary",
            "Share of answers right, and how many times the standard model's",
            lambda tables: columns(
                tables["reasoning/summary"],
                ("model", "Model", None),
                ("task", "Task", None),
                ("exact", "Whole answers", 3),
                ("token", "Single symbols", 3),
                ("exact_ratio", "Times the standard", 1),
                ("guess_exact", "A guess, whole answers", 3),
            ),
        ),
    ),
    reading="Below the guess a model has not understood what is asked. A ratio says little where "
    "both models are near chance.",
)


def _regularisation_alt(tables: Tables) -> str:
    frame = only(tables["regularisation/summary"], reading="learned")
    said = (
        f"p = {row['p']:g}: {row['bits']:.2f} bits, LookUp {row['lookup']:.2f}, Permutation "
        f"{row['permutation']:.2f}, partial ciphers {row['cipher_bits']:.2f} bits, misspellings "
        f"{row['typo_bits']:.2f} bits"
        for _, row in frame.iterrows()
    )
    return f"By the share p of random vectors, read by learned vectors: {'; '.join(said)}."


REGULARISATION = Section(
    study="regularisation",
    question="What does a little lexinvariance cost a standard language model, and what does it "
    "buy?",
    method="Models that differ in nothing but p, the probability that a symbol has a random vector "
    f"for a training sequence ({PAPER}, section 5.3), read English, tasks of pure context, text "
    "with some symbols exchanged, and text with typos. Intervals are 95%, over texts or prompts.",
    pictures=(
        Picture(
            "regularisation",
            "English, reasoning, partial ciphers and misspelling against p.",
            _regularisation_alt,
        ),
    ),
    tables=(
        Table(
            "summary",
            "By the share p of random vectors",
            lambda tables: columns(
                tables["regularisation/summary"],
                ("p", "p", 2),
                ("reading", "Vectors read by", None),
                ("bits", "English (bits)", 2),
                ("lookup", "LookUp (right)", 2),
                ("permutation", "Permutation (right)", 2),
                ("cipher_bits", "Partial ciphers (bits)", 2),
                ("typo_bits", "Misspellings (bits)", 2),
            ),
        ),
    ),
    reading="What is right of p = 0 and better than it is gained; English that costs more bits is "
    "the price.",
)


SECTIONS = (
    ACCURACY,
    BAYES,
    CONVERGENCE,
    PERPLEXITY,
    PROBES,
    IMPLICIT,
    REASONING,
    REGULARISATION,
)
