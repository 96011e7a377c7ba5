"""The transformers of a study: read by name, given their random numbers, and described in its
record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ciphers.errors import InputError

if TYPE_CHECKING:
    import torch

    from decipher.lexinvariant.model import Transformer


def load_models(names: Sequence[str], device: str = "cpu") -> dict[str, Transformer]:
    """Transformers by name or path, mixed ones without their learned vectors: label -> model.

    A label is the name of the file, without the alphabet's name in front; or all of the path where
    two files are called the same.

    Raises:
        InputError: one does not exist or is named twice, or there is no such device.
    """
    from decipher.lexinvariant.checkpoint import load

    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"{name} is named {count} times: name each model once")
    loaded = {name: load(name, device) for name in names}
    short = {
        name: Path(name).name.removesuffix(".safetensors").removeprefix(f"{model.alphabet.name}-")
        for name, model in loaded.items()
    }
    uses = Counter(short.values())
    return {
        short[name] if uses[short[name]] == 1 else name: (
            model.lexinvariant() if model.config.embedding in ("mixed", "hinted") else model
        )
        for name, model in loaded.items()
    }


def seeded_generator(model: Transformer, seed: np.random.SeedSequence) -> torch.Generator:
    """A generator of the model's device, settled by `seed`."""
    import torch

    return torch.Generator(model.device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))


def describe_models(models: Mapping[str, Transformer]) -> dict[str, Any]:
    """What the record of a run says of its transformers beside what `describe_run` does: their
    sizes and provenance, and the version of torch; nothing where there is none."""
    if not models:
        return {}
    import torch

    about = {
        label: {
            "config": asdict(model.config),
            "alphabet": model.alphabet.symbols,
            "provenance": model.provenance,
        }
        for label, model in models.items()
    }
    return {"models": about, "torch": torch.__version__}
