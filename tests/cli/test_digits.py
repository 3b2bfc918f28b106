"""The network that the repository ships: committed artefact, accuracy from C, and the un-folded reference."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from codegen import build
from codegen.frontend.toml import load
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import activate
from codegen.runtime.host import STRICT, find_compiler
from codegen.runtime.verify import verify
from tests.support.needs import ROOT

SPEC = ROOT / "specs" / "digits.toml"
GENERATED = ROOT / "generated"


def test_a_rebuild_changes_nothing() -> None:
    command = ["clgen", "build", str(SPEC), "-o", str(GENERATED), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_committed_artefact_is_verified(device: DeviceInfo) -> None:
    lowered = build.lower(SPEC)
    result = verify(artefacts.read(GENERATED / "digits"), lowered.model.graph, lowered.launches, [device])
    assert result.passed
    assert len(lowered.report.batch_norms) == 13
    assert lowered.report.launches == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated example, compiled."""
    path = tmp_path_factory.mktemp("digits") / "digits"
    sources = [str(GENERATED / "digits" / name) for name in ("example.c", "digits.c")]
    subprocess.run([find_compiler(), *STRICT, "-O2", "-o", str(path), *sources, "-ldl"], check=True)
    return path


@pytest.mark.parametrize("runtime", ["intel", "pocl"])
def test_c_classifies_the_held_out_digits_like_the_unfolded_reference(
    program: Path, runtime: str, find_device: Callable[[str], DeviceInfo]
) -> None:
    device = find_device(runtime)
    environment = os.environ | dict(activate().variables)
    command = [str(program), device.platform, "--predictions"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    rows = [line.split() for line in done.stdout.splitlines() if re.fullmatch(r"\d+ \d+ \d+", line)]
    predicted = np.array([int(row[2]) for row in rows])

    held_out = load_file(ROOT / "specs" / "digits_heldout.safetensors")
    graph = load(SPEC).graph
    reference = [
        int(graph.evaluate({"image": image[None]})[graph.outputs[0].value].argmax()) for image in held_out["image"]
    ]
    assert predicted.tolist() == reference
    accuracy = float(np.mean(predicted == held_out["label"]))
    assert accuracy >= 0.98
    printed = re.search(r"accuracy: ([\d.]+) %", done.stdout)
    assert printed and abs(float(printed[1]) - 100 * accuracy) < 0.01
