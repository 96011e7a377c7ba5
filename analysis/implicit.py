"""How near what a lexinvariant model believes is to what Bayes' rule says; and the command
`python -m analysis.implicit`, which measures it.

Huang et al. 2023 (arXiv 2305.16349, theorem 2.1) prove that the best lexinvariant model is the
Bayes mixture over all keys, and take accurate probes as a sign that a trained one deciphers as the
mixture does. Here the model is held against the mixture itself, by the Kullback-Leibler divergence
KL(mixture || model) at every position:

- on random Markov chains over 4 to 8 symbols, where the mixture is a sum over all V! keys, for the
  next symbol and for the meaning of the symbol just read;
- on English, where annealed SMC gives the mixture under an n-gram model, for the next symbol; and
  in regret, where the line of log2 V! bits is what the mixture never passes.

Lexinvariant models and the mixture say of a text what they say of its encryption. So English, where
nobody asks what symbols mean, is read as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import rel_entr
from tqdm import tqdm

from analysis.intervals import bootstrap_interval
from analysis.models import describe_models, load_models, seeded_generator
from analysis.options import CORPORA, SEVERAL, add_corpus_options, read_corpus
from analysis.perplexity import (
    BATCH,
    MIXTURE,
    MODELS,
    SMC_SETTINGS,
    Losses,
    band_frame,
    geometric_bands,
    mixture_predictions,
    ngram_losses,
    prediction_losses,
)
from ciphers.alphabet import Alphabet, Ids
from ciphers.corpora import Corpus, Document
from ciphers.errors import InputError
from ciphers.keys import apply_keys, random_keys
from ciphers.samples import Batch, cryptograms
from decipher.commands import Parser, at_least, leave, run
from decipher.exact.enumeration import enumerate_keys
from decipher.ngram import Level, NGramModel, load_ngram

if TYPE_CHECKING:
    import torch

    from decipher.lexinvariant.model import Config, Transformer
    from decipher.lexinvariant.recipe import Recipe

PROG = "python -m analysis.implicit"

#: Symbols of the synthetic languages; enumeration ends at 9.
SIZES = (4, 6, 8)
LARGEST = 9
SYMBOLS = "abcdefghi"
#: Of the Dirichlet distribution that the rows of a chain are drawn from: below 1 they are uneven,
#: so that symbols can be told apart, ...
CONCENTRATION = 0.5
#: ... and this share of the uniform distribution in each leaves no symbol impossible.
UNIFORM = 0.01
#: Symbols in a document that a chain writes.
DOCUMENT = 1024
#: The share of a corpus that is its training split.
TRAIN = 0.8
#: The divergence to reach beyond 64 symbols, nats.
GOAL = 0.02

#: Texts of a chain that the probe is fitted to.
PROBED = 128

#: Symbols on which the transformer of a synthetic language is trained, for each symbol of its
#: alphabet, and its context.
TRAINING = 1_000_000
CONTEXT = 128

TRANSFORMER = "transformer"
PROBE = "linear probe"
KNOWN = "alphabet known"
PAIRS = "pairs counted"

Quantity = Literal["next symbol", "meaning"]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Divergence:
    """How far a reader is from Bayes' rule on N texts of n symbols.

    Attributes:
        language: what the texts are in.
        quantity: what is predicted at position i: the "next symbol", which stands there, from those
            before it; or the "meaning", the plain symbol of the one that was read there.
        against: whose distribution is the true one.
        reader: whose distribution is held against it.
        nats: [N, n] KL(against || reader) at each position.
    """

    language: str
    quantity: Quantity
    against: str
    reader: str
    nats: NDArray[np.float64]


def divergence(p: Probabilities, q: Probabilities) -> NDArray[np.float64]:
    """KL(p || q) along the last axis, nats: [..., V] and [..., V] -> [...]."""
    return np.asarray(rel_entr(p, q).sum(axis=-1))


# --- synthetic languages ------------------------------------------------------------------------


def markov_chain(size: int, order: int, rng: np.random.Generator) -> NGramModel:
    """A random Markov chain over `size` symbols that looks back `order` of them.

    It is stationary: texts begin with the distribution that they have anywhere, so that every
    window of a text is a text of the chain.

    Args:
        size: V, 2 to 9.
        order: symbols that the next one depends on.
        rng: draws the transitions, each row from a symmetric Dirichlet distribution.

    Returns:
        The chain as an n-gram model of order `order` + 1, which scores and samples.

    Raises:
        InputError: a number is out of range.
    """
    if not 2 <= size <= LARGEST:
        raise InputError(f"a synthetic language has 2 to {LARGEST} symbols, not {size}")
    if not 1 <= order <= 2:
        raise InputError(f"a synthetic language looks back 1 or 2 symbols, not {order}")
    drawn = rng.dirichlet(np.full(size, CONCENTRATION), size**order)
    rows = [(1 - UNIFORM) * drawn + UNIFORM / size]
    before = _stationary(rows[0])
    for _ in range(order):
        joint = before.reshape(-1, size)
        before = joint.sum(axis=1)
        rows.insert(0, joint / before[:, None])
    levels = tuple(_level(np.log(each)) for each in rows)
    said = {"chain": f"random, order {order}", "concentration": CONCENTRATION}
    alphabet = Alphabet(SYMBOLS[:size], f"first-{size}")
    return NGramModel(alphabet, order + 1, levels, levels[:-1], provenance=said)


def _stationary(rows: Probabilities) -> Probabilities:
    """The stationary distribution of what stands before a symbol, [V ** order]; `rows` are the
    probabilities of the next symbol after each, [V ** order, V]."""
    contexts, size = rows.shape
    moves = np.zeros((contexts, contexts))
    context, symbol = np.divmod(np.arange(contexts * size), size)
    moves[context, (context * size + symbol) % contexts] = rows.ravel()
    balance = np.vstack([moves.T - np.eye(contexts), np.ones(contexts)])
    return np.asarray(np.linalg.lstsq(balance, np.append(np.zeros(contexts), 1.0))[0])


def _level(log_prob: Probabilities) -> Level:
    """A level with a probability for every k-gram, which therefore never backs off."""
    none = np.empty(0, np.int64)
    scores = log_prob.ravel().astype(np.float32)
    return Level(np.arange(scores.size), scores, none, np.empty(0, np.float32))


def write_corpus(language: NGramModel, symbols: int, rng: np.random.Generator) -> Corpus:
    """Documents in a synthetic language, whose training split holds about so many symbols."""
    count = max(40, math.ceil(symbols / (TRAIN * DOCUMENT)))
    texts = language.sample(DOCUMENT, count, rng)
    documents = (Document(str(i), language.alphabet.decode(text)) for i, text in enumerate(texts))
    return Corpus(f"chain of order {language.order - 1}", tuple(documents))


def default_config(context: int) -> Config:
    """The sizes of the transformers that read synthetic languages: minutes on one core."""
    from decipher.lexinvariant.model import Config

    return Config(
        layers=2, passes=4, heads=4, width=64, hidden=256, context=context, vector_width=32,
        shifted_keys=1, shifted_values=1, matching=1, pointer=32,
    )  # fmt: skip


def default_recipe(symbols: int, context: int, seed: int = 0) -> Recipe:
    """How they are trained: on so many symbols, each read about once."""
    from decipher.lexinvariant.recipe import Curriculum, Recipe

    # Small steps: what counts for models this small is how many there are.
    batch = max(512, context)
    return Recipe(
        symbols=max(symbols, batch),
        batch=batch,
        lengths=((0.0, min(64, context)), (0.7, context)),
        one_pass=0.4,
        curriculum=Curriculum(0.08, 0.35, 0.75),
        warmup=50,
        precision="float32",
        compile=False,
        seed=seed,
    )


def train_reader(
    language: NGramModel,
    config: Config,
    recipe: Recipe,
    folder: Path,
) -> Path:
    """Train a lexinvariant transformer on text of a synthetic language, or find it trained.

    Args:
        language: what writes the text.
        config: the sizes.
        recipe: the plan; its seed settles the text too.
        folder: where trainings are kept, each in a folder of its own that no other plan shares. A
            training that was stopped goes on there. Those of the command's defaults are shipped.

    Returns:
        The file of the weights.

    Raises:
        InputError: nothing can be written there, or the plan does not fit the sizes.
    """
    from decipher.lexinvariant.train import MODEL, Habits, Trainer

    name = plan_name(language, config, recipe)
    shipped = Path(str(resources.files("analysis") / "data" / f"{name}.safetensors"))
    if shipped.exists():
        return shipped
    if not (folder / name / MODEL).exists():
        # Another stream of random numbers than that of any text to measure on.
        rng = np.random.default_rng([recipe.seed, 2])
        corpus = write_corpus(language, recipe.symbols, rng)
        with _one_thread():
            Trainer(
                config, language.alphabet, corpus, recipe, folder / name,
                habits=Habits(progress=False),
            ).run()  # fmt: skip
    return folder / name / MODEL


def plan_name(language: NGramModel, config: Config, recipe: Recipe) -> str:
    """What a training is called that no other plan shares."""
    # To few digits: what machines round differently is still the same language.
    scores = np.round(language.levels[-1].log_prob.astype(float), 2).tolist()
    plan = {"language": scores, "config": asdict(config), "recipe": asdict(recipe)}
    digest = hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:12]
    return f"chain-{language.alphabet.size}-{language.order - 1}-{digest}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch: models this small are faster so, and sums come in one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- what each reader says ----------------------------------------------------------------------


def exact_readings(
    language: NGramModel,
    texts: Ids,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> tuple[Probabilities, Probabilities]:
    """What the mixture over all V! keys says as it reads, by enumeration.

    Args:
        language: what is true of the plain texts.
        texts: [N, n] ids, encrypted or not.
        jobs: texts to read at a time, -1 for one a core; the result does not depend on it.
        progress: whether to show a bar; by default where standard error is a terminal.

    Returns:
        Two arrays [N, n, V]: the distribution of the symbol at each position given those before
        it; and, once it is read, the distribution of the plain symbol that it stands for.

    Raises:
        InputError: there are more than 9! keys.
    """
    # The compiled loops and large arrays release the GIL, so threads serve.
    found = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
        joblib.delayed(_exact_reading)(language, text) for text in texts
    )
    disable = None if progress is None else not progress
    read = tqdm(found, "exact mixture", len(texts), unit="text", disable=disable)
    following, meaning = zip(*read, strict=True)
    return np.array(following), np.array(meaning)


def _exact_reading(language: NGramModel, text: Ids) -> tuple[Probabilities, Probabilities]:
    found = enumerate_keys(language, text)
    return found.predictive[:-1], found.marginals[np.arange(1, len(text) + 1), text]


def model_predictive(model: Transformer, texts: Ids, generator: torch.Generator) -> Probabilities:
    """What a transformer says of the symbol at each position given those before it, [N, n, V].

    Args:
        model: it draws its own vectors, one set for each text.
        texts: [N, n] ids, n at most the model's context.
        generator: of the model's device.

    Raises:
        InputError: the texts are longer than the context.
    """
    parts = [
        model.log_conditionals(tokens, generator)[:, :-1].double().exp().cpu().numpy()
        for tokens in _batches(model, texts)
    ]
    return np.concatenate(parts)


def pair_counts(texts: Ids, size: int) -> Probabilities:
    """What one who counts pairs and knows no language says of the symbol at each position, [N, n,
    V]: the share of the earlier places of the symbol before at which it came next, half a count
    added to each (Krichevsky and Trofimov 1981)."""
    reads = np.eye(size)[texts]
    pairs = reads[:, :-1, :, None] * reads[:, 1:, None, :]
    counts = np.zeros((*texts.shape, size))
    counts[:, 2:] = np.einsum(
        "bia,biac->bic", reads[:, 1:-1], pairs.cumsum(axis=1)[:, :-1], optimize=True
    )
    counts += 0.5
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


# --- measuring ----------------------------------------------------------------------------------


def encrypted(language: NGramModel, length: int, count: int, rng: np.random.Generator) -> Batch:
    """`count` texts of a synthetic language, each under a fresh random key."""
    plaintext = language.sample(length, count, rng)
    keys = random_keys(language.alphabet, count, rng)
    return Batch(language.alphabet, apply_keys(keys, plaintext), plaintext, keys)


def measure_chain(
    language: NGramModel,
    model: Transformer,
    texts: Batch,
    probed: int = PROBED,
    seed: int = 0,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> tuple[list[Divergence], int]:
    """Hold a model against the exact mixture over all keys of the language that it was trained on.

    Args:
        language: the chain.
        model: a lexinvariant transformer over its alphabet.
        texts: N texts of the chain, of n symbols, to measure on.
        probed: further texts, at least 2, that the probe is fitted to.
        seed: of those, and of the vectors.
        jobs, progress: see `exact_readings`.

    Returns:
        For the next symbol the divergences of the transformer, of one who knows the alphabet, and
        of one who counts pairs and knows no language; for the meaning that of a linear probe; and
        the layer that the probe reads.

    Raises:
        InputError: the alphabets differ, or the texts are longer than the context.
    """
    from analysis.probes import LinearProbe
    from analysis.states import best_layer, read_states, torch_generator

    size = language.alphabet.size
    rng = np.random.default_rng(seed)
    fit_on = encrypted(language, texts.ciphertext.shape[1], probed, rng)
    generator = torch_generator(model, rng)
    states = read_states(model, fit_on, generator, None)
    layer = best_layer(states)
    to_fit = states.layer(layer)
    probe = LinearProbe().fit(to_fit.X, to_fit.y, to_fit.groups)
    to_read = read_states(model, texts, generator, layer)
    following, meaning = exact_readings(language, texts.ciphertext, jobs=jobs, progress=progress)
    plain = np.exp(language.log_conditionals(texts.plaintext)[:, :-1])
    said = {
        TRANSFORMER: model_predictive(model, texts.ciphertext, generator),
        KNOWN: np.take_along_axis(plain, np.argsort(texts.keys, axis=1)[:, None], axis=-1),
        PAIRS: pair_counts(texts.ciphertext, size),
    }
    name, against = chain_name(language), "exact mixture"
    found = [
        Divergence(name, "next symbol", against, reader, divergence(following, q))
        for reader, q in said.items()
    ]
    if len(probe.classes_) < size:
        raise InputError(
            f"{probed} texts do not hold all {size} symbols: fit the probe to more or longer ones"
        )
    read = probe.predict_proba(to_read.X).reshape(*texts.plaintext.shape, size)
    found.append(Divergence(name, "meaning", against, PROBE, divergence(meaning, read)))
    return found, layer


def chain_name(language: NGramModel) -> str:
    """What a synthetic language is called in tables and figures."""
    return f"V = {language.alphabet.size}, order {language.order - 1}"


def measure_english(
    models: Mapping[str, Transformer],
    ngram: NGramModel,
    texts: Ids,
    seed: int = 0,
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> tuple[list[Divergence], list[Losses]]:
    """Hold transformers against the mixture over all keys under an n-gram model.

    The mixture is that of annealed SMC: each key of its population decrypts the text so far, and
    the n-gram model's predictions, encrypted again, are averaged by the weights of the keys.

    Args:
        models: label -> transformer. The first with learned vectors is the standard model, which
            knows the alphabet and is the baseline of the regret of the others.
        ngram: p.
        texts: [N, n] windows of plain text.
        seed: of all random numbers.
        jobs: texts that the mixture reads at a time; see `exact_readings`.
        progress: likewise.

    Returns:
        The divergences from the mixture of each lexinvariant model, and of the n-gram model that
        knows the alphabet; that of the standard model from the n-gram model, which shows how much
        of the former is a difference of language models and not of deciphering; and what the
        symbols cost every model, each with its baseline.

    Raises:
        InputError: alphabets differ, or texts are longer than a model's context.
    """
    _check_english(models, ngram, texts)
    # The mixture's numbers must not change with the models beside it.
    for_vectors, for_keys = np.random.SeedSequence(seed).spawn(2)
    predictions = mixture_predictions(
        ngram, texts, np.random.default_rng(for_keys), jobs=jobs, progress=progress
    )
    mixture = np.array([each.predictive for each in predictions])
    known = np.exp(ngram.log_conditionals(texts)[:, :-1])
    of_order = f"{ngram.order}-gram"
    said = {
        label: model_predictive(model, texts, seeded_generator(model, for_vectors))
        for label, model in models.items()
    }
    standards = [label for label, model in models.items() if model.config.embedding == "learned"]
    baseline = _bits(said[standards[0]], texts) if standards else None
    pairs = {(MIXTURE, reader): (mixture, q) for reader, q in said.items()}
    pairs[MIXTURE, f"{of_order}, {KNOWN}"] = mixture, known
    for reader in standards:
        del pairs[MIXTURE, reader]
        pairs[of_order, reader] = known, said[reader]
    found = [
        Divergence("English", "next symbol", against, reader, divergence(p, q))
        for (against, reader), (p, q) in pairs.items()
    ]
    losses = [
        Losses(reader, "lexinvariant", _bits(q, texts), baseline, baseline)
        for reader, q in said.items()
        if reader not in standards
    ]
    bits, error = prediction_losses(predictions)
    losses.append(Losses(MIXTURE, "mixture", bits, None, ngram_losses(ngram, texts), error))
    return found, losses


def _check_english(models: Mapping[str, Transformer], ngram: NGramModel, texts: Ids) -> None:
    if texts.ndim != 2 or 0 in texts.shape:
        raise InputError("there is no text to read: give at least one of at least one symbol")
    for label, model in models.items():
        if model.alphabet != ngram.alphabet:
            raise InputError(
                f"{label} is over the alphabet {model.alphabet} and the n-gram table over "
                f"{ngram.alphabet}: compare models of one alphabet"
            )
        if model.config.context < texts.shape[1]:
            raise InputError(
                f"{label} reads at most {model.config.context} symbols, not {texts.shape[1]}: take "
                f"a length of {model.config.context} or less"
            )


def _bits(q: Probabilities, texts: Ids) -> NDArray[np.float64]:
    """-log2 of what `q` [N, n, V] gave the symbols that came, [N, n]."""
    return np.asarray(
        -np.log2(np.take_along_axis(q, texts[..., None].astype(int), axis=-1))[..., 0]
    )


def _batches(model: Transformer, texts: Ids) -> Iterator[torch.Tensor]:
    import torch

    for start in range(0, len(texts), BATCH):
        yield torch.tensor(texts[start : start + BATCH], device=model.device)


# --- summing up ---------------------------------------------------------------------------------


def divergence_frame(
    divergences: Sequence[Divergence], bands: Sequence[tuple[int, int]]
) -> pd.DataFrame:
    """Sum up over bands of positions.

    Args:
        divergences: what was measured.
        bands: the first and the last position of each, counted from 1; of a text's length.

    Returns:
        One row for each divergence and band, with the columns

        - language, quantity, against, reader: which; see `Divergence`;
        - first, last, texts: the positions, and how many texts;
        - kl_nats: the mean over texts and the positions of the band;
        - kl_nats_low, kl_nats_high: its 95 % interval (percentile bootstrap over texts).

    Raises:
        InputError: a band is not within the texts.
    """
    rows = []
    for each in divergences:
        for first, last in bands:
            if not 1 <= first <= last <= each.nats.shape[1]:
                raise InputError(
                    f"positions {first} to {last} are not within texts of {each.nats.shape[1]}"
                )
            of_texts = each.nats[:, first - 1 : last].mean(axis=1)
            low, high = bootstrap_interval(of_texts)
            rows.append(
                {
                    "language": each.language,
                    "quantity": each.quantity,
                    "against": each.against,
                    "reader": each.reader,
                    "first": first,
                    "last": last,
                    "texts": len(of_texts),
                    "kl_nats": of_texts.mean(),
                    "kl_nats_low": low,
                    "kl_nats_high": high,
                }
            )
    return pd.DataFrame(rows)


def doubling_bands(length: int) -> list[tuple[int, int]]:
    """1 to 16, 17 to 32, 33 to 64 and so on: each band ends at a power of two or with the text."""
    ends = [16 << k for k in range(length.bit_length()) if 16 << k < length]
    return [(before + 1, end) for before, end in zip([0, *ends], [*ends, length], strict=True)]


# --- the command --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = _parser()
    return run(lambda: _run(parser.parse_args(argv)), PROG)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how far lexinvariant transformers are from the Bayes mixture over all "
        "keys, in nats of Kullback-Leibler divergence, against position: on random Markov chains, "
        "with transformers trained on each and the exact mixture; and on held-out English. Write "
        "the tables and draw the figures.",
        epilog=SEVERAL,
    )
    add = parser.add_argument
    add(
        "--sizes",
        metavar="V",
        type=at_least(2),
        nargs="*",
        action="extend",
        help=f"symbols of each synthetic language, at most {LARGEST}; none after the option leaves "
        f"them out (default: {' '.join(map(str, SIZES))})",
    )
    add(
        "--order",
        type=int,
        choices=(1, 2),
        default=1,
        help="symbols that the next one of a synthetic language depends on (default: %(default)s)",
    )
    add(
        "--symbols",
        metavar="N",
        type=at_least(1),
        help=f"to train a transformer on each (default: {TRAINING} for each of its V symbols; "
        "for the defaults they are shipped)",
    )
    add(
        "--context",
        metavar="N",
        type=at_least(2),
        default=CONTEXT,
        help="the context of those transformers, and the length of the texts in these languages "
        "(default: %(default)s)",
    )
    add(
        "--samples",
        metavar="N",
        type=at_least(1),
        default=64,
        help="texts in each to measure on (default: %(default)s)",
    )
    add(
        "--model",
        metavar="NAME|PATH",
        nargs="*",
        action="extend",
        help="the transformers that read English, shipped or from a file; mixed ones are read "
        f"without their learned vectors (default: {' '.join(MODELS)})",
    )
    add_corpus_options(parser)
    add(
        "--texts",
        metavar="N",
        type=at_least(0),
        default=8,
        help="windows of English to read; 0 leaves English out (default: %(default)s)",
    )
    add(
        "--length",
        metavar="N",
        type=at_least(1),
        default=512,
        help="symbols in each (default: %(default)s)",
    )
    add(
        "--ngram",
        metavar="NAME|PATH",
        help="the n-gram table (default: the one shipped for the alphabet of the models)",
    )
    add(
        "--seed",
        metavar="N",
        type=at_least(0),
        default=0,
        help="the same seed gives the same languages, texts and results (default: %(default)s)",
    )
    add(
        "--device",
        default="cpu",
        help="where the transformers read English: cpu, cuda, mps, or auto (default: %(default)s)",
    )
    add(
        "--jobs",
        metavar="N",
        type=at_least(1),
        help="trainings and texts to work on at a time (default: one a core)",
    )
    add(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results/implicit"),
        help="where the tables (.csv), the records of how they were made (.json), the figures "
        "(.png) and the trainings go; a training that is there is not repeated (default: "
        "%(default)s)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from analysis.results import check_outputs

    sizes = SIZES if arguments.sizes is None else arguments.sizes
    if not sizes and not arguments.texts:
        raise InputError("nothing is left to measure: give --sizes, or --texts of 1 or more")
    if len({*sizes}) < len(sizes):
        raise InputError("a size is named twice by --sizes: name each once")
    languages = [
        markov_chain(size, arguments.order, _rng(arguments.seed, size, arguments.order))
        for size in sizes
    ]
    tables = ["synthetic", "synthetic-doublings"] if sizes else []
    tables += ["english", "english-doublings", "regret"] if arguments.texts else []
    pictures = [name for name in ("synthetic", "english") if name in tables]
    check_outputs(arguments.out, tables, pictures)
    english = _read_english(arguments) if arguments.texts else None
    if languages:
        _run_synthetic(arguments, languages)
    if english is not None:
        _run_english(arguments, english)
    print(f"tables, records and figures: {arguments.out}")


def _rng(*seed: int) -> np.random.Generator:
    """A stream of its own for each language, whichever others are measured beside it."""
    return np.random.default_rng(seed)


def _run_synthetic(arguments: argparse.Namespace, languages: Sequence[NGramModel]) -> None:
    from analysis.figures import plot_implicit_chains, save_figure
    from analysis.results import describe_run
    from decipher.lexinvariant.checkpoint import load

    config = default_config(arguments.context)
    recipes = [
        default_recipe(
            arguments.symbols or TRAINING * language.alphabet.size,
            arguments.context,
            arguments.seed,
        )
        for language in languages
    ]
    jobs = arguments.jobs or -1
    # Processes: with models this small Python is busy much of the time.
    processes = min(len(languages), joblib.effective_n_jobs(jobs))
    paths = joblib.Parallel(n_jobs=processes, return_as="generator")(
        joblib.delayed(train_reader)(language, config, recipe, arguments.out / "trainings")
        for language, recipe in zip(languages, recipes, strict=True)
    )
    trained = list(tqdm(paths, "training", len(languages), unit="language", disable=None))
    divergences: list[Divergence] = []
    documents: list[Document] = []
    about: dict[str, Any] = {}
    for language, path in zip(languages, trained, strict=True):
        model, name = load(path), chain_name(language)
        rng = _rng(arguments.seed, language.alphabet.size, arguments.order, 1)
        texts = encrypted(language, arguments.context, arguments.samples, rng)
        found, layer = measure_chain(language, model, texts, PROBED, arguments.seed, jobs=jobs)
        divergences += found
        documents += [Document(name, language.alphabet.decode(text)) for text in texts.plaintext]
        about[name] = {
            "hash": language.hash,
            "weights": str(
                path.relative_to(arguments.out) if path.is_relative_to(arguments.out) else path.name
            ),
            "probe_layer": layer,
            "provenance": model.provenance,
        }
    said = {
        "sizes": [language.alphabet.size for language in languages],
        "order": arguments.order,
        "symbols": [recipe.symbols for recipe in recipes],
        "context": arguments.context,
        "samples": arguments.samples,
        "probed": PROBED,
        "jobs": jobs,
    }
    corpus = Corpus("synthetic languages", tuple(documents))
    record = describe_run(said, arguments.seed, corpus) | {"languages": about}
    bands = _write_divergences(divergences, arguments, "synthetic", record)
    save_figure(plot_implicit_chains(bands, GOAL), arguments.out / "synthetic.png")


@dataclass(frozen=True, eq=False)
class _English:
    """What reads English, and what is read."""

    models: Mapping[str, Transformer]
    ngram: NGramModel
    corpus: Corpus
    texts: Ids


def _read_english(arguments: argparse.Namespace) -> _English:
    models = load_models(MODELS if arguments.model is None else arguments.model, arguments.device)
    alphabet = next((model.alphabet for model in models.values()), None)
    name = arguments.ngram or (alphabet.name if alphabet else "letters-space")
    ngram = load_ngram(name, alphabet)
    corpus = read_corpus(arguments.corpus or CORPORA, arguments.split)
    rng = np.random.default_rng(arguments.seed)
    texts = cryptograms(corpus, ngram.alphabet, arguments.length, arguments.texts, rng).plaintext
    _check_english(models, ngram, texts)
    return _English(models, ngram, corpus, texts)


def _run_english(arguments: argparse.Namespace, english: _English) -> None:
    from analysis.figures import plot_implicit_english, save_figure
    from analysis.results import describe_run, write_table

    jobs = arguments.jobs or -1
    divergences, losses = measure_english(
        english.models, english.ngram, english.texts, arguments.seed, jobs=jobs
    )
    said = {
        "models": list(MODELS if arguments.model is None else arguments.model),
        "corpus": list(arguments.corpus or CORPORA),
        "split": arguments.split,
        "texts": arguments.texts,
        "length": arguments.length,
        "smc": SMC_SETTINGS,
        "device": arguments.device,
        "jobs": jobs,
    }
    record = describe_run(said, arguments.seed, english.corpus, english.ngram)
    record |= describe_models(english.models)
    bands = _write_divergences(divergences, arguments, "english", record)
    regret = band_frame(losses, geometric_bands(arguments.length), english.ngram.alphabet.size)
    write_table(regret, arguments.out / "regret.csv", record)
    figure = plot_implicit_english(bands, regret, corpus=english.corpus.name)
    save_figure(figure, arguments.out / "english.png")
    last = regret[regret["last"] == arguments.length]
    columns = ["model", "last", "texts", "regret_bits", "bound", "above"]
    print(f"Regret, bits\n{last[columns].to_string(index=False, float_format='{:.3g}'.format)}")


def _write_divergences(
    divergences: Sequence[Divergence],
    arguments: argparse.Namespace,
    name: str,
    record: Mapping[str, Any],
) -> pd.DataFrame:
    """Write and print what was found; the frame of the narrow bands is for the figure."""
    from analysis.results import write_table

    length = divergences[0].nats.shape[1]
    bands = divergence_frame(divergences, geometric_bands(length))
    doublings = divergence_frame(divergences, doubling_bands(length))
    write_table(bands, arguments.out / f"{name}.csv", record)
    write_table(doublings, arguments.out / f"{name}-doublings.csv", record)
    keys = ["language", "quantity", "against", "reader"]
    labelled = doublings.assign(
        positions=doublings["first"].astype(str) + "-" + doublings["last"].astype(str)
    )
    shown = labelled.pivot_table("kl_nats", keys, "positions", sort=False)
    print(f"Divergence in nats, by positions\n{shown.to_string(float_format='{:.3g}'.format)}")
    return bands


if __name__ == "__main__":
    leave(main())
