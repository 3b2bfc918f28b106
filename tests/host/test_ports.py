"""Inputs and outputs of every number type, and names that only the model that was imported can have.

The right values are numpy's, or Python's whole numbers.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen import build
from codegen.errors import ParameterError, SpecError
from codegen.frontend import toml
from codegen.graph.domain import find_domain
from codegen.graph.ops.op import whole
from codegen.graph.types import TYPES
from codegen.runtime import artefact as artefacts
from codegen.runtime.artefact import Artefact
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import activate
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from codegen.runtime.samples import random_sample, read_sample, with_special_numbers
from codegen.runtime.verify import format_verification, verify
from tests.support.commands import clgen, only
from tests.support.generated_c import STRICT, do, program
from tests.support.values import save_npz

Array = NDArray[Any]
CPP = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")

COUNT = 24
FLOATS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5, 2.0**-24, -(2.0**-24), 1e-40, -1e-40, 0.1, 65504.0, 1e30]
# 2^-149 is the smallest float, 2^-150 lies half way to it from 0; 1 + 2^-24 half way to the next float from 1.
DOUBLES = [
    *(2.0**-149, -(2.0**-149), 2.0**-150, 1.5 * 2.0**-150, 2.0**-126, 2.0**-126 - 2.0**-151, 1 + 2.0**-24),
    *(1 + 3 * 2.0**-24, 1 - 2.0**-25, 3.4028235e38, 3.4028235677973366e38, -1e300, 5e-324, -5e-324, 1e-310),
]


def given(kind: str) -> Array:
    """Edge values of conversions from this type."""
    if kind == "bool":
        return np.resize(np.array([True, False, False]), COUNT)
    if kind == "float16":
        bits = [0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x3C00, 0x3C01, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x2E66]
        return np.resize(np.array(bits, np.uint16), COUNT).view(np.float16)
    if kind.startswith("float"):
        values = FLOATS if kind == "float32" else [*FLOATS, *DOUBLES]
        return np.resize(np.array(values), max(COUNT, len(values)))[: 2 * COUNT].astype(kind)
    info = np.iinfo(kind)
    low, high = int(info.min), int(info.max)
    values = [0, 1, -1, 2, low, low + 1, high, high - 1, 100, 127, 128, 2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3]
    values += [-(2**24) - 1, 2**31 - 1, 2**31, 2**40 + 2**16, 2**53 + 1, 2**53 + 3, 2**63 - 1, 2**63, 2**63 + 2**39]
    # Half way between two floats but for the last digit: rounding twice gives another number.
    values += [2**54 + 2**30 + 1, 2**54 + 2**30 - 1, 2**62 + 2**38 + 1, 2**62 + 2**38]
    return np.resize(np.array([n for n in values if low <= n <= high], dtype=kind), 2 * COUNT)


RESULTS = np.array(
    [
        *(
            0.0,
            -0.0,
            0.25,
            -0.25,
            0.99,
            -0.99,
            1.0,
            -1.0,
            1.9,
            -1.9,
            100.5,
            127.0,
            127.9,
            128.0,
            -128.0,
            -128.9,
            -129.0,
        ),
        *(255.0, 255.9, 256.0, 32767.5, 32768.0, -32769.0, 65535.9, 65536.0, 65504.0, 65519.0, 65520.0, 2.0**24),
        *(2.0**31 - 128, 2.0**31, -(2.0**31), 2.0**32 - 256, 2.0**32, 2.0**63 - 2.0**39, 2.0**63, -(2.0**63)),
        *(2.0**64 - 2.0**40, 2.0**64, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 2.0**-25, 3 * 2.0**-26),
        *(2.0**-24, 1.5 * 2.0**-24, 2.5 * 2.0**-24, 2.0**-14 - 2.0**-25, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 0.1, -0.3),
    ],
    dtype=np.float32,
)


def result(value: float, kind: str) -> Any:
    """A float as a number of an output's type, in Python's arithmetic."""
    if kind == "bool":
        return value != 0
    if math.isnan(value):
        return 0
    info = np.iinfo(kind)
    return max(
        int(info.min), min(int(info.max), int(value) if math.isfinite(value) else int(math.copysign(2**70, value)))
    )


def results(kind: str) -> Array:
    if kind.startswith("float"):
        with np.errstate(over="ignore"):
            return RESULTS.astype(kind)
    return np.array([result(float(v), kind) for v in RESULTS], dtype=kind)


def all_types() -> str:
    """A network that, for each type, copies an input of it, and copies floats to an output of it."""
    lines = ['[model]\nname = "ports"']
    for kind in TYPES:
        lines += [f'[[input]]\nname = "in_{kind}"\nfull_shape = [{given(kind).size}]\ntype = "{kind}"']
        lines += [f'[[input]]\nname = "floats_{kind}"\nfull_shape = [{RESULTS.size}]']
    for kind in TYPES:
        for name, source, count in (("read", "in", given(kind).size), ("made", "floats", RESULTS.size)):
            lines += [f'[[layer]]\nname = "{name}_{kind}"\nop = "reshape"\ninput = "{source}_{kind}"']
            lines += [f"full_shape = [1, {count}]"]
    for kind in TYPES:
        lines += [f'[[output]]\nname = "as_float_{kind}"\nfrom = "read_{kind}"']
        lines += [f'[[output]]\nname = "out_{kind}"\nfrom = "made_{kind}"\ntype = "{kind}"']
    return "\n".join(lines)


def built(text: str, folder: Path, weights: dict[str, Array] | None = None) -> Artefact:
    """The artefact of a spec."""
    if weights:
        save_npz(folder / "w.npz", weights)
    (folder / "net.toml").write_text(text, encoding="utf-8")
    return artefacts.read(build.build(build.lower(folder / "net.toml"), folder / "built", "cpu")[0])


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return built(all_types(), tmp_path_factory.mktemp("ports"))


def feeds() -> dict[str, Array]:
    return {f"in_{kind}": given(kind) for kind in TYPES} | {f"floats_{kind}": RESULTS for kind in TYPES}


def check(found: dict[str, Array], kind: str) -> None:
    with np.errstate(over="ignore"):
        right = {f"as_float_{kind}": given(kind).astype(np.float32), f"out_{kind}": results(kind)}
    for name, true in right.items():
        got = found[name].reshape(-1)
        assert got.dtype == true.dtype
        np.testing.assert_array_equal(got, true)  # NaN equals NaN
        if true.dtype.kind == "f":
            zeros = true == 0
            np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(true[zeros]))


@pytest.fixture(scope="module")
def found(ports: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Callable[[DeviceInfo], list[dict[str, Array]]]:
    """The results of pyopencl and the C host for all edge values, on a device."""
    library = compile_host(ports, tmp_path_factory.mktemp("host") / "host.so")
    known: dict[str, list[dict[str, Array]]] = {}

    def find(device: DeviceInfo) -> list[dict[str, Array]]:
        if device.platform not in known:
            with Host(ports, library, device) as host:
                assert host.selftest()
                known[device.platform] = [Session(ports, device).run(feeds()), host.run(feeds())]
        return known[device.platform]

    return find


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_converted_exactly(
    kind: str, device: DeviceInfo, found: Callable[[DeviceInfo], list[dict[str, Array]]]
) -> None:
    for outputs in found(device):
        check(outputs, kind)


def test_any_byte_but_zero_is_true(ports: Artefact, device: DeviceInfo) -> None:
    """An application may take another byte than 1 for true; numpy's arrays of bool hold such bytes too."""
    bytes_of_c = np.resize(np.array([0, 1, 2, 255], np.uint8), COUNT)
    outputs = Session(ports, device).run({**feeds(), "in_bool": bytes_of_c.view(np.bool_)})
    np.testing.assert_array_equal(outputs["as_float_bool"].reshape(-1), np.resize([0, 1, 1, 1], COUNT))


