"""Weights in files: what is written comes back bit for bit, and what is damaged never does."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from ciphers import LETTERS_SPACE, Alphabet, InputError
from decipher.lexinvariant import checkpoint
from decipher.lexinvariant.checkpoint import (
    SHIPPED,
    get_device,
    load,
    load_tensors,
    save,
    save_tensors,
)
from decipher.lexinvariant.model import Config, Transformer

ALPHABET = Alphabet("abcde", "first-5")
#: No field has its default, so that one that was not written would show.
CONFIG = Config(layers=1, passes=2, heads=3, width=12, hidden=20, context=24, vector_width=6,
                shifted_keys=1, shifted_values=1, matching=1, pointer=5, rotary=0.3,
                random_share=0.7)  # fmt: skip
PROVENANCE = {"corpus": "novels", "seed": 17, "rates": [0.1, 1e-30], "nested": {"é\n": None}}
FLIPS = 40


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_model(embedding="mixed", seed=0) -> Transformer:
    """A model none of whose weights is at its initial zero."""
    model = Transformer(replace(CONFIG, embedding=embedding), ALPHABET)
    generator = seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return model


def predictions(model: Transformer) -> torch.Tensor:
    tokens = torch.randint(ALPHABET.size, (3, 20), generator=seeded(1))
    return model.log_conditionals(tokens, seeded(2))


def same_tensors(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def refusal(path, *arguments, **options) -> str:
    """The one line with which `load` refuses a file; it names the file."""
    with pytest.raises(InputError) as refused:
        load(path, *arguments, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Transformer, bytes, Path]:
    """A model, the bytes of its file, and a path for damaged ones."""
    path = tmp_path_factory.mktemp("weights") / "damaged.safetensors"
    model = make_model()
    save(model, path, PROVENANCE)
    return model, path.read_bytes(), path


def header_length(data: bytes) -> int:
    """Bytes before the tensors begin: a safetensors file opens with the length of its header."""
    return 8 + int.from_bytes(data[:8], "little")


# --- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("embedding", ["learned", "lexinvariant", "mixed", "hinted"])
def test_everything_comes_back(embedding, tmp_path) -> None:
    model = make_model(embedding)
    path = tmp_path / "new folder" / "model.safetensors"
    save(model, path, PROVENANCE)
    again = load(path)
    assert again.config == model.config
    assert (again.alphabet, again.alphabet.name) == (ALPHABET, ALPHABET.name)
    assert again.provenance == PROVENANCE
    assert not again.training
    assert same_tensors(again.state_dict(), model.state_dict())
    assert torch.equal(predictions(again), predictions(model))
    assert os.listdir(path.parent) == [path.name]


def test_bfloat16_is_stored_and_float32_comes_back(tmp_path) -> None:
    model, path = make_model(), tmp_path / "half.safetensors"
    save(model, path, dtype=torch.bfloat16)
    stored, _ = load_tensors(path)
    rounded = {name: weight.bfloat16() for name, weight in model.state_dict().items()}
    assert same_tensors(stored, rounded)
    again = load(path)
    assert same_tensors(again.state_dict(), {k: v.float() for k, v in rounded.items()})
    model.load_state_dict(rounded)
    assert torch.equal(predictions(again), predictions(model))


def test_no_provenance_means_the_models_own(tmp_path) -> None:
    model, path = make_model(), tmp_path / "model.safetensors"
    model.provenance = {"seed": 3}
    save(model, path)
    assert load(path).provenance == {"seed": 3}
    save(model, path, {})
    assert load(path).provenance == {}


def test_tensors_of_every_kind_come_back(tmp_path) -> None:
    """What a checkpoint of a training holds: counters, random states, and views of weights."""
    path = tmp_path / "checkpoint.safetensors"
    tensors = {
        "scalar": torch.tensor(1.5),
        "step": torch.tensor(7, dtype=torch.int64),
        "state": seeded(3).get_state(),
        "empty": torch.empty(0, 4),
        "transposed": torch.randn(3, 4, generator=seeded(4)).T,
        "parameter": torch.nn.Parameter(torch.tensor([math.nan, math.inf, -0.0, 1e-45])),
        "half": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
    }
    info = {"step": 7, "seconds": 0.1, "plan": {"a": [1, None, "ü"]}}
    save_tensors(path, tensors, info)
    again, info_again = load_tensors(path)
    assert info_again == info
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        np.testing.assert_array_equal(
            again[name].float().numpy(), tensor.detach().float().numpy(), strict=True
        )
    assert torch.signbit(again["parameter"][2])


def test_the_same_weights_make_the_same_file(written) -> None:
    _, data, path = written
    other = path.with_name("again.safetensors")
    save(make_model(), other, PROVENANCE)
    assert other.read_bytes() == data


def test_a_loaded_model_keeps_nothing_of_its_file(tmp_path) -> None:
    """A file that is written anew must not change the weights of who read the old one."""
    model, path = make_model(), tmp_path / "model.safetensors"
    save(model, path)
    again = load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert same_tensors(again.state_dict(), model.state_dict())


# --- damage -------------------------------------------------------------------------------------


def assert_truncation_is_refused(written, length: int) -> None:
    _, data, path = written
    path.write_bytes(data[:length])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100])
def test_a_file_that_ends_early_is_refused(length, written) -> None:
    assert_truncation_is_refused(written, length)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 4])
def test_a_file_that_ends_about_its_header_is_refused(beyond, written) -> None:
    assert_truncation_is_refused(written, header_length(written[1]) + beyond)


@given(st.data())
@settings(max_examples=40)
def test_a_file_that_ends_anywhere_is_refused(written, data) -> None:
    assert_truncation_is_refused(written, data.draw(st.integers(0, len(written[1]) - 1)))


def test_a_file_that_goes_on_is_refused(written) -> None:
    _, data, path = written
    path.write_bytes(data + b"\0")
    assert "damaged" in refusal(path)


def assert_refused_or_the_same(written, data: bytes) -> bool:
    """Whether it was refused; where not, the damage touched nothing that a model is made of."""
    model, _, path = written
    path.write_bytes(data)
    try:
        again = load(path)
    except InputError:
        refusal(path)
        return True
    assert again.config == model.config
    assert (again.alphabet, again.alphabet.name) == (ALPHABET, ALPHABET.name)
    assert again.provenance == PROVENANCE
    assert same_tensors(again.state_dict(), model.state_dict())
    return False


@pytest.mark.parametrize("part", ["header", "data"])
def test_a_changed_byte_is_never_loaded_as_something_else(part, written) -> None:
    data = written[1]
    rng = np.random.default_rng(5)
    middle = header_length(data)
    places = rng.integers(*((0, middle) if part == "header" else (middle, len(data))), size=FLIPS)
    refused = 0
    for place, change in zip(places, rng.integers(1, 256, FLIPS), strict=True):
        changed = bytearray(data)
        changed[place] ^= change
        refused += assert_refused_or_the_same(written, bytes(changed))
    # White space in the header means nothing, all else does.
    assert refused == FLIPS if part == "data" else refused > 0.9 * FLIPS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r"rotary\": 0.3", r"rotary\": 0.7"),
        (r"random_share\": 0.7", r"random_share\": 0.3"),
        (r"context\": 24", r"context\": 84"),
        (r"shifted_keys\": 1", r"shifted_keys\": 0"),
        (r"matching\": 1", r"matching\": 0"),
        (r"pointer\": 5", r"pointer\": 0"),
        (r"passes\": 2", r"passes\": 1"),
        (r"heads\": 3", r"heads\": 2"),
        (r"layers\": 1", r"layers\": 0"),
        (r"width\": 12", r"width\": 92"),
        (r"embedding\": \"mixed", r"embedding\": \"nixed"),
        (r"symbols\": \"abcde", r"symbols\": \"abxde"),
        (r"symbols\": \"abcde", r"symbols\": \"abade"),
        (r"first-5", r"first-6"),
        (r"seed\": 17", r"seed\": 77"),
        (r"provenance\":", r"provenancf\":"),
        (r"sha256\":", r"sha257\":"),
        (r"info\":", r"infp\":"),
        (r"format\":", r"fprmat\":"),
    ],
)
def test_a_changed_header_is_never_loaded_as_something_else(before, after, written) -> None:
    data = written[1]
    old, new = before.encode(), after.encode()
    assert (data.count(old), len(old)) == (1, len(new))
    assert assert_refused_or_the_same(written, data.replace(old, new))


def test_tensors_that_changed_places_are_refused(written) -> None:
    data = written[1]
    query, value, neither = b"attention.query.weight", b"attention.value.weight", b"?" * 22
    assert data.count(query) == data.count(value) == 1
    swapped = data.replace(query, neither).replace(value, query).replace(neither, value)
    assert assert_refused_or_the_same(written, swapped)


# --- other files --------------------------------------------------------------------------------


def test_files_of_other_formats_are_refused(tmp_path) -> None:
    archive, text = tmp_path / "letters.npz", tmp_path / "notes.txt"
    np.savez(archive, weights=np.ones(5))
    text.write_text("The weights are in the other folder.\n" * 20)
    for path in (archive, text):
        refusal(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"about": "a model of mine"},
        {"about": "[1, 2]"},
        {"about": "7"},
        {"about": json.dumps({"format": "other"})},
    ],
)
def test_safetensors_of_other_origin_are_refused(metadata, tmp_path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(3)}, path, metadata)
    refusal(path)


@pytest.mark.parametrize("about", [{}, {"sha256": None}, {"sha256": "00", "info": {}}])
def test_an_incomplete_header_is_refused(about, tmp_path) -> None:
    path = tmp_path / "incomplete.safetensors"
    header = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, **about}
    save_file({"weight": torch.ones(3)}, path, {"about": json.dumps(header)})
    refusal(path)


def test_another_toolkit_is_named_as_the_reason(tmp_path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(3)}, path, {"format": "pt"})
    assert "no weights of this toolkit" in refusal(path)


def test_another_version_is_named_as_the_reason(tmp_path, monkeypatch) -> None:
    path = tmp_path / "future.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 2)
        save(make_model(), path)
    assert f"version 2, not {checkpoint.VERSION}" in refusal(path)


ODD_INFORMATION = {
    "field missing": lambda info: info["config"].pop("rotary"),
    "field unknown": lambda info: info["config"].update(temperature=1.0),
    "too many layers": lambda info: info["config"].update(layers=2),
    "no layers": lambda info: info["config"].update(layers=0),
    "width a word": lambda info: info["config"].update(width="wide"),
    "other shapes": lambda info: info["config"].update(hidden=24),
    "tensor unknown": lambda info: info["config"].update(embedding="lexinvariant"),
    "config null": lambda info: info.update(config=None),
    "config a list": lambda info: info.update(config=[1]),
    "no config": lambda info: info.pop("config"),
    "no alphabet": lambda info: info.pop("alphabet"),
    "no provenance": lambda info: info.pop("provenance"),
    "symbol repeated": lambda info: info["alphabet"].update(symbols="abcda"),
    "too many symbols": lambda info: info["alphabet"].update(symbols="abcdef"),
    "alphabet unknown": lambda info: info["alphabet"].update(colour="red"),
}


@pytest.mark.parametrize("change", ODD_INFORMATION.values(), ids=ODD_INFORMATION.keys())
def test_what_no_model_can_be_built_from_is_refused(change, tmp_path) -> None:
    """Whole files with a right hash, which another version of the code might have written."""
    model, path = make_model(), tmp_path / "odd.safetensors"
    info = {
        "config": asdict(model.config),
        "alphabet": {"symbols": ALPHABET.symbols, "name": ALPHABET.name},
        "provenance": {},
    }
    save_tensors(path, model.state_dict(), info)
    load(path)
    change(info)
    save_tensors(path, model.state_dict(), info)
    refusal(path)


def test_missing_or_superfluous_tensors_are_refused(tmp_path) -> None:
    path = tmp_path / "odd.safetensors"
    save(make_model(), path)
    tensors, info = load_tensors(path)
    start = tensors.pop("start")
    save_tensors(path, tensors, info)
    assert "start" in refusal(path)
    save_tensors(path, tensors | {"start": start, "end": start.clone()}, info)
    assert "end" in refusal(path)


def test_a_training_checkpoint_is_no_model(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, {"model.start": torch.ones(3)}, {"plan": {}, "step": 3})
    refusal(path)


# --- names and places ---------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones() -> None:
    message = refusal("letters-space-perfect")
    assert all(name in message for name in SHIPPED)


@pytest.mark.parametrize("name", ["gone.safetensors", "gone/model", "x" * 300, "x" * 300 + ".st"])
def test_a_missing_file_is_said_to_be_missing(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there" in refusal(name)
    assert "no file" in refusal(tmp_path / name)


def test_a_folder_is_no_file(tmp_path) -> None:
    assert "no file" in refusal(tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        save(make_model(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_alphabet_must_be_the_one_asked_for(written) -> None:
    _, data, path = written
    path.write_bytes(data)
    assert load(path, alphabet=Alphabet("abcde", "another name")).alphabet == ALPHABET
    assert "alphabet" in refusal(path, alphabet=Alphabet("abced"))


# --- writing ------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.safetensors"
    old = make_model()
    save(old, path, PROVENANCE)
    whole = Path.write_bytes

    def fill_up(file: Path, data: bytes) -> int:
        whole(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(InputError) as refused:
            save(make_model(seed=1), path)
    assert str(refused.value) == f"cannot write {path}: {os.strerror(errno.ENOSPC)}"
    assert os.listdir(tmp_path) == [path.name]
    again = load(path)
    assert again.provenance == PROVENANCE
    assert same_tensors(again.state_dict(), old.state_dict())


def test_a_file_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    for seed in range(2):
        save(make_model(seed=seed), path)
        assert same_tensors(load(path).state_dict(), make_model(seed=seed).state_dict())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write"):
            save(make_model(), tmp_path / "model.safetensors")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_is_no_folder_to_write_to(tmp_path) -> None:
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        save(make_model(), tmp_path / "notes" / "model.safetensors")


# --- devices ------------------------------------------------------------------------------------


def test_the_cpu_is_always_there(written) -> None:
    _, data, path = written
    path.write_bytes(data)
    assert get_device("cpu") == get_device(torch.device("cpu")) == torch.device("cpu")
    assert load(path, "cpu").device == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert get_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["nonsense", "", "cpu:x", "cuda:99", "hpu", "meta"])
def test_a_device_that_is_not_there(name, written) -> None:
    with pytest.raises(InputError, match=f"there is no device {name!r} here"):
        get_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(written) -> None:
    _, data, path = written
    path.write_bytes(data)
    for name in ("cuda", torch.device("cuda")):
        with pytest.raises(InputError, match="no device 'cuda' here"):
            load(path, name)


# --- what is shipped ----------------------------------------------------------------------------


@pytest.fixture(params=SHIPPED)
def shipped(request) -> tuple[str, Path]:
    path = Path(str(resources.files("decipher") / "data" / f"{request.param}.safetensors"))
    return request.param, path


def test_shipped_weights_are_small_and_say_where_they_come_from(shipped) -> None:
    name, path = shipped
    assert path.stat().st_size <= 16_000_000
    model = load(name, alphabet=LETTERS_SPACE)
    assert {"corpus", "corpus_hash", "symbols", "recipe", "preset"} <= model.provenance.keys()
    kind, _, percent = name.removeprefix("letters-space-").partition("-")
    assert model.config.embedding == {"standard": "learned"}.get(kind, kind)
    if percent:
        assert model.config.random_share == int(percent) / 100
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_shipped_weights_can_read(shipped, passage) -> None:
    """No prediction of unread English is at random: a guess would cost log 27."""
    model = load(shipped[0])
    ids = LETTERS_SPACE.encode(passage)[: model.config.context]
    loss = model.loss_by_position(torch.from_numpy(ids[None]), seeded(0))
    assert loss[0, len(ids) // 2 :].mean() < 0.8 * math.log(LETTERS_SPACE.size)


def test_shipped_files_are_read_by_other_readers(shipped) -> None:
    with safe_open(shipped[1], framework="np") as file:
        assert "start" in file.keys()  # noqa: SIM118
