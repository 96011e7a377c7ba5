from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

import analysis.perplexity as perplexity
from analysis.figures import plot_loss, plot_perplexity_gap
from analysis.models import load_models
from analysis.perplexity import (
    BATCH,
    MIXTURE,
    Losses,
    band_frame,
    context_bands,
    geometric_bands,
    main,
    mean_interval,
    measure,
    mixture_losses,
    ngram_losses,
    position_frame,
    transformer_losses,
)
from analysis.regret import log2_keys
from ciphers import LETTERS_SPACE, Alphabet, InputError, load_corpus
from decipher import NGramModel
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer, preset

FOUR = Alphabet("abcd", "first-4")
SIZES = {"layers": 1, "heads": 1, "width": 8, "hidden": 8, "context": 24, "vector_width": 8}
POSITION_COLUMNS = ["model", "position", "loss_bits", "low", "high", "texts"]
QUICK = {"particles": 20, "islands": 2, "rounds": 1, "swaps": 5}


def transformer(embedding="learned", alphabet=FOUR, seed=0, config=None) -> Transformer:
    model = Transformer(config or Config(embedding, **SIZES), alphabet)
    model.initialise(generator(seed))
    return model.eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(count: int, length: int = 12, seed: int = 0) -> np.ndarray:
    """Texts in which a symbol is likely to follow itself."""
    rng = np.random.default_rng(seed)
    steps = rng.choice(4, p=[0.6, 0.3, 0.05, 0.05], size=(count, length))
    return (steps.cumsum(axis=1) % 4).astype(np.uint8)


@pytest.fixture(scope="module")
def bigrams() -> NGramModel:
    return NGramModel.estimate(list(windows(40, 30, seed=7)), FOUR, 2)


# --- losses ---------------------------------------------------------------------------------------


def test_a_loss_is_minus_log2_of_the_probability() -> None:
    model, texts = transformer(), windows(3)
    bits = transformer_losses(model, texts, generator())
    assert bits.shape == (3, 12)
    vectors = model.draw_vectors(1)
    for text, row in zip(texts, bits, strict=True):
        for i in (0, 1, 11):
            before = torch.tensor(text[None, :i].astype(np.int64))
            with torch.no_grad():
                p = model(before, vectors)[0, -1].softmax(dim=-1)[text[i]].item()
            assert row[i] == pytest.approx(-math.log2(p), abs=1e-4)


def test_texts_are_read_in_batches() -> None:
    model, texts = transformer(), windows(BATCH + 3)
    bits = transformer_losses(model, texts, generator())
    whole = model.loss_by_position(torch.tensor(texts)).numpy() / math.log(2)
    np.testing.assert_allclose(bits, whole, atol=1e-4)


def test_draws_of_vectors_are_averaged() -> None:
    model, texts = transformer("lexinvariant"), windows(3)
    same, tokens = generator(5), torch.tensor(texts)
    each = [model.loss_by_position(tokens, same).numpy() / math.log(2) for _ in range(3)]
    assert np.ptp(each, axis=0).max() > 0.1
    bits = transformer_losses(model, texts, generator(5), draws=3)
    np.testing.assert_allclose(bits, np.mean(each, axis=0), atol=1e-4)


def test_an_ngram_curve_is_its_cross_entropy(bigrams) -> None:
    texts = windows(5)
    bits = ngram_losses(bigrams, texts)
    assert bits.mean() == pytest.approx(bigrams.bits_per_symbol(texts), rel=1e-9)
    assert bits[2, 0] == pytest.approx(-np.log2(bigrams.conditional([])[texts[2, 0]]), rel=1e-6)


