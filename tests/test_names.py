"""No name that a spec may give collides with what the generated C calls its own things."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from codegen import build
from codegen.errors import SpecError
from codegen.frontend.naming import model_fault, port_fault
from codegen.graph.types import TYPES
from codegen.plan import planner
from codegen.runtime.host import STRICT, find_compiler

SPEC = """
[model]
name = "{model}"
weights = "w.npz"

[[input]]
name = "{given}"
shape = {shape}

[[layer]]
name = "c"
op = "conv"

[[output]]
name = "{taken}"
from = "c"
"""

RANGES = """
[model]
name = "zzmodel"

[[input]]
name = "zzgiven"
shape = [3]

[[input]]
name = "zzgiven2"
shape = [3]
range = [0, 255]

[[layer]]
name = "sum"
op = "add"
inputs = ["zzgiven", "zzgiven2"]

[[output]]
name = "zztaken"
from = "sum"
"""


TYPED = """
[model]
name = "zzmodel"
"""
TYPED += "".join(f'[[input]]\nname = "zzgiven{k}"\nfull_shape = [3]\ntype = "{kind}"\n' for k, kind in enumerate(TYPES))
TYPED += "".join(f'[[layer]]\nname = "r{k}"\nop = "relu"\ninput = "zzgiven{k}"\n' for k in range(len(TYPES)))
TYPED += "".join(f'[[output]]\nname = "zztaken{k}"\nfrom = "r{k}"\ntype = "{kind}"\n' for k, kind in enumerate(TYPES))


def generate(
    folder: Path,
    model: str = "zzmodel",
    given: str = "zzgiven",
    taken: str = "zztaken",
    shape: tuple[int, int, int] = (3, 4, 4),
    weight: tuple[int, int, int, int] = (2, 3, 1, 1),
) -> Path:
    np.savez(folder / "w.npz", **{"c.weight": np.ones(weight, np.float32)})
    spec = folder / "s.toml"
    spec.write_text(SPEC.format(model=model, given=given, taken=taken, shape=list(shape)))
    return build.build(build.lower(spec), folder / "generated", "cpu")[0]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every identifier in the generated C of models with and without a blob, prepared weights, ranges, types."""
    texts = [path.read_text() for path in (ROOT / "generated" / "digits").glob("*.[ch]")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "TABLE_BYTES", 0)
        folder = generate(tmp_path_factory.mktemp("blob"))
    texts += [path.read_text() for path in folder.glob("*.[ch]")]
    folder = generate(tmp_path_factory.mktemp("prepared"), shape=(64, 30, 30), weight=(64, 64, 3, 3))
    assert "PREPARATION_COUNT" in (folder / "zzmodel.c").read_text()
    texts += [path.read_text() for path in folder.glob("*.[ch]")]
    for spec, word in ((RANGES, "input_noise"), (TYPED, "element_type")):
        folder = tmp_path_factory.mktemp("spec")
        (folder / "s.toml").write_text(spec)
        folder, _ = build.build(build.lower(folder / "s.toml"), folder / "generated", "cpu")
        assert word in (folder / "zzmodel.c").read_text()
        texts += [path.read_text() for path in folder.glob("*.[ch]")]
    found: set[str] = set()
    for text in texts:
        code = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"|0x[0-9a-fA-Fp.+-]+f?", " ", text, flags=re.DOTALL)
        found |= set(re.findall(r"[A-Za-z_]\w*", code))
    own = re.compile(
        r"(_*digits|_*zz(model|given|taken)|\w*(IMAGE|PROBABILITIES|ZZ))|image$|probabilities$", re.IGNORECASE
    )
    return {word for word in found if not own.match(word)}


def test_no_model_may_be_called_what_the_host_uses(words: set[str]) -> None:
    assert len(words) > 200
    allowed = sorted(word for word in words if model_fault(word) is None)
    assert allowed == []


PORTS = ("num_events", "wait_list", "run_batch", "enqueue_on_buffers", "INPUT_COUNT", "CL_SUCCESS", "zzmodel_status")


@pytest.mark.parametrize("name", PORTS)
def test_no_tensor_may_be_called_what_its_functions_use(name: str) -> None:
    assert port_fault(name, "zzmodel")


@pytest.mark.parametrize(
    "name", ["input", "output", "data", "x", "y", "i", "size", "error", "check", "sample", "count", "values"]
)
def test_usual_names_of_tensors_compile(name: str, tmp_path: Path) -> None:
    folder = generate(tmp_path, given=name)
    command = [find_compiler(), *STRICT, "-fsyntax-only", "zzmodel.c", "example.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_name_of_the_spec_file_cannot_leave_its_comment(tmp_path: Path) -> None:
    generate(tmp_path)
    evil = tmp_path / "x\nmessage(FATAL_ERROR injected)\n#.toml"
    (tmp_path / "s.toml").rename(evil)
    with pytest.raises(SpecError, match="file name"):
        build.lower(evil)
