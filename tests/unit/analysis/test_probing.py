from __future__ import annotations

import json
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import analysis.probing as probing
from analysis.controls import Selectivity
from analysis.figures import (
    plot_confusions,
    plot_counts,
    plot_layers,
    plot_probe_accuracy,
)
from analysis.probes import LinearProbe
from analysis.probing import (
    CONTROL_TASK,
    FREQUENCY,
    MAP,
    OTHER,
    PICTURES,
    RAW,
    SHUFFLED,
    SMC,
    SPACE,
    TABLES,
    TRAINED,
    UNTRAINED,
    Control,
    accuracy_frame,
    confused_pairs,
    confusion_frame,
    control_frame,
    count_frame,
    layer_frame,
    main,
    measure,
    ratio_interval,
    read_by_probe,
    selectivity_frame,
    symbol_frame,
)
from analysis.readers import ProbeDecipherer, recover_mapping
from analysis.states import read_states
from analysis.trials import Reading, Trial
from ciphers import LETTERS_SPACE, Alphabet, InputError, Key, cryptograms, load_corpus
from ciphers.corpora import Corpus, Document
from decipher import NGramModel
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer, preset
from decipher.posterior import KeyPosterior

torch.set_num_threads(1)

FOUR = Alphabet("abc ", "first-4")
SIZES = {"layers": 2, "heads": 1, "width": 8, "hidden": 8, "context": 40, "vector_width": 8}
QUICK = {"particles": 20, "islands": 2, "rounds": 1, "swaps": 5}


def transformer(embedding="lexinvariant", alphabet=FOUR, config=None) -> Transformer:
    model = Transformer(config or Config(embedding, **SIZES), alphabet)
    model.initialise(torch.Generator().manual_seed(0))
    return model.eval()


def corpus(seed: int) -> Corpus:
    """Text in which a symbol is likely to follow itself, and a is frequent."""
    rng = np.random.default_rng(seed)
    steps = rng.choice(4, p=[0.6, 0.3, 0.05, 0.05], size=600)
    text = "".join("aaaabc "[i] for i in steps.cumsum() % 7)
    return Corpus(f"made-{seed}", (Document("text", text),))


class Planted(Transformer):
    """A model whose states hold the plain letter from layer 1 on, and noise alone in layer 0. It
    knows each key by the text that was encrypted with it; once untrained, it knows none."""

    solutions: ClassVar[dict[bytes, np.ndarray]] = {}
    knows = True

    def initialise(self, generator=None):
        super().initialise(generator)
        self.knows = False

    def hidden_states(self, tokens, vectors):
        shape = (len(tokens), tokens.shape[1] + 1, FOUR.size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(int(tokens.sum())))
        if not self.knows:
            return torch.stack([noise] * 3)
        told = torch.zeros(shape)
        for row, text in zip(told, tokens.numpy(), strict=True):
            row[1:] = torch.eye(FOUR.size)[self.solutions[text.tobytes()].astype(np.int64)]
        return torch.stack([noise, told, told])


@pytest.fixture
def planted(monkeypatch) -> Planted:
    """Whatever is drawn from here on, it knows the solution of."""

    def overheard(*args, **options):
        batch = cryptograms(*args, **options)
        for cipher, plain in zip(batch.ciphertext, batch.plaintext, strict=True):
            Planted.solutions[cipher.tobytes()] = plain
        return batch

    monkeypatch.setattr(probing, "cryptograms", overheard)
    monkeypatch.setattr("analysis.readers.cryptograms", overheard)
    model = Planted(Config("lexinvariant", **SIZES), FOUR)
    model.knows = True
    return model.eval()


@pytest.fixture(scope="module")
def bigrams() -> NGramModel:
    return NGramModel.estimate([corpus(9).encode_joined(FOUR)[0]], FOUR, 2)