def test_every_type_verifies(ports: Artefact, device: DeviceInfo, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(all_types())
    lowered = build.lower(tmp_path / "net.toml")
    report = verify(ports, lowered.model.graph, lowered.launches, [device])
    assert report.passed, format_verification(report)
    assert all(check.bound == 0 for check in report.devices[0].launches if "float32_to" in check.title)


def test_samples_are_of_the_inputs_types(ports: Artefact) -> None:
    sample = random_sample(ports)
    for kind in TYPES:
        assert sample[f"in_{kind}"].dtype == kind
        assert with_special_numbers(sample)[f"in_{kind}"].dtype == kind
    assert 0 <= sample["in_uint8"].min() < 64 and 192 < sample["in_uint8"].max() <= 255
    assert -128 <= sample["in_int64"].min() < -64 and 64 < sample["in_int64"].max() <= 127
    assert set(sample["in_bool"].tolist()) == {False, True}


IMAGES = """
[model]
name = "images"
weights = "w.npz"
[[input]]
name = "image"
shape = {shape}
layout = "{layout}"
type = "uint8"
[[layer]]
name = "twice"
op = "depthwise_conv"
bias = false
[[output]]
name = "y"
layout = "{layout}"
type = "int16"
from = "twice"
"""


@pytest.mark.parametrize("channels", [3, 8, 9])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_images_of_bytes(layout: str, channels: int, device: DeviceInfo, tmp_path: Path) -> None:
    """Images are in channel blocks inside, in the user's order at both ends; their sizes are no multiples of four."""
    shape = [5, 7, channels] if layout == "NHWC" else [channels, 5, 7]
    text = IMAGES.format(shape=shape, layout=layout)
    artefact = built(text, tmp_path, {"twice.weight": np.full((channels, 1, 1, 1), -2, np.float32)})
    x = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
    right = -2 * x.astype(np.int16)
    assert len(artefact.launches) == 3
    with Host(artefact, compile_host(artefact, tmp_path / "host.so"), device) as host:
        assert host.selftest()
        for outputs in (Session(artefact, device).run({"image": x}), host.run({"image": x})):
            assert outputs["y"].dtype == np.int16
            np.testing.assert_array_equal(outputs["y"], right)


def test_the_normalization_of_an_image_is_part_of_its_conversion(tmp_path: Path) -> None:
    spec = IMAGES.format(shape=[3, 4, 4], layout="NCHW").replace(
        '[[layer]]\nname = "twice"', '[[layer]]\nname = "unit"\nop = "scale"\nbias = false\n[[layer]]\nname = "twice"'
    )
    weights = {"twice.weight": np.full((3, 1, 3, 3), 1, np.float32), "unit.scale": np.full(3, 1 / 255, np.float32)}
    artefact = built(
        spec.replace("bias = false\n[[output]]", "bias = false\npadding = 1\n[[output]]"), tmp_path, weights
    )
    assert len(artefact.launches) <= 3


def test_the_program_of_every_type(
    ports: Artefact, tool: Callable[[str], str], device: DeviceInfo, tmp_path: Path
) -> None:
    for compiler in ("gcc", "clang"):
        do([tool(compiler), *STRICT, "-c", ports.folder / "ports.c", "-o", tmp_path / "ports.o"])
        do([tool(compiler), *STRICT, "-c", ports.folder / "example.c", "-o", tmp_path / "example.o"])
    for compiler in ("g++", "clang++"):
        do([tool(compiler), "-x", "c++", *CPP, "-fsyntax-only", ports.folder / "ports.h"])
    header = (ports.folder / "ports.h").read_text()
    for declared in ("const uint8_t *in_uint8", "const double *in_float64", "int64_t *out_int64"):
        assert declared in header
    for kind in TYPES:
        counted = f"#define PORTS_INPUT_IN_{kind.upper()}"
        assert f"{counted}_COUNT  {given(kind).size}\n{counted}_BYTES  {given(kind).nbytes}\n" in header
    ran = subprocess.run(
        [program(tool("gcc"), ports.folder / "example.c", ports.folder, tmp_path / "example", (), ()), only(device)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **dict(activate().variables)},
    )
    lines = dict(line.split(": ", 1) for line in ran.stdout.splitlines())
    assert set(lines) == {f"{what}_{kind}" for kind in TYPES for what in ("as_float", "out")}
    # The numbers of the self-test in the inputs' types and, read as floats, in the outputs.
    graph = toml.load(ports.folder.parents[1] / "net.toml").graph
    made = find_domain(graph).inputs
    for kind in TYPES:
        values = made[f"in_{kind}"](whole(graph.shapes[f"in_{kind}"]))
        assert lines[f"as_float_{kind}"].split()[:8] == [f"{v:.6g}" for v in values[:8].tolist()]


SIMPLE = """
[model]
name = "net"
[[input]]
name = "x"
shape = [4]
{input}
[[layer]]
name = "r"
op = "relu"
[[output]]
name = "y"
from = "r"
{output}
"""


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('type = "unit8"', '"unit8" should be "float32", .*did you mean "uint8"'),
        ('type = "uint8"\nrange = [-1, 3]', r"range: \[-1.0, 3.0\] should be within uint8, from 0 to 255"),
        ('type = "int32"\nrange = [0.5, 3]', "should be two whole numbers for int32"),
        ('type = "bool"\nrange = [0, 2]', "within bool"),
        ('type = "float16"\nrange = [0, 1e5]', "within float16"),
        ('original = ""', '"" should be a string'),
    ],
)
def test_wrong_types_are_refused(extra: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(SIMPLE.format(input=extra, output=""))
    with pytest.raises(SpecError, match=message):
        toml.load(tmp_path / "net.toml")


def test_two_inputs_of_one_name_in_the_model_are_refused(tmp_path: Path) -> None:
    text = SIMPLE.format(input='original = "z"', output='\n[[input]]\nname = "z"\nshape = [4]')
    (tmp_path / "net.toml").write_text(text)
    with pytest.raises(SpecError, match='input "z": name: "z" is used twice; the names in a model must differ'):
        toml.load(tmp_path / "net.toml")


# What clgen run takes ------------------------------------------------------------------------------------------------


def saved(folder: Path, arrays: dict[str, Any]) -> Path:
    """An .npz of arrays of any names, as any zip program would make it."""
    path = folder / "in.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array))
    return path


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("uint8", np.array([[0, 1, 200, 255]])),
        ("int64", np.array([[-1, 0, 1, 2]], np.int8)),
        ("float64", np.array([[0, 0.1, np.nan, -np.inf]], np.float32)),
        ("float16", np.array([[0, 0.5, np.nan, 65504]], np.float64)),
        ("float16", np.array([[0, 1, 2, 2048]], np.int32)),
        ("bool", np.array([[0, 1, 1, 0]], np.uint8)),
        ("uint64", np.array([[0, 1, 2**63, 2**64 - 1]], np.uint64)),
    ],
)
def test_arrays_of_other_types_are_taken_where_nothing_is_lost(kind: str, array: Array, tmp_path: Path) -> None:
    artefact = built(SIMPLE.format(input=f'type = "{kind}"', output=""), tmp_path)
    got = read_sample(artefact, saved(tmp_path, {"x": array}))["x"]
    assert got.dtype == kind
    np.testing.assert_array_equal(got, array.astype(kind))


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("uint8", np.array([[0, 1, 2, 256]])),
        ("uint8", np.array([[0, 1, 2, -1]])),
        ("uint8", np.array([[0.0, 1.0, 2.0, 3.0]])),
        ("int32", np.array([[0.5, 1, 2, 3]], np.float32)),
        ("int64", np.array([[0, 1, 2, 2**63]], np.uint64)),
        ("uint64", np.array([[0, 1, 2, -1]], np.int64)),
        ("float16", np.array([[0.1, 0, 0, 0]], np.float32)),
        ("float16", np.array([[1e6, 0, 0, 0]])),
        ("float64", np.array([[2**53 + 1, 0, 0, 0]])),
        ("bool", np.array([[0, 1, 2, 1]])),
    ],
)
def test_arrays_that_would_lose_something_are_refused(kind: str, array: Array, tmp_path: Path) -> None:
    artefact = built(SIMPLE.format(input=f'type = "{kind}"\noriginal = "x:0"', output=""), tmp_path)
    remedy = rf"become {kind} without loss; .* with .astype\(np.{np.dtype(kind).name}\)"
    message = rf'input "x" \("x:0" in the model\) is of {array.dtype}, which does not {remedy}'
    with pytest.raises(ParameterError, match=message):
        read_sample(artefact, saved(tmp_path, {"x:0": array}))


