from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp

import analysis.implicit as implicit
import analysis.perplexity as perplexity
from analysis.figures import plot_implicit_chains, plot_implicit_english
from analysis.implicit import (
    CONTEXT,
    KNOWN,
    PAIRS,
    PROBE,
    SIZES,
    TRAINING,
    TRANSFORMER,
    Divergence,
    chain_name,
    default_config,
    default_recipe,
    divergence,
    divergence_frame,
    doubling_bands,
    encrypted,
    exact_readings,
    main,
    markov_chain,
    measure_chain,
    measure_english,
    model_predictive,
    pair_counts,
    train_reader,
    write_corpus,
)
from analysis.perplexity import BATCH, MIXTURE, Losses, band_frame, ngram_losses
from analysis.regret import log2_keys
from ciphers import LETTERS_SPACE, Alphabet, InputError, load_corpus
from decipher import NGramModel
from decipher.exact.enumeration import enumerate_keys
from decipher.lexinvariant import load, train
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer, preset

TINY = Config(layers=1, heads=1, width=8, hidden=8, context=24, vector_width=8)
QUICK = {"particles": 20, "islands": 2, "rounds": 1, "swaps": 5}


@pytest.fixture(autouse=True)
def quick_training(monkeypatch) -> Iterator[None]:
    """One thread, and no measurement of what the processor could do: it takes longer than these
    trainings."""
    monkeypatch.setattr(train, "peak_flops", lambda device, dtype: 1e12)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def transformer(language: NGramModel, embedding="lexinvariant", config=TINY) -> Transformer:
    model = Transformer(replace(config, embedding=embedding), language.alphabet)
    model.initialise(torch.Generator().manual_seed(0))
    return model.eval()


class Made:
    """A reader made by hand: what it predicts and what it thinks are functions of a text."""

    device = torch.device("cpu")

    def __init__(self, alphabet: Alphabet, predictive, states) -> None:
        self.alphabet = alphabet
        self.config = SimpleNamespace(embedding="lexinvariant", context=1000)
        self.predictive, self.states = predictive, states

    def log_conditionals(self, tokens, generator=None):
        return torch.tensor(np.log([self.predictive(text) for text in tokens.numpy()]))

    def draw_vectors(self, batch, generator=None):
        return torch.zeros(batch, self.alphabet.size, 1)

    def hidden_states(self, tokens, vectors):
        """[4, B, n + 1, V]; only the states after the second block have anything to say."""
        thought = np.array([self.states(text) for text in tokens.numpy()])
        padded = np.concatenate([np.zeros_like(thought[:, :1]), thought], axis=1)
        noise = rng(5).normal(size=padded.shape)
        return torch.tensor(np.array([noise, noise, padded, noise]))


def bayes(language: NGramModel) -> Made:
    """The exact mixture as a reader, which thinks in log probabilities."""

    def states(text):
        _, meaning = exact_readings(language, text[None], progress=False)
        return np.log(np.maximum(meaning[0], 1e-6))

    return Made(language.alphabet, lambda text: enumerate_keys(language, text).predictive, states)


def uniform(language: NGramModel) -> Made:
    size = language.alphabet.size
    return Made(
        language.alphabet,
        lambda text: np.full((len(text) + 1, size), 1 / size),
        lambda text: np.zeros((len(text), size)),
    )


# --- divergence -----------------------------------------------------------------------------------


def test_divergence() -> None:
    p = rng().dirichlet(np.ones(4), (3, 5))
    np.testing.assert_array_equal(divergence(p, p), np.zeros((3, 5)))
    assert divergence(np.array([0.5, 0.5, 0]), np.array([0.25, 0.25, 0.5])) == pytest.approx(
        math.log(2)
    )
    assert divergence(np.array([1.0, 0]), np.array([0.0, 1])) == math.inf


