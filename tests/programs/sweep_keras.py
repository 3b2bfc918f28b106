"""Every layer of Keras x its options x file format x data_format, through the import, against Keras' own predict().

    pip install -e ".[sweep]"
    KERAS_BACKEND=numpy python -m tests.programs.sweep_keras [--short] [--only WORD] [--refusals]

The models are in sweep_keras_layers.py, sweep_keras_functions.py and sweep_keras_structures.py.

Each model is built and saved by Keras itself, imported, and computed three times: by predict(), by the float64
reference of the imported graph, and by the evaluator that an import is checked with.  A model is equal, or refused with
a reason, or DIFFERENT, which is a fault: the exit code is 1 then.  SWEEP_KERAS=tf_keras sweeps Keras 2.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from codegen.errors import ClgenError
from codegen.frontend.spec.place import Place
from codegen.importers.keras import extract, hdf5
from codegen.importers.keras import file as keras_file
from codegen.importers.keras.evaluate import evaluate_keras, input_names
from codegen.importers.keras.network import read_model
from codegen.importers.open import open_model
from tests.support import sweep_keras_layers as layers
from tests.support import sweep_keras_structures as structures
from tests.support.sweep_keras_functions import functions
from tests.support.sweep_keras_models import Case, keras

TOLERANCE = 1e-4  # of max|y|, as predict() computes in float32
EXACT = 1e-9  # the same between two computations in float64


@dataclass(frozen=True)
class Outcome:
    kind: str  # "equal", "refused", "DIFFERENT", "Keras fails"
    reason: str = ""


GROUPS: Sequence[Callable[[], Iterator[Case]]] = (
    *(layers.convolutions, layers.activations, layers.activation_layers, layers.pools, layers.sizes),
    *(layers.statistics, layers.normalizations, layers.merges, layers.shapes, layers.others),
    *(structures.wrappers, structures.attentions, functions, structures.structures),
)


def cases() -> Iterator[Case]:
    for group in GROUPS:
        yield from group()


# Comparison ----------------------------------------------------------------------------------------------------------


def read_here(path: Path, place: Place) -> hdf5.Group:
    """Reads a file as :func:`hdf5.read_hdf5` does, but in this process: thousands of processes take long."""
    with tempfile.TemporaryFile() as out:
        with h5py.File(path, "r") as file:
            extraction = extract.Extraction(out)
            extraction.write(extraction.group(file))
        out.seek(0)
        data = out.read()
    end = data.index(b"\n")
    return hdf5._group(json.loads(data[:end]), memoryview(data)[end + 1 :])


def randomize(model: Any, rng: np.random.Generator) -> None:
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        if "float" in str(weight.dtype):
            spread = rng.uniform(0.3, 2, weight.shape) if "variance" in name else rng.normal(0, 0.5, weight.shape)
            weight.assign(spread.astype(np.float32))
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization computes with a copy of its arrays


def packed(structure: Any, values: list[np.ndarray]) -> Any:
    """The arrays as the model wants its inputs: Keras counts those of a table by sorted keys."""
    if isinstance(structure, dict):
        return dict(zip(sorted(structure), values, strict=True))
    return list(values) if isinstance(structure, (list, tuple)) else values[0]


def flat(made: Any) -> list[np.ndarray]:
    if isinstance(made, dict):
        return [np.asarray(made[key]) for key in sorted(made)]
    return [np.asarray(y) for y in (made if isinstance(made, (list, tuple)) else [made])]


def draw(tensor: Any, rng: np.random.Generator) -> np.ndarray:
    sizes, dtype = [n or 1 for n in tensor.shape], str(getattr(tensor.dtype, "name", tensor.dtype))
    if "float" in dtype:
        return rng.normal(0, 1.5, sizes).astype(np.float32)
    return rng.integers(0, 2 if dtype == "bool" else 100, sizes).astype(dtype)


def imported(path: Path, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
    graph = open_model(path).graph
    moved = [np.moveaxis(x, -1, 1) if i.channels_last else x for i, x in zip(graph.inputs, xs, strict=True)]
    made = graph.evaluate({i.name: x.astype(np.float64) for i, x in zip(graph.inputs, moved, strict=True)})
    return [np.moveaxis(made[o.value], 1, -1) if o.channels_last else made[o.value] for o in graph.outputs]


def error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """max|ours - theirs| / max|theirs|, infinity where shapes differ."""
    if [y.shape for y in ours] != [y.shape for y in theirs]:
        return float("inf")
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs, strict=True)]
    # NaN, such as the logarithm of a negative number, is equal to NaN.
    pairs = [(np.where(np.isnan(a) & np.isnan(b), 0, a), np.where(np.isnan(a) & np.isnan(b), 0, b)) for a, b in pairs]
    return max(float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b))))) for a, b in pairs)


def compare(case: Case, form: str, folder: Path) -> Outcome:
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    path = folder / f"net.{form}"
    try:
        keras.backend.clear_session()
        model = case.build()
        randomize(model, rng)
        xs = [draw(tensor, rng) for tensor in model.inputs]
        structure = model.inputs if isinstance(model, keras.Sequential) else model.input
        theirs = flat(model.predict(packed(structure, xs), verbose=0))
        model.save(path)
    except Exception as fault:  # whatever Keras or its backend raises on what it cannot do
        return Outcome("Keras fails", f"{type(fault).__name__}: {str(fault).splitlines()[0][:120]}")
    try:
        ours = imported(path, xs)
    except ClgenError as fault:
        return Outcome("refused", str(fault).removeprefix(f"{path}: "))
    except Exception as fault:
        return Outcome("DIFFERENT", f"the import fails: {type(fault).__name__}: {fault}")
    tolerance = 2e-2 if "16" in case.name else TOLERANCE
    far = error(ours, theirs)
    if not far <= tolerance:
        return Outcome("DIFFERENT", f"{far:.2g} from Keras' predict()")
    named = dict(zip(input_names(read_model(keras_file.open_keras(path).config, Place(""))), xs, strict=True))
    try:
        far = error(ours, evaluate_keras(path, {}, named))
    except Exception as fault:
        return Outcome("DIFFERENT", f"the evaluator fails: {type(fault).__name__}: {fault}")
    return Outcome("equal") if far <= EXACT else Outcome("DIFFERENT", f"{far:.2g} from the evaluator")


def sweep(wanted: Sequence[Case], say: Callable[[str], None]) -> dict[tuple[str, str], Outcome]:
    """Outcomes by (name, format)."""
    vars(keras_file)["read_hdf5"] = read_here
    outcomes: dict[tuple[str, str], Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        for case in wanted:
            for form in case.formats:
                outcomes[case.name, form] = found = compare(case, form, Path(folder))
                if found.kind == "DIFFERENT":
                    say(f"DIFFERENT: {case.name} ({form}): {found.reason}")
    return outcomes


def table(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    kinds = ("equal", "refused", "DIFFERENT", "Keras fails")
    counts = Counter((name.split()[0], found.kind) for (name, _), found in outcomes.items())
    groups = list(dict.fromkeys(name.split()[0] for name, _ in outcomes))
    lines = [f"{'':28}" + "".join(f"{kind:>13}" for kind in kinds)]
    lines += [f"{group:28}" + "".join(f"{counts[group, kind]:13}" for kind in kinds) for group in groups]
    sums = [sum(found.kind == kind for found in outcomes.values()) for kind in kinds]
    return "\n".join([*lines, f"{'all':28}" + "".join(f"{n:13}" for n in sums)])


def short(every: int = 23) -> list[Case]:
    """A part of the cases that has some of all groups."""
    return [case for i, case in enumerate(cases()) if i % every == 0 or case.name.startswith(("model", "own"))]


def main(arguments: Sequence[str]) -> int:
    wanted = short() if "--short" in arguments else list(cases())
    if "--only" in arguments:
        word = arguments[arguments.index("--only") + 1]
        wanted = [case for case in wanted if word in case.name]
    outcomes = sweep(wanted, print)
    if "--refusals" in arguments:
        for (name, form), found in outcomes.items():
            if found.kind in ("refused", "Keras fails"):
                print(f"{found.kind}: {name} ({form}): {found.reason}")
    print(f"Keras {keras.__version__}")
    print(table(outcomes))
    return int(any(found.kind == "DIFFERENT" for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