NAMES = (
    *("input.1", "gpu_0/data_0", "input:0", "save_infer_model/scale_0.tmp_1", "537"),
    *("file", "allow_pickle", "a b", "x.npy", "ü/../é"),
)


@pytest.mark.parametrize("name", NAMES)
def test_run_takes_and_gives_the_models_own_names(name: str, has_device: None, tmp_path: Path) -> None:
    key = f'original = {json.dumps(name, ensure_ascii=False)}\ntype = "int8"'
    built(SIMPLE.format(input=key, output=key), tmp_path)
    x = np.array([[-3, -1, 0, 100]], np.int8)
    for taken in (name, "x"):
        saved(tmp_path, {taken: x})
        done = clgen("run", "built/net", "--inputs", "in.npz", "--outputs", "out.npz", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / "out.npz") as arrays:
            assert arrays.zip.namelist() == [f"{name}.npy"]
            y = arrays[f"{name}.npy"]
            assert y.dtype == np.int8
            np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_what_numpy_writes_under_such_names_is_read(has_device: None, tmp_path: Path) -> None:
    artefact = built(SIMPLE.format(input='original = "gpu_0/data_0:1"', output=""), tmp_path)
    x = np.ones((1, 4), np.float32)
    save_npz(tmp_path / "numpy.npz", {"gpu_0/data_0:1": x})
    np.testing.assert_array_equal(read_sample(artefact, tmp_path / "numpy.npz")["x"], x)