# --- synthetic languages --------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "order"), [(3, 1), (8, 1), (4, 2)])
def test_a_chain_is_the_same_everywhere(size, order) -> None:
    """The probability of each tuple does not depend on where in a text it stands."""
    chain = markov_chain(size, order, rng(1))
    assert chain.order == order + 1
    n = order + 2
    every = np.array(list(np.ndindex(*[size] * n)), np.uint8)
    p = np.exp(chain.log_prob(every).sum(axis=1)).reshape([size] * n)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(p.sum(axis=-1), p.sum(axis=0), atol=1e-6)
    rows = np.exp(chain.log_conditionals(every))
    np.testing.assert_allclose(rows.sum(axis=-1), 1, atol=1e-6)
    assert rows[:, order:].min() >= 0.999 * implicit.UNIFORM / size
    # What stood further back than the order makes no difference.
    deep = rows[:, -1].reshape(*[size] * n, size)
    assert np.ptp(deep, axis=tuple(range(n - order))).max() == 0
    assert np.ptp(deep, axis=n - order).max() > 0.05


def test_chains_are_random() -> None:
    assert markov_chain(4, 1, rng(1)).hash == markov_chain(4, 1, rng(1)).hash
    assert markov_chain(4, 1, rng(1)).hash != markov_chain(4, 1, rng(2)).hash
    assert chain_name(markov_chain(4, 2, rng())) == "V = 4, order 2"


@pytest.mark.parametrize(("size", "order"), [(1, 1), (10, 1), (4, 0), (4, 3)])
def test_which_chains_there_are(size, order) -> None:
    with pytest.raises(InputError, match="synthetic language"):
        markov_chain(size, order, rng())


def test_a_corpus_of_a_chain() -> None:
    chain = markov_chain(5, 1, rng())
    corpus = write_corpus(chain, 200_000, rng())
    assert 0.8 * 200_000 < corpus.train.characters < 1.2 * 200_000
    ids, lengths = corpus.train.encode_joined(chain.alphabet)
    assert {*lengths} == {implicit.DOCUMENT}
    texts = ids.reshape(-1, implicit.DOCUMENT)
    assert chain.bits_per_symbol(texts) == pytest.approx(
        chain.bits_per_symbol(chain.sample(1000, 200, rng(1))), abs=0.02
    )
    assert write_corpus(chain, 10, rng()).validation.documents


# --- what each reader says ------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_the_exact_mixture_is_the_mean_over_all_keys(order) -> None:
    chain = markov_chain(3, order, rng(2))
    texts = rng(3).integers(3, size=(2, 7)).astype(np.uint8)
    following, meaning = exact_readings(chain, texts, progress=False)
    assert following.shape == meaning.shape == (2, 7, 3)
    keys = np.array(list(permutations(range(3))), np.uint8)
    for row, text in enumerate(texts):
        for i in range(7):
            weights = np.exp(chain.log_prob(keys[:, text[:i]]).sum(axis=1)) if i else np.ones(6)
            said = [np.exp(chain.log_conditionals(key[text[:i]])[-1][key]) for key in keys]
            np.testing.assert_allclose(following[row, i], weights @ said / weights.sum(), rtol=1e-6)
            after = np.exp(chain.log_prob(keys[:, text[: i + 1]]).sum(axis=1))
            meant = np.bincount(keys[:, text[i]], after, minlength=3)
            np.testing.assert_allclose(meaning[row, i], meant / after.sum(), rtol=1e-6)


def test_what_a_transformer_says() -> None:
    chain = markov_chain(4, 1, rng())
    model = transformer(chain, "learned")
    texts = chain.sample(9, BATCH + 2, rng())
    q = model_predictive(model, texts, torch.Generator())
    assert q.shape == (BATCH + 2, 9, 4)
    np.testing.assert_allclose(q.sum(axis=-1), 1, atol=1e-6)
    with torch.no_grad():
        for i in (0, 4):
            p = model(torch.tensor(texts[-1:, :i]), model.draw_vectors(1))[0, -1].softmax(-1)
            np.testing.assert_allclose(q[-1, i], p, atol=1e-5)


