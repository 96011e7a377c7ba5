"""The commands `decipher train` and `decipher sample`: whole runs, one line for a mistake."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ciphers import LETTERS, LETTERS_SPACE
from decipher.cli import main
from decipher.lexinvariant import commands, load, save, train
from decipher.lexinvariant.model import PRESETS, Transformer, preset
from decipher.lexinvariant.recipe import RECIPES

#: Six steps of the tiny preset.
QUICK = ["--preset", "tiny", "--symbols", "1536", "--lengths", "0:16", "0.5:32", "--warmup", "2"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small are faster so, and sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Measuring the CPU would take longer than a run.
    monkeypatch.setattr(train, "peak_flops", lambda device, dtype: 1e12)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture
def text(tmp_path) -> str:
    """A file of random words that are made of five letters."""
    rng = np.random.default_rng(0)
    vocabulary = ["".join(rng.choice(list("aeost"), rng.integers(2, 6))) for _ in range(20)]
    Path("words.txt").write_text(" ".join(rng.choice(vocabulary, 3000)))
    return "words.txt"


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def output(capsys, *argv: str) -> str:
    """What the command prints, which must succeed."""
    assert status(*argv) == 0
    return capsys.readouterr().out


def complaint(capsys, *argv: str) -> str:
    """The one line that the command prints on standard error, which must fail with code 2."""
    assert status(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"decipher: error: [^\n]+\n", err)
    return err


def weights(path: str) -> dict[str, torch.Tensor]:
    return load(path).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- train --------------------------------------------------------------------------------------


def test_the_names_of_presets_are_those_of_sizes_and_recipes() -> None:
    assert list(commands.PRESETS) == list(PRESETS) == list(RECIPES)


@pytest.mark.parametrize("embedding", ["learned", "lexinvariant", "mixed"])
def test_a_whole_run_and_the_same_again(embedding, text, capsys) -> None:
    argv = ["train", *QUICK, "--corpus", text, "--embedding", embedding]
    argv += ["--log", "2", "--validate", "3", "--checkpoint", "2", "--seed", "5"]
    first = output(capsys, *argv)
    folder = Path(f"runs/tiny-{embedding}")
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.safetensors", "model.safetensors", "log.csv", "validation.csv", "tensorboard"
    }  # fmt: skip
    model = load(folder / "model.safetensors", alphabet=LETTERS_SPACE)
    assert model.config == preset("tiny", embedding)
    about = model.provenance
    assert (about["preset"], about["initial"]) == ("tiny", None)
    assert about["corpus"] == "words.txt"
    assert about["recipe"]["seed"] == 5
    assert about["recipe"]["lengths"] == [[0.0, 16], [0.5, 32]]
    count = sum(weight.numel() for weight in model.parameters())
    lines = first.splitlines()
    assert lines[0].startswith(f"{folder}/model.safetensors: {embedding}, {count:,} weights, 1,536")
    assert lines[1] == "validation, bits a symbol:"
    bits = [float(line.rpartition(" ")[2]) for line in lines[2:]]
    assert bits == [pytest.approx(row["bits"], abs=1e-3) for row in about["validation"]]
    # It is finished: nothing is trained, and the answer is the same.
    data = (folder / "model.safetensors").read_bytes()
    assert output(capsys, *argv) == first
    assert (folder / "model.safetensors").read_bytes() == data


def test_options_reach_the_recipe(text, capsys) -> None:
    options = {
        "--optimiser": "adamw", "--learning-rate": "0.25", "--adamw-rate": "0.125",
        "--warmup": "3", "--cooldown": "0.5", "--weight-decay": "0.75", "--clip": "2.5",
        "--precision": "bfloat16", "--batch": "128", "--seed": "11",
    }  # fmt: skip
    argv = [word for option in options.items() for word in option]
    output(capsys, "train", *QUICK, "--corpus", text, "--out", "run", "--no-compile", *argv,
           "--curriculum", "0.25", "0.5", "0.75", "--known", "vectors",
           "--alphabet", "letters")  # fmt: skip
    model = load("run/model.safetensors", alphabet=LETTERS)
    recipe = model.provenance["recipe"]
    for option, value in options.items():
        stored = recipe[option.removeprefix("--").replace("-", "_")]
        assert stored == type(stored)(value)
    assert recipe["symbols"] == 1536
    assert recipe["curriculum"] == {"hold": 0.25, "full": 0.5, "alone": 0.75, "known": "vectors"}
    assert recipe["compile"] is False


def test_a_stopped_run_goes_on_with_the_same_command(text, capsys, monkeypatch) -> None:
    argv = ["train", *QUICK, "--corpus", text, "--checkpoint", "2", "--cold"]
    output(capsys, *argv, "--out", "whole")
    advance = train.Trainer.advance

    def stop(trainer, loss_function):
        if trainer.step == 5:
            raise KeyboardInterrupt
        return advance(trainer, loss_function)

    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "advance", stop)
        assert status(*argv, "--out", "cut") == 130
    assert "Traceback" not in capsys.readouterr().err
    output(capsys, *argv, "--out", "cut")
    assert same(weights("cut/model.safetensors"), weights("whole/model.safetensors"))


@pytest.mark.parametrize("before", ["mixed", "lexinvariant"])
def test_training_from_weights(before, text, capsys) -> None:
    argv = ["train", *QUICK, "--corpus", text]
    share = ["--random-share", "0.25"] if before == "mixed" else []
    output(capsys, *argv, "--embedding", before, *share, "--out", "one")
    assert load("one/model.safetensors").config.random_share == (0.25 if share else 0.5)
    output(capsys, *argv, "--from", "one/model.safetensors", "--out", "two")
    output(capsys, *argv, "--out", "three")
    assert load("two/model.safetensors").provenance["initial"] == "one/model.safetensors"
    two, three = (weights(f"{name}/model.safetensors") for name in ("two", "three"))
    assert two.keys() == three.keys()
    assert not same(two, three)


def test_training_on_the_built_in_corpus(capsys) -> None:
    assert "bits a symbol" in output(capsys, "train", *QUICK, "--threads", "1")
    about = load("runs/tiny-lexinvariant/model.safetensors").provenance
    assert about["corpus"] == "built-in"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--preset", "huge"], "no preset 'huge': choose one of tiny, small, base, paper"),
        (["--embedding", "random"], "no embedding 'random': choose learned"),
        (["--alphabet", "greek"], "invalid choice: 'greek'"),
        (["--corpus", "none.txt"], "none.txt"),
        (["--device", "abacus"], "no device 'abacus' here"),
        (["--device", "cuda:99"], "no device 'cuda:99' here"),
        (["--device", "meta"], "no device 'meta' here"),
        (["--from", "no-weights"], "no weights called 'no-weights'"),
        (["--from", "none.safetensors"], "no file none.safetensors"),
        (["--lengths", "16"], "'16' is not of the form 0.5:256"),
        (["--lengths", "0:x"], "'0:x' is not of the form 0.5:256"),
        (["--lengths", "0:0"], "at least 1 symbol"),
        (["--lengths", "0:65"], "65 symbols are longer than the model's context of 64"),
        (["--lengths", "0.5:16"], "ascend from 0"),
        (["--lengths", "0:16", "nan:32"], "ascend from 0"),
        (["--batch", "16"], "a step of 16 symbols is less than one window of 32"),
        (["--symbols", "100"], "less than one step of 256"),
        (["--symbols", "0"], "'0' is no whole number from 1 up"),
        (["--warmup", "-1"], "'-1' is no whole number from 0 up"),
        (["--seed", "-1"], "'-1' is no whole number from 0 up"),
        (["--seed", "99999999999999999999"], "99999999999999999999"),
        (["--optimiser", "sgd"], "invalid choice: 'sgd'"),
        (["--learning-rate", "0"], "a learning rate is"),
        (["--adamw-rate", "nan"], "a learning rate is"),
        (["--cooldown", "2"], "cooldown is a share"),
        (["--clip", "-1"], "0 or more"),
        (["--clip", "nan"], "0 or more"),
        (["--weight-decay", "much"], "invalid float value: 'much'"),
        (["--curriculum", "0.5", "0.1", "0.9"], "three shares"),
        (["--curriculum", "0.1", "0.5"], "expected 3 arguments"),
        (["--cold", "--curriculum", "0", "0", "0"], "give one of --cold and --curriculum"),
        (["--cold", "--known", "vectors"], "give one of --cold and --known"),
        (["--known", "names"], "invalid choice: 'names'"),
        (["--embedding", "learned", "--known", "hints"], "--known is for --embedding lexinvariant"),
        (["--embedding", "mixed", "--cold"], "--cold is for --embedding lexinvariant"),
        (["--embedding", "mixed", "--curriculum", "0", "0.5", "1"], "--curriculum is for"),
        (["--embedding", "hinted"], "a hinted model is what a lexinvariant one learns as"),
        (["--random-share", "0.5"], "for --embedding mixed"),
        (["--embedding", "mixed", "--random-share", "1.5"], "numbers from 0 to 1"),
        (["--log", "0"], "'0' is no whole number from 1 up"),
        (["--out", "words.txt"], "words.txt"),
    ],
)
def test_bad_input_is_one_line(options, says, text, capsys) -> None:
    assert says in complaint(capsys, "train", *QUICK, "--corpus", text, *options)
    assert not list(Path().rglob("*.safetensors"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(text, capsys) -> None:
    assert "no device 'cuda' here" in complaint(
        capsys, "train", *QUICK, "--corpus", text, "--device", "cuda"
    )


def test_a_corpus_that_is_too_small(capsys) -> None:
    Path("short.txt").write_text("A few words only. " * 20)
    message = complaint(capsys, "train", *QUICK, "--corpus", "short.txt")
    assert "short.txt" in message
    assert "symbols of one window" in message or "split" in message
    Path("empty.txt").write_text(" \n")
    assert "holds no text" in complaint(capsys, "train", *QUICK, "--corpus", "empty.txt")


def test_weights_that_do_not_fit(text, capsys) -> None:
    argv = ["train", *QUICK, "--corpus", text, "--from", "other.safetensors"]
    save(Transformer(replace(PRESETS["tiny"], width=48), LETTERS_SPACE), "other.safetensors")
    assert "other sizes" in complaint(capsys, *argv)
    save(Transformer(PRESETS["tiny"], LETTERS), "other.safetensors")
    assert "is for the alphabet" in complaint(capsys, *argv)
    Path("other.safetensors").write_bytes(b"no weights")
    assert "is damaged" in complaint(capsys, *argv)


def test_a_folder_that_holds_another_run(text, capsys) -> None:
    argv = ["train", *QUICK, "--corpus", text, "--out", "run"]
    output(capsys, *argv, "--cold")
    before = Path("run/checkpoint.safetensors").read_bytes()
    message = complaint(capsys, *argv, "--seed", "1")
    assert "run holds a run with another full, alone, seed" in message
    assert Path("run/checkpoint.safetensors").read_bytes() == before


# --- sample -------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path) -> str:
    """A file with a tiny learned model of random weights."""
    made = Transformer(preset("tiny", "learned"), LETTERS_SPACE)
    made.initialise(torch.Generator().manual_seed(0))
    save(made, "tiny.safetensors")
    return "tiny.safetensors"


def test_a_sample_keeps_the_prompt_and_has_the_length(model, capsys) -> None:
    text = output(capsys, "sample", "--model", model, "--prompt", "It was", "--length", "30")
    assert re.fullmatch(r"it was[a-z ]{30}\n", text)
    texts = output(capsys, "sample", "--model", model, "--length", "64", "--count", "3")
    assert re.fullmatch(r"([a-z ]{64}\n){3}", texts)
    assert len(set(texts.splitlines())) == 3


def test_what_settles_a_sample(model, capsys) -> None:
    argv = ["sample", "--model", model, "--prompt", "it was", "--length", "50"]
    assert output(capsys, *argv) == output(capsys, *argv, "--seed", "0")
    assert output(capsys, *argv, "--seed", "1") != output(capsys, *argv, "--seed", "2")
    assert output(capsys, *argv, "--seed", "2") == output(capsys, *argv, "--seed", "2")
    greedy = [output(capsys, *argv, "--temperature", "0", "--seed", seed) for seed in "12"]
    assert greedy[0] == greedy[1]
    assert output(capsys, *argv, "--temperature", "1e-30") == greedy[0]


def test_a_lexinvariant_model_is_sampled_too(capsys) -> None:
    save(Transformer(preset("tiny"), LETTERS), "tiny.safetensors")
    text = output(capsys, "sample", "--model", "tiny.safetensors", "--prompt", "abcabc",
                  "--length", "9")  # fmt: skip
    assert re.fullmatch(r"abcabc[a-z]{9}\n", text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "nobody"], "no weights called 'nobody'"),
        (["--model", "none.safetensors"], "no file none.safetensors"),
        (["--length", "65"], "beyond the context of 64"),
        (["--prompt", "a" * 60, "--length", "5"], "beyond the context of 64"),
        (["--length", "0"], "'0' is no whole number from 1 up"),
        (["--count", "0"], "'0' is no whole number from 1 up"),
        (["--temperature", "-1"], "temperature -1.0 is"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "hot"], "invalid float value: 'hot'"),
        (["--seed", "99999999999999999999"], "99999999999999999999"),
        (["--device", "abacus"], "no device 'abacus' here"),
    ],
)
def test_a_bad_request_for_a_sample_is_one_line(options, says, model, capsys) -> None:
    assert says in complaint(capsys, "sample", "--model", model, "--length", "9", *options)


def test_a_run_is_not_left_in_the_way_of_torchrun(text, capsys, monkeypatch) -> None:
    """One process under torchrun is a run like any other."""
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in variables.items():
        monkeypatch.setitem(os.environ, name, value)
    argv = ["train", *QUICK, "--corpus", text]
    output(capsys, *argv, "--out", "joined")
    assert not torch.distributed.is_initialized()
    for name in variables:
        monkeypatch.delenv(name)
    output(capsys, *argv, "--out", "alone")
    assert same(weights("joined/model.safetensors"), weights("alone/model.safetensors"))