def test_the_mixture_is_the_mean_over_all_keys(bigrams) -> None:
    """Over 40 other seeds the estimates deviate by 0.06 bits (one standard deviation) at most; six
    of those are a false alarm in a hundred million, if the seed were not fixed."""
    texts = windows(2)
    bits, error = mixture_losses(bigrams, texts, np.random.default_rng(0))
    keys = np.array(list(permutations(range(4))), np.uint8)
    for text, found in zip(texts, bits, strict=True):
        scores = bigrams.log_prob(keys[:, text]).cumsum(axis=1)
        evidence = (logsumexp(scores, axis=0) - math.log(24)) / math.log(2)
        np.testing.assert_allclose(-found.cumsum(), evidence, atol=0.36)
    regret = (bits - ngram_losses(bigrams, texts)).cumsum(axis=1)
    assert (regret <= log2_keys(4) + 3 * error + 1e-6).all()
    assert regret[:, -1].max() > 1
    assert (error >= 0).all()
    assert error.max() < 0.3


# --- measure --------------------------------------------------------------------------------------


def test_each_model_has_its_baseline(bigrams) -> None:
    texts = windows(4)
    models = {"s": transformer(), "l": transformer("lexinvariant"), "m": transformer("mixed")}
    losses = measure(models, texts, bigrams, (1, 2), bayes=2, progress=False)
    by_name = {each.model: each for each in losses}
    assert [(each.model, each.kind) for each in losses] == [
        ("s", "standard"),
        ("l", "lexinvariant"),
        ("m", "mixed"),
        ("1-gram", "n-gram"),
        ("2-gram", "n-gram"),
        (MIXTURE, "mixture"),
    ]
    standard = by_name["s"].bits
    for name in ("s", "l", "m"):
        np.testing.assert_array_equal(by_name[name].baseline, standard)
    assert by_name["1-gram"].baseline is None
    np.testing.assert_array_equal(by_name["2-gram"].bits, ngram_losses(bigrams, texts))
    assert not np.array_equal(by_name["1-gram"].bits, by_name["2-gram"].bits)
    mixture = by_name[MIXTURE]
    assert mixture.bits.shape == (2, 12)
    np.testing.assert_array_equal(mixture.standard, standard[:2])
    np.testing.assert_array_equal(mixture.baseline, by_name["2-gram"].bits[:2])


def test_results_depend_on_the_seed_and_on_no_other_model(monkeypatch, bigrams) -> None:
    monkeypatch.setattr(perplexity, "SMC_SETTINGS", QUICK)
    texts, one = windows(4), transformer("lexinvariant")
    alone = measure({"l": one}, texts, bigrams, (), bayes=2)
    beside = measure({"x": transformer("mixed"), "l": one}, texts, bigrams, (1,), bayes=2, jobs=2)
    np.testing.assert_array_equal(alone[0].bits, beside[1].bits)
    np.testing.assert_array_equal(alone[-1].bits, beside[-1].bits)
    assert alone[0].baseline is None
    assert alone[-1].standard is None
    other = measure({"l": one}, texts, bigrams, (), bayes=2, seed=1)
    assert not np.array_equal(alone[0].bits, other[0].bits)
    assert not np.array_equal(alone[-1].bits, other[-1].bits)


def test_what_cannot_be_measured(bigrams) -> None:
    texts, model = windows(2), transformer()
    cases = [
        ({"models": {}}, "no model"),
        ({"models": {"a": model, "b": transformer(alphabet=Alphabet("abce"))}}, "alphabet"),
        ({"texts": windows(2, 25)}, "at most 24 symbols"),
        ({"texts": texts[:0]}, "no text"),
        ({"ngram": bigrams, "orders": (3,)}, "orders 1 to 2, not 3"),
        ({"ngram": bigrams, "orders": (2, 2)}, "2-gram is named 2 times"),
        ({"models": {MIXTURE: model}, "ngram": bigrams, "orders": (), "bayes": 1}, "2 times"),
        ({"draws": 0}, "draws"),
    ]
    for changed, says in cases:
        with pytest.raises(InputError, match=says):
            measure(**({"models": {"a": model}, "texts": texts} | changed))


# --- summing up -----------------------------------------------------------------------------------

