"""Inputs that have NaN, infinities, -0, denormals and the largest numbers among usual ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)

SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-42, LARGEST, -LARGEST], np.float32)


def sprinkled(rng: np.random.Generator, shape: tuple[int, ...], part: float) -> NDArray[np.float32]:
    """Normally distributed numbers, this part of them special, one at least."""
    x = rng.standard_normal(shape).astype(np.float32)
    at = rng.choice(x.size, max(1, int(part * x.size)), replace=False)
    x.reshape(-1)[at] = rng.choice(SPECIAL, at.size)
    return x