def test_counted_pairs() -> None:
    q = pair_counts(np.array([[0, 1, 0, 1, 1, 0]], np.uint8), 2)
    ones = [0.5, 0.5, 0.5, 1.5 / 2, 0.5 / 2, 1.5 / 3]
    np.testing.assert_allclose(q[0, :, 1], ones)
    np.testing.assert_allclose(q.sum(axis=-1), 1)
    assert pair_counts(np.zeros((1, 1), np.uint8), 3).tolist() == [[[1 / 3] * 3]]


# --- measuring on chains --------------------------------------------------------------------------


def by_reader(divergences: list[Divergence]) -> dict[str, np.ndarray]:
    return {each.reader: each.nats for each in divergences}


def test_a_model_that_is_the_mixture_has_no_divergence() -> None:
    chain = markov_chain(3, 1, rng(4))
    texts = encrypted(chain, 24, 10, rng())
    found, layer = measure_chain(chain, bayes(chain), texts, 200, progress=False)
    nats = by_reader(found)
    assert [(each.quantity, each.reader) for each in found] == [
        ("next symbol", TRANSFORMER),
        ("next symbol", KNOWN),
        ("next symbol", PAIRS),
        ("meaning", PROBE),
    ]
    assert {each.against for each in found} == {"exact mixture"}
    assert {each.language for each in found} == {"V = 3, order 1"}
    np.testing.assert_allclose(nats[TRANSFORMER], 0, atol=1e-12)
    assert layer == 2
    assert nats[PROBE].mean() < 0.01
    # Who knows the key is far from the mixture at first; in most texts it is soon found.
    assert nats[KNOWN][:, 0].min() > 0.1
    assert np.median(nats[KNOWN][:, -4:]) < 0.001
    assert nats[PAIRS][:, 4:].mean() > 0.05


def test_a_model_that_knows_nothing_is_as_far_as_the_entropy_says() -> None:
    chain = markov_chain(4, 1, rng(1))
    texts = encrypted(chain, 12, 5, rng())
    found, _ = measure_chain(chain, uniform(chain), texts, 100, progress=False)
    following, meaning = exact_readings(chain, texts.ciphertext, progress=False)
    gain = (following * np.log(following)).sum(axis=-1) + math.log(4)
    np.testing.assert_allclose(by_reader(found)[TRANSFORMER], gain, atol=1e-6)
    assert gain[:, 0] == pytest.approx(0, abs=1e-6)
    assert gain[:, 4:].mean() > 0.1
    # The states say nothing, so the probe can say no more than how frequent plain symbols are.
    prior = divergence(meaning, np.exp(chain.log_conditionals(texts.plaintext)[:, :1]))
    assert by_reader(found)[PROBE].mean() == pytest.approx(prior.mean(), rel=0.15)


def test_every_text_has_its_key() -> None:
    chain = markov_chain(4, 1, rng(1))
    texts = encrypted(chain, 30, 5, rng())
    for cryptogram in texts:
        np.testing.assert_array_equal(
            cryptogram.key.decrypt(cryptogram.ciphertext), cryptogram.plaintext
        )
    assert len(np.unique(texts.keys, axis=0)) > 2


def test_the_model_must_be_of_the_language() -> None:
    chain = markov_chain(4, 1, rng())
    with pytest.raises(InputError, match="over the alphabet"):
        measure_chain(chain, bayes(markov_chain(3, 1, rng())), encrypted(chain, 5, 2, rng()))


# --- training -------------------------------------------------------------------------------------


