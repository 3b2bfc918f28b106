"""NaN, infinities, -0, denormals and the largest numbers, in all kernels and in each operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen import build
from codegen.runtime.artefact import in_network_order, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from codegen.runtime.samples import SPECIAL_NUMBERS, Sample, random_sample
from codegen.runtime.verify import check_algebra, check_launches, verify
from tests.support import artefacts
from tests.support.branches import NETWORKS

NAN, INF = np.nan, np.inf
LARGEST = float(np.finfo(np.float32).max)


def sprinkled(sample: Sample, seed: int, part: float) -> Sample:
    """The sample with special numbers in this part of each input, one at least."""
    rng = np.random.default_rng(seed)
    mixed = {name: values.copy() for name, values in sample.items()}
    for values in mixed.values():
        at = rng.choice(values.size, max(1, int(part * values.size)), replace=False)
        values.reshape(-1)[at] = rng.choice(SPECIAL_NUMBERS, at.size)
    return mixed


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kernel_does_with_special_numbers_what_the_reference_does(
    name: str, tmp_path: Path, device: DeviceInfo
) -> None:
    built = artefacts.build(name)
    artefact = built.read(tmp_path)
    session = Session(artefact, device)
    with Host(artefact, compile_host(artefact, tmp_path / "host.so"), device) as host:
        for seed, part in enumerate((0.001, 0.01, 0.1)):
            sample = sprinkled(random_sample(artefact, seed), seed, part)
            given = in_network_order(artefact, sample)
            assert not [c for c in check_algebra(built.unfolded, built.launches, given) if not c.passed]
            assert not [c for c in check_launches(session, built.launches, sample, given) if not c.passed]
            ours, theirs = session.run(sample), host.run(sample)
            for output in ours:
                np.testing.assert_array_equal(ours[output], theirs[output])


def test_a_verification_tries_special_numbers(tmp_path: Path, some_device: DeviceInfo) -> None:
    """OpenCL's max() instead of a comparison is right for usual numbers, but not for NaN."""
    text = '[model]\nname = "special"\n\n[[input]]\nname = "x"\nshape = [100]\n'
    text += '\n[[layer]]\nname = "y"\nop = "relu"\n\n[[output]]\nname = "relu"\nfrom = "y"\n'
    (tmp_path / "special.toml").write_text(text)
    lowered = build.lower(tmp_path / "special.toml")
    folder = build.build(lowered, tmp_path, "cpu")[0]
    assert verify(read(folder), lowered.model.graph, lowered.launches, [some_device]).passed
    right, wrong = "SELECT(type, (v) < (low), low, v)", "fmax(v, low)"
    source = (folder / "special.cl").read_text()
    assert right in source
    artefact = replace(read(folder), source=source.replace(right, wrong))
    report = verify(artefact, lowered.model.graph, lowered.launches, [some_device]).devices[0]
    assert all(check.passed for check in report.launches)
    assert not all(check.passed for check in report.special)
    assert not report.passed


X = np.array([NAN, INF, -INF, -0.0, 0.0, 1e-40, -1e-40, LARGEST, -LARGEST, 1.0, -1.0, 7.0], np.float32)

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "leaky_relu": lambda x: np.where(x < 0, np.float32(0.01) * x, x),
    "hard_sigmoid": lambda x: np.minimum(np.maximum(x / 6 + 0.5, 0), 1),
    "hard_swish": lambda x: x * np.minimum(np.maximum(x / 6 + 0.5, 0), 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "celu": lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)),
    "softplus": lambda x: np.logaddexp(0, x),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "sign": np.sign,
    "abs": np.abs,
    "neg": np.negative,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "is_nan": np.isnan,
    "is_inf": np.isinf,
    "reciprocal": lambda x: 1 / x,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("channels", [1, 4], ids=["numbers", "blocks"])
def test_functions_of_special_numbers_are_numpys(channels: int, tmp_path: Path, device: DeviceInfo) -> None:
    """The functions run as launches of their own on plain tensors, and on channel blocks with padding lanes."""
    size = X.size // channels
    shape = [channels, size, 1] if channels > 1 else [X.size]
    text = f'[model]\nname = "special"\n\n[[input]]\nname = "x"\nshape = {shape}\n'
    for k in ACTIVATIONS:
        text += f'\n[[layer]]\nname = "l_{k}"\nop = "{k}"\ninput = "x"\n'
        text += f'\n[[layer]]\nname = "m_{k}"\nop = "max_pool"\nkernel = 1\ninput = "l_{k}"\n' if channels > 1 else ""
    text += "".join(f'\n[[output]]\nname = "{k}_y"\nfrom = "{"m" if channels > 1 else "l"}_{k}"\n' for k in ACTIVATIONS)
    got = answer(text, {"x": X.reshape(1, *shape)}, tmp_path, device)
    with np.errstate(all="ignore"):
        for k, function in ACTIVATIONS.items():
            true = np.asarray(function(X.astype(np.float64))).astype(np.float32)
            np.testing.assert_allclose(got[f"{k}_y"].reshape(-1), true, rtol=3e-6, atol=1e-38, err_msg=k)


