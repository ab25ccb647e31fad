"""Policies of reinforcement learning: one observation, and an update by a loss that is traced."""

from __future__ import annotations

from benchmarks.policy import CART_POLE
from benchmarks.row import Side, row, side


@row("P29", "4-64-64-2, tanh: one observation", {"PyTorch": 15})
def observation() -> dict[str, Side]:
    return {name: side(library, "observe", CART_POLE) for name, library in (("fastdl", "fastdl"), ("PyTorch", "torch"))}


@row("P30", "4-64-64-(2, 1), PPO's clipped loss, Adam, clip_norm, batch 64: an update", {"PyTorch": 20})
def update() -> dict[str, Side]:
    return {"fastdl": side("fastdl", "fit_policy", CART_POLE), "PyTorch": side("torch", "loop_policy", CART_POLE)}