TWO = """
[model]
name = "net"
[[input]]
name = "a"
shape = [2]
original = "b"
[[input]]
name = "b"
shape = [2]
original = "c.1"
[[layer]]
name = "s"
op = "sub"
inputs = ["a", "b"]
[[output]]
name = "y"
from = "s"
"""


def test_a_name_of_the_model_comes_before_the_same_name_in_c(tmp_path: Path) -> None:
    artefact = built(TWO, tmp_path)
    one, two = np.full((1, 2), 1, np.float32), np.full((1, 2), 2, np.float32)
    sample = read_sample(artefact, saved(tmp_path, {"b": one, "c.1": two}))
    assert sample["a"][0, 0] == 1 and sample["b"][0, 0] == 2
    with pytest.raises(ParameterError, match=r'input "a" \("b" in the model\) is given by both of its names'):
        read_sample(artefact, saved(tmp_path, {"b": one, "a": two}))
    with pytest.raises(ParameterError, match=r'array "d" is no input of net; inputs: "a" \("b" in the model\), "b"'):
        read_sample(artefact, saved(tmp_path, {"d": one}))
    with pytest.raises(ParameterError, match=r'input "b" \("c.1" in the model\) is missing'):
        read_sample(artefact, saved(tmp_path, {"a": one}))


