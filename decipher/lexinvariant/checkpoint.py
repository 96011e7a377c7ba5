"""Weights in files: safetensors with a configuration and a hash, by name or path.

A file holds tensors and one JSON text of what they are. The text carries the SHA-256 of both,
so a file that was cut short or altered is refused and never half-used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ciphers.alphabet import Alphabet
from ciphers.errors import InputError
from ciphers.files import atomic_write
from decipher.lexinvariant.model import Config, Transformer

FORMAT = "bayesian-decipher weights"
VERSION = 1
SHIPPED = (
    "letters-space-lexinvariant",
    "letters-space-standard",
    *(f"letters-space-mixed-{percent}" for percent in (0, 10, 25, 50, 75, 100)),
)


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], info: Mapping[str, Any]
) -> None:
    """Write `tensors` and `info` (what JSON can hold) to `path`, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = _digest(stored, info)
    header = {"format": FORMAT, "version": VERSION, "sha256": digest, "info": info}
    data = to_bytes(stored, {"about": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the information in the file `path`.

    Raises:
        InputError: there is no such file, it is something else, or it is damaged.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False too where a name is too long
        raise InputError(f"there is no file {path}: give the path of a weights file")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("about", "{}"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise InputError(f"{path} holds no weights of this toolkit: give another file")
            if header.get("version") != VERSION:
                raise InputError(
                    f"{path} is of version {header.get('version')}, not {VERSION}: train it anew, "
                    "or take the release of this toolkit that wrote it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(path) from error
    info = header.get("info", {})
    if _digest(tensors, info) != header.get("sha256"):
        raise _damaged(path)
    return tensors, info


def save(
    model: Transformer,
    path: str | os.PathLike[str],
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model to `path`.

    Args:
        model: what to write.
        path: the file; by custom it ends in .safetensors.
        provenance: where the weights come from, what JSON can hold; None takes the model's own.
        dtype: of the stored weights; torch.bfloat16 halves the file.

    Raises:
        InputError: the file cannot be written.
    """
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    info = {
        "config": asdict(model.config),
        "alphabet": {"symbols": model.alphabet.symbols, "name": model.alphabet.name},
        "provenance": dict(model.provenance if provenance is None else provenance),
    }
    save_tensors(path, tensors, info)


def load(
    name: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    alphabet: Alphabet | None = None,
) -> Transformer:
    """The model called `name`, in float32 and ready to be used (`eval`).

    Args:
        name: one of `SHIPPED`, or the path of a file that `save` wrote.
        device: where to put it.
        alphabet: the alphabet that the model must be for; None takes any.

    Raises:
        InputError: there is no such model, the file is damaged, or it is for another alphabet.
    """
    tensors, info = load_tensors(_locate(name))
    try:
        # A default for what is missing would be another model.
        if missing := {field.name for field in fields(Config)} - info["config"].keys():
            raise KeyError(*sorted(missing))
        model = Transformer(Config(**info["config"]), Alphabet(**info["alphabet"]))
        model.load_state_dict(tensors)
        model.provenance = info["provenance"]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name} holds no model that this version can build: {reason}") from error
    if alphabet is not None and model.alphabet != alphabet:
        raise InputError(
            f"{name} is for the alphabet {model.alphabet}, not {alphabet}: give weights for that"
        )
    return model.to(get_device(device)).eval()


def get_device(name: str | torch.device) -> torch.device:
    """The device called `name`: cpu, cuda, cuda:1, mps; auto is a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros((), device=device).item()  # computes there; the device "meta" cannot
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"there is no device {str(name)!r} here: use cpu, or auto") from error
    return device


def _locate(name: str | os.PathLike[str]) -> Path:
    if os.fspath(name) in SHIPPED:
        return Path(str(resources.files("decipher") / "data" / f"{name}.safetensors"))
    path = Path(name)
    if not os.path.exists(path) and path.name == os.fspath(name) and not path.suffix:
        raise InputError(
            f"there are no weights called {os.fspath(name)!r}: choose {', '.join(SHIPPED)}, or "
            "give a file"
        )
    return path


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path} is damaged or no weights file: copy it again, or go back to an earlier one"
    )


def _digest(tensors: Mapping[str, Tensor], info: Any) -> str:
    """SHA-256 over the information, and names, types, shapes and bytes in the order of the names.

    The information counts too: another share of rotation makes other predictions from the same
    tensors.
    """
    digest = hashlib.sha256(json.dumps(info).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