STANDARD = np.array([[2.0, 1.0, 1.0, 3.0], [4.0, 1.0, 2.0, 1.0], [3.0, 1.0, 0.0, 2.0]])
LEARNER = STANDARD + np.array([[4.0, 3.0, 1.0, 1.0], [2.0, 3.0, 2.0, 0.0], [3.0, 3.0, 0.0, 2.0]])


def three_texts(**options) -> Losses:
    return Losses("l", "lexinvariant", LEARNER, STANDARD, STANDARD, **options)


def test_positions() -> None:
    frame = position_frame([three_texts(), Losses("one", "standard", STANDARD[:1])])
    assert list(frame) == POSITION_COLUMNS
    assert frame["model"].tolist() == ["l"] * 4 + ["one"] * 4
    assert frame["position"].tolist() == [1, 2, 3, 4] * 2
    assert frame["loss_bits"].tolist() == [6, 4, 2, 3, 2, 1, 1, 3]
    assert frame["texts"].tolist() == [3] * 4 + [1] * 4
    interval = stats.ttest_1samp(LEARNER[:, 3], 0).confidence_interval(0.95)
    np.testing.assert_allclose(frame.loc[3, ["low", "high"]].astype(float), interval)
    assert frame.loc[1, "low"] == frame.loc[1, "high"] == 4  # all texts alike
    assert frame.loc[4:, "low"].isna().all()


def test_bands() -> None:
    frame = band_frame([three_texts()], [(1, 1), (3, 4)], 4)
    start, end = frame.to_dict("records")
    assert (start["first"], start["last"], end["first"], end["last"]) == (1, 1, 3, 4)
    # The means of positions 3 and 4: 3, 2.5, 2 beside 2, 1.5, 1.
    assert end["bits"] == pytest.approx(2.5)
    assert end["perplexity"] == pytest.approx(2**2.5)
    assert end["gap"] == pytest.approx(2**2.5 / 2**1.5 - 1)
    assert end["gap_low"] == pytest.approx(end["gap"])  # every text is one bit behind
    assert end["bits_high"] - end["bits_low"] == pytest.approx(
        2 * stats.t.ppf(0.975, 2) * 0.5 / 3**0.5
    )
    assert start["gap"] == pytest.approx(2**3 - 1)
    # Regret is that of all symbols so far: 9, 7, 8.
    assert start["regret_bits"] == pytest.approx(3)
    assert end["regret_bits"] == pytest.approx(8)
    assert end["regret_bits_low"] == pytest.approx(8 - stats.t.ppf(0.975, 2) / 3**0.5)
    assert end["bound"] == pytest.approx(math.log2(24))  # 4.58
    assert (start["above"], end["above"]) == (0, 3)


def test_above_the_bound_is_past_three_errors() -> None:
    """Regrets of 9, 7, 8 beside a bound of 4.58."""
    error = np.full((3, 4), 1.2)
    (row,) = band_frame([three_texts(error=error)], [(4, 4)], 4).to_dict("records")
    assert row["above"] == 1


def test_what_has_no_baseline_is_not_a_number() -> None:
    (row,) = band_frame([Losses("n", "n-gram", LEARNER)], [(1, 4)], 4).to_dict("records")
    assert row["bits"] == pytest.approx(LEARNER.mean())
    assert all(math.isnan(row[name]) for name in ("gap", "regret_bits", "above", "gap_low"))
    (row,) = band_frame([Losses("n", "n-gram", LEARNER, STANDARD)], [(1, 4)], 4).to_dict("records")
    assert row["gap"] == pytest.approx(3)
    assert math.isnan(row["regret_bits"])


@pytest.mark.parametrize("band", [(0, 2), (3, 2), (4, 5)])
def test_a_band_outside_the_texts(band) -> None:
    with pytest.raises(InputError, match="not within"):
        band_frame([three_texts()], [band], 4)


def test_which_positions_a_band_holds() -> None:
    assert context_bands([32, 512, 3, 1]) == [(25, 32), (385, 512), (3, 3), (1, 1)]
    assert geometric_bands(1) == [(1, 1)]
    for length in (2, 16, 100, 512):
        bands = geometric_bands(length)
        positions = [i for first, last in bands for i in range(first, last + 1)]
        assert positions == list(range(1, length + 1))
        assert {2**k for k in range(10) if 2**k <= length} <= {last for _, last in bands}
    assert geometric_bands(512)[-1] == (432, 512)