PAIRS = np.array([NAN, INF, -INF, 0.0, 1.0, -2.0], np.float32)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_special_numbers(tmp_path: Path, device: DeviceInfo) -> None:
    functions = {
        "min": np.minimum, "max": np.maximum, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
        "greater": np.greater, "less_equal": np.less_equal, "equal": np.equal,
    }  # fmt: skip
    a, b = (grid.reshape(1, -1) for grid in np.meshgrid(PAIRS, PAIRS))
    text = f'[model]\nname = "special"\n\n[[input]]\nname = "a"\nshape = [{a.size}]\n\n[[input]]\nname = "b"\n'
    text += f"shape = [{a.size}]\n"
    text += "".join(f'\n[[layer]]\nname = "l_{k}"\nop = "{k}"\ninputs = ["a", "b"]\n' for k in functions)
    text += "".join(f'\n[[output]]\nname = "{k}_y"\nfrom = "l_{k}"\n' for k in functions)
    got = answer(text, {"a": a, "b": b}, tmp_path, device)
    for k, function in functions.items():
        np.testing.assert_array_equal(got[f"{k}_y"], function(a, b).astype(np.float32), err_msg=k)


@pytest.mark.parametrize("where", range(6))
@pytest.mark.parametrize("special", [NAN, INF, -INF], ids=str)
def test_a_special_number_at_any_place_of_a_reduction(
    special: float, where: int, tmp_path: Path, device: DeviceInfo
) -> None:
    """One NaN makes NaN of sums and extremes wherever it stands; argmax finds it, as numpy's does."""
    x = np.array([[1, -3, 2, 5, -4, 0.5]], np.float32)
    x[0, where] = special
    kinds = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
    text = '[model]\nname = "special"\n\n[[input]]\nname = "x"\nshape = [6]\n'
    text += "".join(f'\n[[layer]]\nname = "{k}"\nop = "{k}"\naxes = [1]\ninput = "x"\n' for k in kinds)
    text += "".join(f'\n[[layer]]\nname = "{k}"\nop = "{k}"\ninput = "x"\n' for k in ("argmax", "argmin", "softmax"))
    text += '\n[[layer]]\nname = "image"\nop = "reshape"\nshape = [1, 2, 3]\ninput = "x"\n'
    text += '\n[[layer]]\nname = "pool"\nop = "max_pool"\nkernel = [2, 3]\n'
    text += '\n[[layer]]\nname = "global"\nop = "global_max_pool"\ninput = "image"\n'
    text += '\n[[layer]]\nname = "most"\nop = "top_k"\naxis = 1\ncount = 3\ninput = "x"\n'
    text += '\n[[layer]]\nname = "least"\nop = "top_k"\naxis = 1\ncount = 6\nlargest = false\ninput = "x"\n'
    names = (*kinds, "argmax", "argmin", "softmax", "pool", "global", "most", "least")
    text += "".join(f'\n[[output]]\nname = "{k}_y"\nfrom = "{k}"\n' for k in names)
    got = {k: v.reshape(-1) for k, v in answer(text, {"x": x}, tmp_path, device).items()}
    row = x[0].astype(np.float64)
    for k in kinds:
        true = getattr(np, k.removeprefix("reduce_"))(row)
        np.testing.assert_allclose(got[f"{k}_y"], [true], rtol=1e-6, err_msg=k)
    assert got["argmax_y"] == np.argmax(row)
    assert got["argmin_y"] == np.argmin(row)
    np.testing.assert_array_equal(got["pool_y"], [row.max()])
    np.testing.assert_array_equal(got["global_y"], [row.max()])
    np.testing.assert_array_equal(got["least_y"], np.sort(row))  # NaN at the end, as the greatest
    np.testing.assert_array_equal(got["most_y"], np.sort(row)[::-1][:3])
    with np.errstate(invalid="ignore"):
        e = np.exp(row - row.max())
    np.testing.assert_allclose(got["softmax_y"], e / e.sum(), rtol=1e-5)


def answer(text: str, given: dict[str, np.ndarray], folder: Path, device: DeviceInfo) -> dict[str, np.ndarray]:
    """The artefact's results for the inputs, through pyopencl and, with equal bits, through the C host."""
    spec = folder / "f.toml"
    spec.write_text(text)
    artefact = read(build.build(build.lower(spec), folder / "generated", "cpu")[0])
    results = Session(artefact, device).run(given)
    with Host(artefact, compile_host(artefact, folder / "host.so"), device) as host:
        through_c = host.run(given)
    for name, y in results.items():
        np.testing.assert_array_equal(through_c[name], y)
    return results