def reading(truth, marginals, label="probe", number=0, key=(1, 2, 3, 0)) -> Reading:
    """What a posterior with `marginals` [V, V] by plain letter makes of the plaintext `truth`."""
    key = Key(FOUR, key)
    plaintext = np.array(truth, np.uint8)
    ciphertext = key.encrypt(plaintext)
    by_symbol = np.asarray(marginals, float)[key.inverse.mapping]
    seen = np.unique(ciphertext).astype(np.intp)
    posterior = KeyPosterior(FOUR, by_symbol, key, seen)
    seed = np.random.SeedSequence(0)
    return Reading(label, Trial(number, ciphertext, plaintext, seed), posterior, math.nan, None)


#: a and b are mistaken for each other, the rest is known.
SWAPPED = [[0.2, 0.8, 0, 0], [0.8, 0.2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


# --- the study ------------------------------------------------------------------------------------


def test_what_is_there_is_found_and_nothing_where_nothing_is(planted, bigrams) -> None:
    """An accuracy at chance is a mean over 40 texts of 32 symbols; 0.1 is more than four of its
    standard errors, measured between texts."""
    study = measure(
        {"planted": planted, "control": transformer("learned")},
        bigrams,
        corpus(0),
        corpus(1),
        (4, 32),
        ciphers=40,
        bayes=2,
        probes=("linear", "neighbour"),
        probe_texts=40,
        layer_texts=40,
        progress=False,
    )
    assert study.layers["planted"].shape == (3, 40, 32)
    assert study.layers["planted"][1:].all()
    accuracy = accuracy_frame(study.readings).set_index(["decipherer", "length"])
    assert (accuracy.loc[["linear, planted", "neighbour, planted"], "token_accuracy"] == 1).all()
    assert accuracy.index.unique("decipherer").tolist() == [
        "linear, planted",
        "neighbour, planted",
        "predictive, planted",
        "linear, control",
        FREQUENCY,
        MAP,
        SMC,
    ]
    assert accuracy.loc[(SMC, 32), "ciphers"] == 2
    assert accuracy["token_accuracy"].between(0, 1).all()
    controls = control_frame(study.controls, (4, 32)).set_index("control")
    assert controls.index.tolist() == [TRAINED, RAW, UNTRAINED, SHUFFLED, CONTROL_TASK, OTHER]
    assert controls.loc[TRAINED, "accuracy"] == 1
    nothing = controls.loc[[RAW, UNTRAINED, SHUFFLED, CONTROL_TASK]]
    assert (nothing["accuracy"] < nothing["chance"] + 0.1).all()
    assert controls.loc[CONTROL_TASK, "accuracy"] == pytest.approx(0.25, abs=0.1)
    assert controls.loc[CONTROL_TASK, "chance"] == 0.25
    assert controls.loc[OTHER, "model"] == "control"
    assert study.selectivities["linear"].accuracy == 1
    assert study.selectivities["linear"].selectivity > 0.3
    readers = [f"{name}, planted" for name in ("linear", "neighbour", "predictive")]
    assert {*study.fits} == {*readers, "linear, control"}


def test_results_depend_on_the_seed_and_not_on_jobs(bigrams) -> None:
    def frame(**options):
        settings = {"ciphers": 3, "bayes": 1, "probes": ("centroid",), "probe_texts": 10}
        settings |= {"layer_texts": 6, "progress": False} | options
        models = {"m": transformer()}
        study = measure(models, bigrams, corpus(0), corpus(1), (8,), **settings)
        return accuracy_frame(study.readings), study.layers["m"]

    once, layers = frame(jobs=1)
    again, same = frame(jobs=2)
    pd.testing.assert_frame_equal(once, again)
    np.testing.assert_array_equal(layers, same)
    _, other = frame(seed=1)
    assert not np.array_equal(layers, other)


def test_one_reading_of_all_texts_says_what_the_decipherer_does() -> None:
    model = transformer("learned")
    batch = cryptograms(corpus(0), FOUR, 20, 3, np.random.default_rng(0))
    states = read_states(model, batch, layer=1)
    probe = LinearProbe(ridges=1e-2).fit(states.X, states.y)
    reader = ProbeDecipherer(model, probe, np.random.default_rng(0), layer=1)
    found = read_by_probe("probe", reader, states, (5, 20))
    assert [(each.trial.number, len(each.trial.ciphertext)) for each in found] == [
        (number, length) for number in range(3) for length in (5, 20)
    ]
    for number in range(3):
        expected = recover_mapping(model, probe, batch.ciphertext[number], (5, 20), layer=1)
        for one, other in zip(found[2 * number :], expected, strict=False):
            length = len(one.trial.ciphertext)
            np.testing.assert_array_equal(one.trial.plaintext, batch.plaintext[number, :length])
            np.testing.assert_allclose(one.posterior.marginals, other.marginals, atol=1e-4)


def test_what_cannot_be_measured(bigrams) -> None:
    model = transformer()
    cases = [
        ({"models": {}}, "no model"),
        ({"models": {"a": transformer(alphabet=Alphabet("abcd"))}}, "one alphabet"),
        ({"lengths": ()}, "no length"),
        ({"lengths": (41,)}, "at most 40 symbols"),
        ({"ciphers": 0}, "0 ciphertexts, 0 of them"),
        ({"bayes": -1}, "-1 of them"),
        ({"probes": ()}, "no probe to read with"),
        ({"probes": ("oracle",)}, "no probe 'oracle'"),
        ({"probes": ("linear", "linear")}, "named 2 times"),
    ]
    for changed, says in cases:
        given = {"models": {"a": model}, "lengths": (8,), "bayes": 0} | changed
        with pytest.raises(InputError, match=says):
            measure(ngram=bigrams, train=corpus(0), test=corpus(1), **given)


# --- summing up -----------------------------------------------------------------------------------


def test_counts_fall_into_octaves() -> None:
    one = reading([0] * 5 + [1] * 2 + [2], SWAPPED)
    two = reading([2] * 3 + [0] * 3, SWAPPED, number=1)
    symbols = symbol_frame([one, two])
    assert symbols["count"].tolist() == [5, 2, 1, 3, 3]
    assert symbols["right"].tolist() == [0, 0, 1, 0, 1]
    assert symbols["confidence"].tolist() == [0.8, 0.8, 1, 0.8, 1]
    frame = count_frame(symbols)
    assert frame[["first", "last"]].values.tolist() == [[1, 1], [2, 2], [3, 4], [5, 8]]
    assert frame["accuracy"].tolist() == [1, 0, 0.5, 0]
    assert frame["symbols"].tolist() == [1, 1, 2, 1]
    assert frame["confidence"].tolist() == pytest.approx([1, 0.8, 0.9, 0.8])
    assert frame["texts"].tolist() == [1] * 4


def test_the_interval_of_a_ratio_is_over_texts() -> None:
    ratio, low, high = ratio_interval([1, 3, 2], [2, 4, 4])
    assert ratio == pytest.approx(0.6)
    # Residuals -0.2, 0.6, -0.4 over a mean of 10 / 3.
    error = np.std([-0.06, 0.18, -0.12], ddof=1) / math.sqrt(3)
    assert (high - ratio) == pytest.approx(4.3027 * error, rel=1e-4)
    assert low == pytest.approx(2 * ratio - high)
    assert ratio_interval([2, 4], [2, 4]) == (1, 1, 1)
    assert math.isnan(ratio_interval([1], [2])[1])


def test_confusions_are_by_letter() -> None:
    readings = [reading([0, 0, 1, 3], SWAPPED), reading([0, 1], SWAPPED)]
    frame = confusion_frame(readings, 4)
    assert len(frame) == 16
    by_pair = frame.set_index(["truth", "read"])
    assert by_pair.loc[("a", "b"), ["tokens", "share", "probability"]].tolist() == [2, 1, 0.8]
    assert by_pair.loc[("b", "a"), ["tokens", "share", "probability"]].tolist() == [1, 1, 0.8]
    assert by_pair.loc[(SPACE, SPACE), ["tokens", "share"]].tolist() == [1, 1]
    assert by_pair.loc["c", ["share", "probability"]].isna().all(axis=None)
    pairs = confused_pairs(frame)
    assert pairs[["truth", "read", "mistakes"]].values.tolist() == [["a", "b", 2], ["b", "a", 1]]
    assert len(confused_pairs(frame, 1)) == 1
    assert confused_pairs(frame[frame["truth"] == SPACE]).empty
    with pytest.raises(InputError, match="up to 5 symbols"):
        confusion_frame(readings, 5)


def layers_of(shares: list[list[float]]) -> np.ndarray:
    """[L, 10, 100] with these shares right in the first and the second half of each text."""
    halves = [[np.arange(50) < 50 * share for share in row] for row in shares]
    return np.array([[np.concatenate(row)] * 10 for row in halves])


def test_where_the_alphabet_appears() -> None:
    known = layers_of([[0.2, 0.2], [0.2, 0.4], [0.2, 0.6], [0.4, 0.9]])
    frame = layer_frame({"m": known, "nothing": known[:1].repeat(3, axis=0)}, (50, 100))
    bands = frame[["layer", "first", "last", "accuracy"]][:4].values.tolist()
    assert bands == [[0, 1, 50, 0.2], [0, 51, 100, 0.2], [1, 1, 50, 0.2], [1, 51, 100, 0.4]]
    assert frame["texts"].unique().tolist() == [10]
    # Halfway between 0.2 and 0.9 is 0.55.
    appears = frame[frame["appears"]]
    assert appears[["model", "layer"]].values.tolist() == [["m", 2]] * 2


def test_controls_beside_their_chance() -> None:
    control = Control(RAW, "m", 0, layers_of([[0.2, 0.4]])[0], 0.18)
    frame = control_frame([control], (50, 100))
    row = frame.iloc[0]
    assert (row["accuracy"], row["late"], row["chance"]) == pytest.approx((0.3, 0.4, 0.18))
    assert row["late_low"] == row["late_high"] == row["late"]
    (alone,) = control_frame([control], (100,))["late"]
    assert alone == pytest.approx(0.3)
    frame = selectivity_frame({"linear": Selectivity(0.9, 0.2)})
    assert frame.values.tolist() == [["linear", 0.9, 0.2, pytest.approx(0.7)]]
    assert list(selectivity_frame({})) == ["probe", "accuracy", "control", "selectivity"]


# --- figures --------------------------------------------------------------------------------------


def test_names_stand_in_the_order_of_the_lines() -> None:
    frame = pd.DataFrame({"decipherer": ["a", "a", "b", "b"], "length": [16, 32] * 2, "ciphers": 5})
    for name in ("", "_low", "_high"):
        frame[f"token_accuracy{name}"] = [0.9, 0.5, 0.1, 0.7]
    figure = plot_probe_accuracy(frame)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a"]


def test_heat_maps_show_every_share() -> None:
    shares = layers_of([[0.2, 0.2], [0.2, 0.4], [0.2, 0.6]])
    figure = plot_layers(layer_frame({"m": shares, "n": shares[:1]}, (50, 100)), corpus="here")
    left, right, _ = figure.axes
    assert [text.get_text() for text in left.texts] == [
        "0.20",
        "0.20",
        "0.20",
        "0.40",
        "0.20",
        "0.60",
    ]
    assert left.images[0].get_array()[2, 1] == pytest.approx(0.6)
    assert [patch.get_y() for patch in left.patches] == [0.5]
    assert not right.patches
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["1\u201350", "51\u2013100"]

    readings = [reading([0, 0, 1, 3], SWAPPED, label) for label in ("one", "two")]
    figure = plot_confusions(confusion_frame(readings, 4))
    left, right, _ = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["a", "b", SPACE, "c"]
    assert left.images[0].get_array()[0].tolist() == [0.2, 0.8, 0, 0]
    assert left.images[0].get_array().mask[3].all()
    assert right.get_title(loc="left") == "two"


def test_counts_are_named_by_their_bands() -> None:
    ax = plot_counts(count_frame(symbol_frame([reading([0] * 3 + [1, 2, 2], SWAPPED)])))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "3\u20134"]
    (line,) = ax.get_lines()
    assert line.get_ydata().tolist() == [0, 1, 0]


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of weights, by embedding, and an n-gram table."""
    folder = tmp_path_factory.mktemp("models")
    for embedding in ("learned", "lexinvariant"):
        model = transformer(alphabet=LETTERS_SPACE, config=preset("tiny", embedding))
        save(model, folder / f"letters-space-{embedding}.safetensors", {"seed": 0})
    save(transformer(), folder / "four.safetensors")
    text, _ = load_corpus("built-in").train.encode_joined(LETTERS_SPACE)
    NGramModel.estimate([text[:20_000]], LETTERS_SPACE, 2).save(folder / "table.npz")
    return folder


@pytest.fixture
def quick(files, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probing, "SMC_SETTINGS", QUICK)
    monkeypatch.setattr(probing, "SMC_LONG", QUICK)
    for path in files.iterdir():
        Path(path.name).symlink_to(path)
    return tmp_path


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


WEIGHTS = [f"letters-space-{name}.safetensors" for name in ("lexinvariant", "learned")]
SMALL = ["--ngram", "table.npz", "--lengths", "8", "24", "--confused", "8", "--ciphers", "3",
         "--bayes", "1", "--probe-texts", "10", "--layer-texts", "6", "--jobs", "1"]  # fmt: skip


def test_tables_records_and_figures(quick, capsys) -> None:
    argv = ["--model", *WEIGHTS, "--probes", "linear", "centroid", "--seed", "3", *SMALL]
    assert status(*argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Selectivity" in out
    folder = Path("results/probes")
    names = {f"{name}{suffix}" for name in TABLES for suffix in (".csv", ".json")}
    assert {path.name for path in folder.iterdir()} == names | {f"{name}.png" for name in PICTURES}
    for name in PICTURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    accuracy = pd.read_csv(folder / "accuracy.csv")
    assert accuracy["length"].unique().tolist() == [8, 24]
    assert "linear, learned" in accuracy["decipherer"].tolist()
    assert "centroid, learned" not in accuracy["decipherer"].tolist()
    assert pd.read_csv(folder / "layers.csv").groupby("model")["layer"].max().tolist() == [2, 2]
    record = json.loads((folder / "controls.json").read_text())
    assert record["seed"] == 3
    assert record["corpus"]["name"] == "built-in/test"
    assert record["arguments"]["models"] == {"lexinvariant": WEIGHTS[0], "learned": WEIGHTS[1]}
    assert record["arguments"]["readers"]["linear, lexinvariant"]["layer"] in (1, 2)
    assert record["models"]["learned"]["provenance"] == {"seed": 0}
    assert record["ngram"]["order"] == 2


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--model", WEIGHTS[0], WEIGHTS[0]], "named 2 times"),
        (["--model", "four.safetensors"], "alphabet"),
        (["--lengths", "65"], "lengths up to 64"),
        (["--lengths", "0"], "'0'"),
        (["--confused", "9"], "--confused"),
        (["--ciphers", "0"], "--ciphers"),
        (["--bayes", "-1"], "--bayes"),
        (["--probes", "oracle"], "oracle"),
        (["--probe-texts", "4"], "--probe-texts"),
        (["--split", "train"], "validation or test"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--ngram", "missing.npz"], "missing.npz"),
        (["--device", "abacus"], "abacus"),
        (["--out", "table.npz"], "table.npz"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(quick, argv, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(probing, "measure", None)  # the work would fail
    given = [*SMALL, *([] if "--model" in argv else ["--model", *WEIGHTS])]
    assert status(*given, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.probing: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err