def test_interval_of_a_mean() -> None:
    mean, low, high = mean_interval(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2, 5]
    assert high[0] - 2 == 2 - low[0] == pytest.approx(12.706 * 1, rel=1e-4)
    assert low[1] == high[1] == 5


# --- figures --------------------------------------------------------------------------------------


@pytest.fixture
def bands() -> pd.DataFrame:
    losses = [
        Losses("standard", "standard", STANDARD, STANDARD, STANDARD),
        three_texts(),
        Losses("1-gram", "n-gram", STANDARD + 1, STANDARD),
        Losses(MIXTURE, "mixture", LEARNER[:2], STANDARD[:2], STANDARD[:2]),
    ]
    return band_frame(losses, [(1, 1), (2, 2), (3, 4)], 4)


def test_figure_of_losses(bands) -> None:
    ax = plot_loss(bands, corpus="brown/test")
    lines = ax.get_lines()
    assert len(lines) == 4
    np.testing.assert_allclose(lines[1].get_xdata(), [1, 2, 12**0.5])
    np.testing.assert_allclose(lines[1].get_ydata(), [6, 4, 2.5])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["standard", "l", MIXTURE]
    said = [text.get_text() for text in ax.texts]
    assert "1-gram" in said
    assert any("3 texts (Bayes mixture: 2)" in each for each in said)
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left").endswith("brown/test")


