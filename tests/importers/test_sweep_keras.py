"""A part of tests/programs/sweep_keras.py: models that Keras itself builds, saves and computes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from tests.support.needs import ROOT, missing


def test_imports_agree_with_keras() -> None:
    """The sweep runs in a process of its own: Keras takes its backend from the environment, and keeps it."""
    if any(importlib.util.find_spec(name) is None for name in ("keras", "jax", "scipy")):
        missing("Keras with its numpy backend", 'pip install -e ".[sweep]"')
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.programs.sweep_keras", "--short"],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "numpy", "SWEEP_KERAS": "keras"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    sums = done.stdout.splitlines()[-1].split()
    assert sums[0] == "all"
    assert int(sums[1]) > 100  # equal
