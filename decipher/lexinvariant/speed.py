"""How much arithmetic a model takes, and how much the device could do."""

from __future__ import annotations

import time

import torch

from decipher.lexinvariant.model import TABLES, Transformer

#: Dense bfloat16 FLOP/s by the makers' data sheets; other devices are measured.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


def flops_per_symbol(model: Transformer, length: int) -> float:
    """Floating point operations that training takes a symbol, forward and backward.

    Chowdhery et al. 2022 (PaLM, arXiv 2204.02311), appendix B: 6 N + 12 L H Q T, with N the
    weights that are multiplied with every symbol, and T here the average number of positions that a
    causal head attends to, half of the window.
    """
    config, V = model.config, model.alphabet.size
    weights, blocks = 0, 0
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name not in TABLES:
            if name.startswith("blocks."):
                blocks += parameter.numel()
            elif name != "again.weight":
                weights += parameter.numel()
    logits = V * config.vector_width + config.pointer * length / 2
    marks = config.heads * V if config.matching else 0
    attention = config.layers * (2 * config.width + marks) * length / 2
    again = (model.passes - 1) * config.width**2
    return 6 * (weights + logits + model.passes * (blocks + attention) + again)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The FLOP/s of dense matrix products: from `PEAKS` for known GPUs, otherwise measured."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for known, peak in PEAKS.items():
            if known in name:
                return peak
    size = 1024 if device.type == "cpu" else 8192
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