HOSTILE = (
    "a */ int injected = 1; /* b",
    "*/\n#error injected\n/*",
    "/*/ // */",
    "line\r\nbreak\u2028and\x0b\x00\x1b[31m",
    'quote " \\" \\',
    "??/\n??/ trigraph",
    "bidi \u202e \u2066 reversed",
    "`code` | cell | <b>bold</b> & ![x](y) ``",
    "\\",
    "x" * 100_000,
    "*/" * 50_000,
    "\n" * 5_000,
)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_of_a_model_gets_out_of_its_comment(
    name: str, tool: Callable[[str], str], has_device: None, tmp_path: Path
) -> None:
    key = f"original = {json.dumps(name)}"
    layer = SIMPLE.replace('op = "relu"', f'op = "relu"\n{key.replace("{", "{{").replace("}", "}}")}')
    artefact = built(layer.format(input=key, output=key), tmp_path)
    assert artefact.inputs[0]["original"] == artefact.outputs[0]["original"] == name
    plain = tmp_path / "plain"
    plain.mkdir()
    usual = built(SIMPLE.format(input="", output=""), plain)
    code = [
        subprocess.run([tool("gcc"), "-E", "-P", folder / "net.h"], capture_output=True, text=True, check=True).stdout
        for folder in (artefact.folder, usual.folder)
    ]
    assert code[0] == code[1]  # without comments the header is as if there were no such name
    for compiler in ("gcc", "clang"):
        do([tool(compiler), *STRICT, "-fsyntax-only", artefact.folder / "net.c", artefact.folder / "example.c"])
    for compiler in ("g++", "clang++"):
        do([tool(compiler), "-x", "c++", *CPP, "-fsyntax-only", artefact.folder / "net.h"])
    for file in artefact.folder.iterdir():
        if file.suffix in (".h", ".c", ".cl", ".md", ".txt"):
            text = file.read_text()
            assert all(c.isprintable() or c == "\n" for c in text) and max(map(len, text.splitlines())) < 700
    readme = (artefact.folder / "README.md").read_text()
    row = next(line for line in readme.splitlines() if line.startswith("| `x` | <code>"))
    assert row.count("|") == 3 and "<b>" not in row
    x = np.array([[-1, 0, 1, 2]], np.float32)
    saved(tmp_path, {name if "\0" not in name and len(name) < 60_000 else "x": x})
    done = clgen("run", "built/net", "--inputs", "in.npz", "--outputs", "out.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays[arrays.files[0]], np.maximum(x, 0))
