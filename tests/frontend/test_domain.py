"""The ranges of inputs, declared or found, and the numbers generated in them, which are the same in C and in Python."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen import build
from codegen.errors import ParameterError
from codegen.graph.domain import find_domain, generated_inputs, grid, on_grid
from codegen.graph.evaluation import all_outputs, sources
from codegen.graph.graph import Graph, Input, Node, Output, Range
from codegen.graph.ops import Activation, Conv, Dense, Op
from codegen.graph.ops.op import whole
from codegen.graph.tolerance import rounded_evaluation
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.samples import random_sample
from codegen.runtime.verify import Verification, as_computed, format_verification, largest_error, same_bits, verify
from tests.support.commands import clgen, clgen_here
from tests.support.examples import few
from tests.support.generated_c import STRICT, do
from tests.support.networks import Net, lower, normal_sample
from tests.support.values import save_npz

FLOAT32_MAX = float(np.finfo(np.float32).max)
TINY = 2.0**-149

ENDS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, -1.0, 255.0, 0.5, TINY, -TINY, FLOAT32_MAX, -FLOAT32_MAX, 1e6, -2.117904]).map(
        lambda v: float(np.float32(v))
    ),
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Any two float32 numbers, often neighbours or nearly so."""
    low = draw(ENDS)
    if draw(st.booleans()):
        high = low
        for _ in range(draw(st.integers(1, 5))):
            high = float(np.nextafter(np.float32(min(high, FLOAT32_MAX / 2)), np.float32(np.inf)))
    else:
        high = draw(ENDS)
    low, high = min(low, high), max(low, high)
    assume(low < high <= FLOAT32_MAX)
    return low, high


# ---- the numbers -----------------------------------------------------------------------------------------------------