def test_a_training_is_found_again(tmp_path, monkeypatch) -> None:
    chain = markov_chain(4, 1, rng())
    recipe = default_recipe(2048, TINY.context)
    path = train_reader(chain, TINY, recipe, tmp_path)
    model = load(path)
    assert model.config == TINY
    assert model.alphabet == chain.alphabet
    assert model.provenance["symbols"] > 1024
    monkeypatch.setattr(train.Trainer, "run", None)  # to train again would fail
    assert train_reader(chain, TINY, recipe, tmp_path) == path
    others = [
        (markov_chain(4, 1, rng(1)), TINY, recipe),
        (chain, replace(TINY, hidden=9), recipe),
        (chain, TINY, replace(recipe, seed=1)),
    ]
    for other in others:
        with pytest.raises(TypeError):
            train_reader(*other, tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_what_the_command_trains_by_default_is_shipped(size, tmp_path, monkeypatch) -> None:
    """And found whatever the last bits of the language, which machines may round differently."""
    monkeypatch.setattr(train.Trainer, "run", None)
    chain = markov_chain(size, 1, np.random.default_rng((0, size, 1)))
    top = chain.levels[-1]
    chain.levels[-1].log_prob[:] = np.nextafter(top.log_prob, np.float32(0))
    plan = default_config(CONTEXT), default_recipe(TRAINING * size, CONTEXT, 0)
    path = train_reader(chain, *plan, tmp_path)
    assert path.is_relative_to(Path(implicit.__file__).parent)
    model = load(path)
    assert model.config == plan[0]
    assert model.alphabet == chain.alphabet
    assert model.provenance["recipe"] == json.loads(json.dumps(asdict(plan[1])))


# --- English --------------------------------------------------------------------------------------


def test_measuring_on_english(monkeypatch) -> None:
    """The mixture is estimated by keys of which there are but 24: over 40 other seeds its
    divergence from the exact one stays below 0.02 nats a symbol."""
    monkeypatch.setattr(perplexity, "SMC_SETTINGS", {"particles": 200, "islands": 2, "rounds": 1})
    chain = markov_chain(4, 1, rng(1))
    texts = chain.sample(16, 3, rng(2))
    standard = transformer(chain, "learned")
    models = {"standard": standard, "exact": bayes(chain), "uniform": uniform(chain)}
    found, losses = measure_english(models, chain, texts, progress=False)
    nats = {(each.against, each.reader): each.nats for each in found}
    assert list(nats) == [
        (MIXTURE, "exact"),
        (MIXTURE, "uniform"),
        (MIXTURE, f"2-gram, {KNOWN}"),
        ("2-gram", "standard"),
    ]
    assert nats[MIXTURE, "exact"].mean() < 0.02
    assert nats[MIXTURE, "uniform"][:, 4:].mean() > 0.1
    known = np.exp(chain.log_conditionals(texts)[:, :-1])
    said = model_predictive(standard, texts, torch.Generator())
    np.testing.assert_allclose(nats["2-gram", "standard"], divergence(known, said), atol=1e-6)
    following, _ = exact_readings(chain, texts, progress=False)
    np.testing.assert_allclose(
        nats[MIXTURE, f"2-gram, {KNOWN}"].mean(), divergence(following, known).mean(), atol=0.05
    )
    cost = {each.model: each for each in losses}
    assert list(cost) == ["exact", "uniform", MIXTURE]
    np.testing.assert_allclose(cost["uniform"].bits, 2, atol=1e-9)
    chosen = np.take_along_axis(said, texts[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(cost["uniform"].baseline, -np.log2(chosen), atol=1e-6)
    np.testing.assert_array_equal(cost[MIXTURE].baseline, ngram_losses(chain, texts))
    keys = np.array(list(permutations(range(4))), np.uint8)
    for i, text in enumerate(texts):
        evidence = logsumexp(chain.log_prob(keys[:, text]).sum(axis=1)) - math.log(24)
        for bits in (cost["exact"].bits, cost[MIXTURE].bits):
            assert -bits[i].sum() * math.log(2) == pytest.approx(evidence, abs=0.3)
    assert (cost[MIXTURE].error >= 0).all()


@pytest.mark.parametrize(
    ("texts", "says"),
    [((0, 5), "no text"), ((2, 25), "at most 24 symbols")],
)
def test_texts_that_cannot_be_read(texts, says) -> None:
    chain = markov_chain(4, 1, rng())
    with pytest.raises(InputError, match=says):
        measure_english({"l": transformer(chain)}, chain, np.zeros(texts, np.uint8))


# --- summing up -----------------------------------------------------------------------------------


def test_frame_of_divergences() -> None:
    nats = np.array([[1.0, 2, 4, 6], [3, 2, 0, 2]])
    frame = divergence_frame([Divergence("L", "meaning", "a", "r", nats)], [(1, 1), (3, 4)])
    assert frame["kl_nats"].tolist() == [2, 3]
    assert frame[["first", "last"]].to_numpy().tolist() == [[1, 1], [3, 4]]
    assert frame[["language", "quantity", "against", "reader"]].drop_duplicates().to_numpy(
    ).tolist() == [["L", "meaning", "a", "r"]]  # fmt: skip
    assert frame["texts"].tolist() == [2, 2]
    assert frame["kl_nats_low"].tolist() == [1, 1]
    assert frame["kl_nats_high"].tolist() == [3, 5]
    with pytest.raises(InputError, match="not within"):
        divergence_frame([Divergence("L", "meaning", "a", "r", nats)], [(4, 5)])


def test_doublings() -> None:
    assert doubling_bands(128) == [(1, 16), (17, 32), (33, 64), (65, 128)]
    assert doubling_bands(100) == [(1, 16), (17, 32), (33, 64), (65, 100)]
    assert doubling_bands(9) == [(1, 9)]


# --- figures --------------------------------------------------------------------------------------


def curves(language: str) -> list[Divergence]:
    fall = 0.5 / np.arange(1, 9)
    nats = np.array([fall, 1.2 * fall])
    return [
        Divergence(language, "next symbol", "exact mixture", TRANSFORMER, nats),
        Divergence(language, "meaning", "exact mixture", PROBE, 2 * nats),
    ]


def test_figure_of_chains() -> None:
    bands = divergence_frame([*curves("V = 4"), *curves("V = 6")], [(1, 1), (2, 2), (3, 8)])
    figure = plot_implicit_chains(bands, 0.02)
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["V = 4", "V = 6"]
    lines = left.get_lines()
    np.testing.assert_allclose(lines[0].get_xdata(), [1, 2, 24**0.5])
    np.testing.assert_allclose(lines[1].get_ydata()[:2], [1.1, 0.55])
    assert lines[2].get_ydata()[0] == 0.02
    assert left.get_xscale() == left.get_yscale() == "log"
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["next symbol: transformer", "meaning: linear probe"]


def test_figure_of_english() -> None:
    nats = np.full((3, 4), 0.1)
    found = [Divergence("English", "next symbol", MIXTURE, "lexinvariant", nats)]
    bits = np.full((3, 4), 2.0)
    losses = [
        Losses("lexinvariant", "lexinvariant", 2 * bits, bits, bits),
        Losses(MIXTURE, "mixture", 1.5 * bits, None, bits),
    ]
    bands = [(1, 2), (3, 4)]
    figure = plot_implicit_english(
        divergence_frame(found, bands), band_frame(losses, bands, 4), corpus="brown/test"
    )
    left, right = figure.axes
    assert left.get_lines()[0].get_label() == f"KL({MIXTURE} || lexinvariant)"
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [4, 8])
    np.testing.assert_allclose(right.get_lines()[1].get_ydata(), [2, 4])
    assert right.get_lines()[2].get_ydata()[0] == pytest.approx(log2_keys(4))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of weights, by embedding, and an n-gram table."""
    folder = tmp_path_factory.mktemp("models")
    for embedding in ("learned", "lexinvariant"):
        model = Transformer(preset("tiny", embedding), LETTERS_SPACE)
        model.initialise(torch.Generator().manual_seed(0))
        save(model, folder / f"letters-space-{embedding}.safetensors", {"seed": 0})
    text, _ = load_corpus("built-in").train.encode_joined(LETTERS_SPACE)
    NGramModel.estimate([text[:20_000]], LETTERS_SPACE, 2).save(folder / "table.npz")
    return folder


@pytest.fixture
def quick(files, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(perplexity, "SMC_SETTINGS", QUICK)
    monkeypatch.setattr(implicit, "PROBED", 20)
    monkeypatch.setattr(implicit, "default_config", lambda context: replace(TINY, context=context))
    for path in files.iterdir():
        Path(path.name).symlink_to(path)
    return tmp_path


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


WEIGHTS = [f"letters-space-{name}.safetensors" for name in ("learned", "lexinvariant")]
CHAINS = ["--sizes", "3", "4", "--symbols", "1024", "--context", "20", "--samples", "4"]
ENGLISH = ["--model", *WEIGHTS, "--ngram", "table.npz", "--texts", "2", "--length", "20"]
ONE = ["--jobs", "1", "--out", "here"]


def written(*names: str) -> set[str]:
    return {f"{name}{suffix}" for name in names for suffix in (".csv", ".json")}


def test_tables_records_and_figures(quick, capsys) -> None:
    assert status(*CHAINS, *ENGLISH, *ONE, "--seed", "3") == 0
    out, _ = capsys.readouterr()
    assert "V = 4, order 1" in out
    folder = Path("here")
    tables = written("synthetic", "synthetic-doublings", "english", "english-doublings", "regret")
    pictures = {"synthetic.png", "english.png"}
    assert {path.name for path in folder.iterdir()} == tables | pictures | {"trainings"}
    for name in pictures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    doublings = pd.read_csv(folder / "synthetic-doublings.csv")
    assert len(doublings) == 2 * 4 * 2
    assert np.isfinite(doublings["kl_nats"]).all()
    assert (doublings["kl_nats"] > 0).all()
    english = pd.read_csv(folder / "english-doublings.csv")
    assert english["reader"].unique().tolist() == ["lexinvariant", f"2-gram, {KNOWN}", "learned"]
    regret = pd.read_csv(folder / "regret.csv")
    assert regret["model"].unique().tolist() == ["lexinvariant", MIXTURE]
    assert (regret["above"] == 0).all()
    record = json.loads((folder / "synthetic.json").read_text())
    assert record["seed"] == 3
    assert record["arguments"]["sizes"] == [3, 4]
    about = record["languages"]["V = 4, order 1"]
    assert about["probe_layer"] == 1
    assert load(folder / about["weights"]).provenance == about["provenance"]
    record = json.loads((folder / "regret.json").read_text())
    assert record["corpus"]["name"] == "built-in/test"
    assert record["models"]["learned"]["provenance"] == {"seed": 0}
    assert record["ngram"]["order"] == 2


def test_one_half_alone(quick) -> None:
    assert status(*CHAINS, "--texts", "0", *ONE) == 0
    before = Path("here/synthetic.csv").read_bytes()
    assert {path.name for path in Path("here").iterdir()} == written(
        "synthetic", "synthetic-doublings"
    ) | {"synthetic.png", "trainings"}
    # One language alone gives the numbers that it gives beside another.
    assert status(*CHAINS[:1], "4", *CHAINS[3:], "--texts", "0", *ONE) == 0
    alone = pd.read_csv("here/synthetic.csv")
    Path("before.csv").write_bytes(before)
    both = pd.read_csv("before.csv")
    both = both[both["language"] == "V = 4, order 1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, both)
    assert status("--sizes", *ENGLISH, "--jobs", "1", "--out", "there") == 0
    assert {path.name for path in Path("there").iterdir()} == written(
        "english", "english-doublings", "regret"
    ) | {"english.png"}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--sizes", "--texts", "0"], "nothing is left"),
        (["--sizes", "4", "4"], "twice"),
        (["--sizes", "10"], "2 to 9"),
        (["--sizes", "1"], "'1'"),
        (["--order", "3"], "--order"),
        (["--symbols", "0"], "--symbols"),
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--length", "65"], "length of 64 or less"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--ngram", "missing.npz"], "missing.npz"),
        (["--out", "table.npz"], "table.npz"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(quick, argv, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(implicit, "train_reader", None)  # the work would fail
    given = [*(CHAINS if "--sizes" not in argv else CHAINS[3:])]
    given += ENGLISH if "--texts" not in argv and "--model" not in argv else []
    assert status(*given, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.implicit: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err