def test_figure_of_gap_and_regret(bands) -> None:
    left, right = plot_perplexity_gap(bands).axes
    assert [line.get_label() for line in left.get_lines()[:2]] == ["l", MIXTURE]
    np.testing.assert_allclose(left.get_lines()[0].get_ydata(), [7, 7, 1])
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [3, 6, 8])
    assert right.get_lines()[0].get_xdata().tolist() == [1, 2, 4]
    assert [line.get_ydata()[0] for line in left.get_lines()[2:]] == [9, 1]
    assert all(text.get_text().startswith("quoted") for text in left.texts)
    assert right.get_lines()[2].get_ydata()[0] == pytest.approx(math.log2(24))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of weights, by embedding, and an n-gram table."""
    folder = tmp_path_factory.mktemp("models")
    for embedding in ("learned", "lexinvariant", "mixed"):
        model = transformer(alphabet=LETTERS_SPACE, config=preset("tiny", embedding))
        save(model, folder / f"letters-space-{embedding}.safetensors", {"seed": 0})
    save(transformer(), folder / "four.safetensors")
    text, _ = load_corpus("built-in").train.encode_joined(LETTERS_SPACE)
    NGramModel.estimate([text[:20_000]], LETTERS_SPACE, 2).save(folder / "table.npz")
    return folder


@pytest.fixture
def quick(files, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(perplexity, "SMC_SETTINGS", QUICK)
    for path in files.iterdir():
        Path(path.name).symlink_to(path)
    return tmp_path


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


WEIGHTS = [f"letters-space-{name}.safetensors" for name in ("learned", "lexinvariant", "mixed")]
SMALL = ["--ngram", "table.npz", "--orders", "1", "2", "--texts", "3", "--jobs", "1"]
TABLES = {f"{name}{suffix}" for name in ("positions", "bands", "contexts")
          for suffix in (".csv", ".json")}  # fmt: skip


def test_tables_records_and_figures(quick, capsys) -> None:
    argv = ["--model", *WEIGHTS, "--length", "40", "--bayes", "2", "--seed", "3", *SMALL]
    assert status(*argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert MIXTURE in out
    folder = Path("results/perplexity")
    assert {path.name for path in folder.iterdir()} == TABLES | {"loss.png", "gap.png"}
    for name in ("loss", "gap"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    positions = pd.read_csv(folder / "positions.csv")
    assert list(positions) == POSITION_COLUMNS
    assert len(positions) == 6 * 40
    table = pd.read_csv(folder / "contexts.csv")
    models = ["learned", "lexinvariant", "mixed", "1-gram", "2-gram", MIXTURE]
    assert table["model"].unique().tolist() == models
    assert table["context"].unique().tolist() == [32, 40]
    assert table["texts"].tolist() == [3] * 10 + [2] * 2
    by_model = table.set_index(["model", "context"])
    ratio = by_model["perplexity"] / by_model.loc["learned", "perplexity"]
    np.testing.assert_allclose(by_model["gap"][:10], ratio[:10] - 1, atol=1e-6)
    assert by_model.loc[(MIXTURE, 40), "above"] == 0
    for name in ("positions", "bands", "contexts"):
        record = json.loads((folder / f"{name}.json").read_text())
        assert record["seed"] == 3
        assert record["corpus"]["name"] == "built-in/test"
        assert record["arguments"]["models"]["mixed"] == WEIGHTS[2]
        assert record["models"]["mixed"]["config"]["embedding"] == "lexinvariant"
        assert record["models"]["learned"]["provenance"] == {"seed": 0}
        assert record["ngram"]["order"] == 2


def test_without_a_standard_model(quick, capsys) -> None:
    argv = ["--model", WEIGHTS[1], "--length", "20", "--bayes", "0", "--out", "here"]
    assert status(*argv, *SMALL) == 0
    assert {path.name for path in Path("here").iterdir()} == TABLES | {"loss.png"}
    assert capsys.readouterr().out.count("no standard model") == 1
    table = pd.read_csv("here/contexts.csv")
    assert table["context"].unique().tolist() == [20]
    assert table[["gap", "regret_bits"]].isna().all(axis=None)


def test_transformers_alone(quick) -> None:
    argv = ["--model", *WEIGHTS[:2], "--length", "8", "--texts", "2", "--orders", "--bayes", "0"]
    assert status(*argv, "--draws", "2", "--out", "here") == 0
    assert len(pd.read_csv("here/positions.csv")) == 2 * 8
    assert json.loads(Path("here/bands.json").read_text())["ngram"] is None


def test_names_of_models(quick) -> None:
    Path("other").mkdir()
    Path("other", WEIGHTS[0]).symlink_to(Path(WEIGHTS[0]).resolve())
    models = load_models([WEIGHTS[0], f"other/{WEIGHTS[0]}", WEIGHTS[2]])
    assert list(models) == [WEIGHTS[0], f"other/{WEIGHTS[0]}", "mixed"]
    assert models["mixed"].config.embedding == "lexinvariant"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--model", WEIGHTS[0], WEIGHTS[0]], "named 2 times"),
        (["--model", WEIGHTS[0], "four.safetensors"], "alphabet"),
        (["--model", WEIGHTS[0], "four.safetensors", "--orders", "--bayes", "0"], "one alphabet"),
        (["--model", "four.safetensors"], "no n-gram table is shipped"),
        (["--model", "--orders", "--bayes", "0"], "no model"),
        (["--length", "65"], "length of 64 or less"),
        (["--length", "0"], "'0'"),
        (["--texts", "0"], "--texts"),
        (["--draws", "0"], "--draws"),
        (["--orders", "3"], "orders 1 to 2, not 3"),
        (["--bayes", "-1"], "--bayes"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--ngram", "missing.npz"], "missing.npz"),
        (["--device", "abacus"], "abacus"),
        (["--out", "table.npz"], "table.npz"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(quick, argv, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(perplexity, "measure", None)  # the work would fail
    given = ["--length", "8", "--texts", "2"]
    given += [] if "--model" in argv else ["--model", *WEIGHTS[:2]]
    given += [] if {"--ngram", "--orders"} & {*argv} or "four.safetensors" in argv else SMALL
    given += ["--ngram", "table.npz"] if argv[:2] == ["--orders", "3"] else []
    assert status(*given, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.perplexity: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err