@few(400)
@given(ranges())
def test_numbers_of_a_grid_are_exact_and_strictly_inside_the_range(chosen: Range) -> None:
    low, high = chosen
    of = grid(chosen)
    assert 1 <= of.count <= 2**16 and math.frexp(of.step)[0] == 0.5
    # Every draw below 2^16 is scaled to one of `count` numbers, the first and the last of them included.
    draws = np.array([0, 1, 2**15, 2**16 - 1], dtype=np.uint32)
    for draw, value in zip(draws.tolist(), on_grid(draws, of), strict=True):
        exact = (of.first + 2 * (draw * of.count // 2**16)) * Fraction(of.step)
        assert value.dtype == np.float32 and Fraction(float(value)) == exact
        assert low <= float(value) <= high
        if of.count > 1:
            assert low < float(value) < high and value != 0
    spacing = max(2.0 ** (math.frexp(max(-low, high))[1] - 24), TINY)
    if high - low >= 2**18 * spacing:
        assert of.count >= 2**15
        assert float(on_grid(draws, of)[0]) - low <= (high - low) / 2**14
        assert high - float(on_grid(draws, of)[-1]) <= (high - low) / 2**14


def test_numbers_of_usual_ranges() -> None:
    """Computed by hand: odd multiples of 2^-16 in (-1, 1), of 2^-17 in (0, 1), of 2^-9 in (0, 255)."""
    ends = np.array([0, 2**16 - 1], dtype=np.uint32)
    assert on_grid(ends, grid((-1.0, 1.0))).tolist() == [-65535 / 65536, 65535 / 65536]
    assert on_grid(ends, grid((0.0, 1.0))).tolist() == [1 / 131072, 131071 / 131072]
    assert on_grid(ends, grid((0.0, 255.0))).tolist() == [1 / 512, 255 - 1 / 512]
    neighbours = (1.0, float(np.nextafter(np.float32(1), np.float32(2))))
    assert on_grid(ends, grid(neighbours)).tolist() == [1.0, 1.0]


def by_hand(state: int, count: int, of: Callable[[int], Fraction]) -> list[Fraction]:
    """The generator in Python's own integers."""
    numbers = []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        numbers.append(of(state >> 16))
    return numbers


def test_generated_inputs_fill_the_users_layout() -> None:
    first, last = Input("a", (1, 2, 3)), Input("b", (1, 2, 3), channels_last=True)
    made = generated_inputs((first, last), ((-1.0, 1.0), (0.0, 255.0)))
    values = {name: source(whole((1, 2, 3))) for name, source in made.items()}
    a = by_hand(20260101, 6, lambda k: Fraction(2 * k - 65535, 65536))
    b = by_hand(20260101 + 7919, 6, lambda k: Fraction(1 + 2 * (k * 65280 // 65536), 512))
    assert [Fraction(v) for v in values["a"].reshape(-1).tolist()] == a
    assert values["b"].shape == (1, 2, 3)
    assert [Fraction(v) for v in np.moveaxis(values["b"], 1, -1).reshape(-1).tolist()] == b


# ---- the same in C ---------------------------------------------------------------------------------------------------

SEVERAL = [
    (-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.117904, 2.64), (1e6, 1000001.0), (-FLOAT32_MAX, FLOAT32_MAX),
    (0.0, 3 * TINY), (1.0, 1.0000001), (1e-30, 1e30), (-3.0, -1e-3),
]  # fmt: skip
"""Ranges of usual and of extreme images."""

COUNT = 4096


def inputs_only(*chosen: Range | None) -> Graph:
    """A sum of inputs with these ranges."""
    inputs = tuple(Input(f"x{k}", (1, COUNT), range=r) for k, r in enumerate(chosen))
    nodes = tuple(Node(f"n{k}", Activation.of("sigmoid"), (i.name,)) for k, i in enumerate(inputs))
    outputs = tuple(Output(f"y{k}", node.name) for k, node in enumerate(nodes))
    return Graph("net", inputs, nodes, outputs)


def spec_of(chosen: list[Range | None], folder: Path) -> Path:
    text = '[model]\nname = "net"\n'
    for k, r in enumerate(chosen):
        declared = "" if r is None else f"range = [{r[0]!r}, {r[1]!r}]\n"
        text += f'[[input]]\nname = "x{k}"\nshape = [{COUNT}]\n{declared}'
        text += f'[[layer]]\nname = "n{k}"\nop = "sigmoid"\ninput = "x{k}"\n'
        text += f'[[output]]\nname = "y{k}"\nfrom = "n{k}"\n'
    path = folder / "net.toml"
    path.write_text(text)
    return path


def generator_program(source: str, inputs: int) -> str:
    """The self-test's own generator of numbers, in a program that writes those of every input."""
    text = source[source.index("/* Self-test. */") : source.index("static cl_int fill_input")]
    grid = ", &input_grids[input]" if "input_grids" in text else ""
    return (
        "#include <stdint.h>\n#include <stdio.h>\n#include <stddef.h>\n"
        f"enum {{ INPUT_COUNT = {inputs} }};\n{text}\n"
        f"static float values[{COUNT}];\n"
        "int main(void)\n{\n"
        "    for (size_t input = 0; input < INPUT_COUNT; ++input) {\n"
        f"        generate_numbers(values, {COUNT}, 20260101u + (uint32_t)input * 7919u{grid});\n"
        "        fwrite(values, sizeof *values, sizeof values / sizeof *values, stdout);\n"
        "    }\n    return 0;\n}\n"
    )


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-O3 -march=native -ffp-contract=fast"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c_makes_the_same_numbers(tool: Callable[[str], str], compiler: str, flags: str, tmp_path: Path) -> None:
    several = [(float(np.float32(a)), float(np.float32(b))) for a, b in SEVERAL]
    choices: list[list[tuple[float, float] | None]] = [[*several], [several[3]], [None], [several[5], several[5]]]
    for number, chosen in enumerate(choices):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, graph = spec_of(list(chosen), folder), inputs_only(*chosen)
        files = build.rendered(build.lower(path), "cpu")
        declared = [tuple(i["range"]) for i in json.loads(files["manifest.json"])["inputs"]]
        assert declared == [r or (-1.0, 1.0) for r in chosen]
        (folder / "numbers.c").write_text(generator_program(files["net.c"].decode(), len(chosen)))
        do([tool(compiler), *STRICT, *flags.split(), "-o", folder / "numbers", folder / "numbers.c"])
        do(["sh", "-c", f"{folder / 'numbers'} > {folder / 'bytes'}"])
        right = generated_inputs(graph.inputs, tuple(r or (-1.0, 1.0) for r in chosen))
        assert (folder / "bytes").read_bytes() == b"".join(
            right[i.name](whole(i.shape)).tobytes() for i in graph.inputs
        )


@pytest.mark.parametrize("chosen", [[None], [(0.0, 255.0)], [(-1.0, 1.0), (0.0, 255.0)]], ids=str)
def test_the_example_program_makes_the_self_tests_numbers(
    tool: Callable[[str], str], chosen: list[Range | None], tmp_path: Path
) -> None:
    files = build.rendered(build.lower(spec_of(chosen, tmp_path)), "cpu")
    text = files["example.c"].decode()
    function = text[text.index("static void generate_numbers(") : text.index("static void print_first")]
    calls = re.findall(r"^    generate_numbers\(.*?\);", text, re.MULTILINE | re.DOTALL)
    counts = "".join(f"#define NET_INPUT_X{k}_COUNT {COUNT}\n" for k in range(len(chosen)))
    arrays = "".join(f"static float input_x{k}[{COUNT}];\n" for k in range(len(chosen)))
    prints = "".join(f"    fwrite(input_x{k}, 4, {COUNT}, stdout);\n" for k in range(len(chosen)))
    body = "\n".join(calls)
    program = f"#include <stdio.h>\n{counts}{arrays}{function}\nint main(void)\n{{\n{body}\n{prints}    return 0;\n}}\n"
    (tmp_path / "made.c").write_text(program)
    do([tool("gcc"), *STRICT, "-O2", "-o", tmp_path / "made", tmp_path / "made.c"])
    do(["sh", "-c", f"{tmp_path / 'made'} > {tmp_path / 'bytes'}"])
    graph = inputs_only(*chosen)
    right = generated_inputs(graph.inputs, tuple(r or (-1.0, 1.0) for r in chosen))
    assert (tmp_path / "bytes").read_bytes() == b"".join(right[i.name](whole(i.shape)).tobytes() for i in graph.inputs)


# ---- ranges that are found -------------------------------------------------------------------------------------------


def chain(*ops: Op, declared: Range | None = None, shape: tuple[int, ...] = (1, 64)) -> Graph:
    nodes = tuple(Node(f"n{k}", op, (f"n{k - 1}" if k else "x",)) for k, op in enumerate(ops))
    return Graph("net", (Input("x", shape, range=declared),), nodes, (Output("y", nodes[-1].name),))


def total() -> Dense:
    """The sum of all elements: one NaN makes it NaN."""
    return Dense(np.ones((1, 64)), np.zeros(1))


FOUND: dict[str, tuple[Graph, Range]] = {
    "anything": (chain(Activation.of("tanh")), (-1.0, 1.0)),
    "logarithm": (chain(Activation.of("log")), (0.0, 1.0)),
    "sum of logarithms": (chain(Activation.of("log"), total()), (0.0, 1.0)),
    "square root": (chain(Activation.of("sqrt"), total()), (0.0, 1.0)),
    "arc sine": (chain(Activation.of("asin"), total()), (-1.0, 1.0)),
    "reciprocal": (chain(Activation.of("reciprocal"), total()), (-1.0, 1.0)),
    # Numbers from 1 on: one in 16 of [0, 16] is too small, and more than half of [-16, 16].
    "arc hyperbolic cosine": (chain(Activation.of("acosh")), (0.0, 16.0)),
    "declared": (chain(Activation.of("acosh"), total(), declared=(1.0, 3.0)), (1.0, 3.0)),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_first_range_that_makes_all_outputs_finite(name: str) -> None:
    graph, right = FOUND[name]
    domain = find_domain(graph)
    assert domain.ranges == (right,)
    low, high = right
    made = domain.inputs["x"](whole(graph.inputs[0].shape))
    assert np.all((made > low) & (made < high))
    (values,) = domain.values
    assert values[graph.outputs[0].value].shape == graph.shapes[graph.outputs[0].value]


def test_inputs_without_a_range_have_a_common_one_beside_declared_ones() -> None:
    inputs = (Input("a", (1, 64)), Input("b", (1, 64), range=(-3.0, -2.0)), Input("c", (1, 64)))
    nodes = (
        Node("la", Activation.of("log"), ("a",)),
        Node("tb", Activation.of("tanh"), ("b",)),
        Node("tc", Activation.of("tanh"), ("c",)),
    )
    graph = Graph("net", inputs, nodes, tuple(Output(f"y{n.name}", n.name) for n in nodes))
    assert find_domain(graph).ranges == ((0.0, 1.0), (-3.0, -2.0), (0.0, 1.0))


def test_a_network_without_finite_outputs_is_refused_with_the_remedy() -> None:
    graph = chain(Activation.of("acosh"), total())
    with pytest.raises(ParameterError) as caught:
        find_domain(graph)
    assert str(caught.value) == (
        "output 'y' is infinite or NaN everywhere for inputs in [-1, 1], [0, 1], [-16, 16], [0, 16]; write the range "
        "that the network is for in the spec: range = [low, high] in [[input]] 'x'"
    )
    with pytest.raises(ParameterError) as caught:
        find_domain(chain(Activation.of("log"), total(), declared=(-2.0, 5.0)))
    assert str(caught.value) == (
        "output 'y' is infinite or NaN everywhere for inputs in their declared ranges, 'x' in [-2, 5]; "
        "write the ranges that the network is for"
    )


# ---- through the commands --------------------------------------------------------------------------------------------

LOGMEL = """
[model]
name = "logmel"
weights = "logmel.npz"

[[input]]
name = "power"
shape = [40, 6, 1]
layout = "NHWC"
{range}
[[layer]]
name = "log"
op = "log"

[[layer]]
name = "conv"
op = "conv"
padding = 1

[[layer]]
name = "mean"
op = "global_average_pool"

[[output]]
name = "y"
from = "mean"
"""


def logmel(folder: Path, declared: str = "") -> Path:
    """A convolution of logarithms: one negative input makes every output of its window NaN, and the mean."""
    rng = np.random.default_rng(3)
    save_npz(folder / "logmel.npz", {"conv.weight": rng.standard_normal((5, 1, 3, 3)).astype(np.float32)})
    path = folder / "logmel.toml"
    path.write_text(LOGMEL.format(range=declared))
    return path


def answer(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The network in float64, [N, 40, 6, 1] to [N, 5, 1, 1] averaged over all windows."""
    padded = np.pad(np.log(x[..., 0].astype(np.float64)), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.einsum("nhwij,oij->nohw", windows, weight[:, 0].astype(np.float64)).mean((2, 3))


def test_a_network_of_logarithms_builds_and_verifies(tmp_path: Path, device: DeviceInfo) -> None:
    """It was refused: infinite or NaN everywhere."""
    path = logmel(tmp_path)
    lowered = build.lower(path)
    artefact = read(build.build(lowered, tmp_path / "generated", "cpu")[0])
    assert artefact.inputs[0]["range"] == [0.0, 1.0]
    result = verify(artefact, lowered.model.graph, lowered.launches, [device])
    assert result.passed and result.samples == 1, result
    weight = np.load(tmp_path / "logmel.npz")["conv.weight"]
    sample = random_sample(artefact)["power"]
    right = answer(weight, sample)
    got = lowered.model.graph.evaluate({"power": np.moveaxis(sample, -1, 1)})["mean"]
    np.testing.assert_allclose(got.reshape(right.shape), right, rtol=1e-12)


def test_the_declared_range_is_everywhere(tmp_path: Path) -> None:
    path = logmel(tmp_path, "range = [0.1, 20]")
    folder, _ = build.build(build.lower(path), tmp_path / "generated", "cpu")
    assert read(folder).inputs[0]["range"] == [float(np.float32(0.1)), 20.0]
    assert "float power[1][40][6][1], NHWC, numbers in [0.1, 20]" in (folder / "logmel.h").read_text()
    assert "| NHWC | 240 | [0.1, 20] |\n" in (folder / "README.md").read_text()
    sample = random_sample(read(folder))["power"]
    assert 0.1 < sample.min() < 1 and 19 < sample.max() < 20


def test_a_refused_network_names_the_spec(tmp_path: Path) -> None:
    logmel(tmp_path, "range = [-2, -1]")
    done = clgen_here("build", "logmel.toml", cwd=tmp_path)
    assert done.returncode == 3
    assert "logmel.toml: output 'y' is infinite or NaN everywhere for inputs in their declared ranges" in done.stderr


# ---- verify with the user's samples ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("has_device")
def test_verify_takes_the_users_samples(tmp_path: Path) -> None:
    logmel(tmp_path)
    rng = np.random.default_rng(4)
    stacked = rng.uniform(0.5, 9, (3, 1, 40, 6, 1)).astype(np.float32)
    stacked[1, 0, 0, 0, 0], stacked[2, 0, 3, 3, 0] = 0, -1  # minus infinity, NaN
    for name, array, count in (("one", stacked[0], 1), ("three", stacked, 3)):
        np.savez(tmp_path / f"{name}.npz", power=array)
        done = clgen("verify", "logmel.toml", "--inputs", f"{name}.npz", "--json", "report.json", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"on {count} sample{'s' * (count > 1)}\n" in done.stdout
        assert json.loads((tmp_path / "report.json").read_text())["samples"] == count


WRONG_SAMPLES: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "name": ({"sound": np.zeros((1, 40, 6, 1))}, 'array "sound" is no input of logmel; inputs: "power"'),
    "none": ({}, 'input "power" is missing; it should be [1, 40, 6, 1] of float32'),
    "layout": (
        {"power": np.zeros((1, 1, 40, 6))},
        'input "power" is [1, 1, 40, 6] of float64; it should be [1, 40, 6, 1] of float32, or several of them '
        "stacked along an axis in front",
    ),
    "without batch": (
        {"power": np.zeros((40, 6, 1))},
        'input "power" is [40, 6, 1] of float64; it should be [1, 40, 6, 1] of float32, or several of them',
    ),
    "stacked twice": (
        {"power": np.zeros((2, 2, 1, 40, 6, 1))},
        'input "power" is [2, 2, 1, 40, 6, 1] of float64; it should be',
    ),
    "no samples": ({"power": np.zeros((0, 1, 40, 6, 1))}, 'input "power" is [0, 1, 40, 6, 1] of float64; it should be'),
    "text": ({"power": np.full((1, 40, 6, 1), "a")}, 'input "power" is [1, 40, 6, 1] of <U1; it should be'),
    "too large": ({"power": np.full((1, 40, 6, 1), 1e39)}, 'input "power" holds numbers beyond float32'),
}


@pytest.mark.usefixtures("has_device")
def test_wrong_samples_are_refused_by_file_and_array(tmp_path: Path) -> None:
    logmel(tmp_path)
    assert clgen_here("build", "logmel.toml", cwd=tmp_path).returncode == 0
    for arrays, said in WRONG_SAMPLES.values():
        save_npz(tmp_path / "bad.npz", arrays)
        done = clgen_here("verify", "generated/logmel", "--inputs", "bad.npz", cwd=tmp_path)
        assert done.returncode == 3 and f"bad.npz: {said}" in done.stderr, done.stderr
    done = clgen_here("verify", "generated/logmel", "--inputs", "absent.npz", cwd=tmp_path)
    assert done.returncode == 2 and "absent.npz: cannot be read" in done.stderr


@pytest.mark.usefixtures("has_device")
def test_inputs_of_different_numbers_of_samples_are_refused(tmp_path: Path) -> None:
    spec_of([None, None], tmp_path)
    np.savez(tmp_path / "bad.npz", x0=np.zeros((2, 1, COUNT)), x1=np.zeros((1, COUNT)))
    done = clgen_here("verify", "net.toml", "--inputs", "bad.npz", cwd=tmp_path)
    assert done.returncode == 3
    assert "bad.npz: holds 2 samples of 'x0' and 1 of 'x1'; give as many of each input" in done.stderr


def test_a_fault_that_only_a_users_sample_shows(tmp_path: Path, device: DeviceInfo) -> None:
    """relu6 without its upper end: inputs in [-1, 1] do not come there."""
    path = spec_of([None], tmp_path)
    path.write_text(path.read_text().replace("sigmoid", "relu6"))
    lowered = build.lower(path)
    folder = build.build(lowered, tmp_path / "generated", "cpu")[0]
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("net.cl", "net.c"):
        text = (folder / name).read_text()
        assert "0x1.8p+2f" in text
        wrong = text.replace("0x1.8p+2f", "0x1.cp+2f").encode()
        (folder / name).write_bytes(wrong)
        manifest["files"][name] = hashlib.sha256(wrong).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    artefact = read(folder)

    def verified(*samples: np.ndarray) -> Verification:
        given = [{"x0": x.astype(np.float32).reshape(1, COUNT)} for x in samples]
        return verify(artefact, lowered.model.graph, lowered.launches, [device], given)

    assert all(check.passed for check in verified().devices[0].launches)
    small, large = np.linspace(-9, 5, COUNT), np.linspace(-9, 5, COUNT)
    large[77] = 6.5
    result = verified(small, large, small)
    assert not result.passed and result.samples == 3
    (launch,), (output,) = result.devices[0].launches, result.devices[0].outputs
    assert (launch.index, launch.sample, launch.error, output.error) == ((0, 77), 1, 0.5, 0.5)
    assert "at [0, 77] of sample 1  WRONG" in format_verification(result)


# ---- infinities and NaN from end to end ------------------------------------------------------------------------------

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("got", "true", "rounded", "right"),
    [
        ([1.0, INF, NAN, -INF], [1.5, INF, NAN, -INF], [1.5, INF, NAN, -INF], 0.5),
        ([1.0, 3.4e38], [1.0, INF], [1.0, INF], INF),  # a number where there is an infinity
        ([1.0, -INF], [1.0, INF], [1.0, INF], INF),
        ([1.0, NAN], [1.0, INF], [1.0, INF], INF),
        ([1.0, 2.0], [1.0, NAN], [1.0, NAN], INF),
        ([1.0, INF], [1.0, NAN], [1.0, NAN], INF),
        ([NAN, 2.0], [1.0, 2.0], [1.0, 2.0], INF),
        ([INF, 2.0], [1.0, 2.0], [1.0, 2.0], INF),
        ([NAN, 2.0], [2.0, NAN], [2.0, NAN], INF),  # the right number of them, in other places
        ([INF, 2.5], [1e39, 2.0], [INF, 2.0], 0.5),  # beyond float32
        ([INF, 2.5], [100.0, 2.0], [INF, 2.0], 0.5),  # a tensor in between is beyond float32
        ([100.25, 2.0], [100.0, 2.0], [INF, 2.0], 0.25),
        ([INF, -INF, 3.5], [1.0, NAN, 3.0], [NAN, NAN, NAN], INF),
        ([INF, NAN, 3.5], [1.0, NAN, 3.0], [NAN, NAN, NAN], 0.5),  # unknown after rounding: a device may have all
        ([-20.0, 2.5], [-INF, 2.0], [-21.0, 2.0], 0.5),  # the logarithm of a difference that is nearly 0
    ],
)
def test_infinities_and_nan_are_compared_by_place(
    got: list[float], true: list[float], rounded: list[float], right: float
) -> None:
    assert largest_error(np.asarray(got, np.float32), np.array(true), np.array(rounded)) == right


@pytest.mark.parametrize("schedule", ["direct", "winograd2", "winograd4"])
def test_a_nan_may_spread_in_a_tile_of_winograds_and_no_further(
    schedule: str, device: DeviceInfo, tmp_path: Path
) -> None:
    net = Net((1, 16, 14, 15))
    body = net.act(net.conv("x", 16, 3, pads=1), "relu", name="conv_relu")
    stages = lower(net.graph(net.conv(body, 3, 1)))
    output = stages.launches.outputs[0].value
    artefact = stages.build(tmp_path, choices={"conv_relu": schedule})
    assert any("winograd" in launch for launch in artefact.launches) == (schedule != "direct")
    sample = normal_sample(artefact)["x"]
    sample[0, 3, 6, 9], sample[0, 5, 0, 0] = np.nan, np.inf
    result = verify(artefact, stages.unfolded, stages.launches, [device], [{"x": sample}])
    assert result.passed, format_verification(result)
    # A NaN of the device that no tile of Winograd's explains is wrong.
    got = Session(artefact, device).run({"x": sample})["y"]
    given = {"x": sample}
    launches = stages.launches
    rounded = rounded_evaluation(launches, sources(given), all_outputs(launches), as_computed(artefact, launches))[
        output
    ]
    true = stages.unfolded.evaluate(given)[stages.unfolded.outputs[0].value]
    assert largest_error(got, true, rounded) < 1e-3
    far = got.copy()
    far[0, 0, 13, 0] = np.nan
    assert largest_error(far, true, rounded) == np.inf


@pytest.mark.parametrize("schedule", ["direct", "winograd2", "winograd4"])
def test_large_numbers_may_overflow_in_a_tile_of_winograds(schedule: str, device: DeviceInfo, tmp_path: Path) -> None:
    """Sums of 2e38 times a few hundredths are far from float32's end, transformed inputs are beyond it."""
    net = Net((1, 16, 14, 15))
    conv = net.conv("x", 16, 3, pads=1, name="conv")
    (node,) = net.nodes
    assert isinstance(node.op, Conv)
    net.nodes = [Node("conv", replace(node.op, weight=0.01 * node.op.weight), node.inputs)]
    stages = lower(net.graph(net.act(conv, "tanh")))
    artefact = stages.build(tmp_path, choices={"n1": schedule})
    assert any("winograd" in launch for launch in artefact.launches) == (schedule != "direct")
    sample = normal_sample(artefact)["x"]
    sample[0, 3, 6, 9] = 2e38
    result = verify(artefact, stages.unfolded, stages.launches, [device], [{"x": sample}])
    assert all(check.passed for check in result.devices[0].launches), format_verification(result)
    assert all(output.passed for output in result.devices[0].outputs), format_verification(result)


def test_bits_of_the_c_host_may_differ_in_nan_only() -> None:
    """The sign and payload of NaN depend on the order of an instruction's operands."""

    def floats(*bits: int) -> np.ndarray:
        return np.array(bits, dtype=np.uint32).view(np.float32)

    assert same_bits(floats(0x3F800000, 0x7FC00000), floats(0x3F800000, 0xFFC00001))
    assert not same_bits(floats(0x3F800000), floats(0x3F800001))
    assert not same_bits(floats(0), floats(0x80000000))
    assert not same_bits(floats(0x7F800000), floats(0x7FC00000))
