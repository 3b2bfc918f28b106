"""Comments of the generated code: which layers a launch computes, and where the spec has them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from codegen import build
from codegen.emit.literals import in_comment
from codegen.frontend.spec.place import Place
from codegen.frontend.spec.reader import parse_document
from tests.support.generated_c import STRICT, Tool, do
from tests.support.needs import ROOT
from tests.support.values import save_npz

SPEC = '''\
[model]
name = "net"
weights = "net.npz"
# [[layer]] in a comment

[[input]]
name = "x"
shape = [4, 6, 6]
original = """
[[layer]]
name = "no layer" \\"""
[[layer]]"""

[[layer]]
name = "stem"
op = "conv"
batch_norm = { epsilon = 1e-3 }

  [[ "layer" ]]   # an odd header, but one
name = "act"
op = "relu"

[[layer]]
name = "shifted"
original = "body/Shift*/"
op = "batch_norm"
epsilon = 1e-3
input = "act"

[[layer]]
name = "head"
op = "conv"

[[layer]]
name = "sum"
op = "add"
inputs = ["head", "act"]

[[output]]
name = "y"
from = "sum"
'''


def written(folder: Path, spec: str = SPEC) -> Path:
    arrays: dict[str, np.ndarray] = {"stem.weight": np.ones((4, 4, 1, 1)), "head.weight": np.ones((4, 4, 1, 1))}
    for name in ("stem.bn", "shifted"):
        arrays |= {f"{name}.running_mean": np.zeros(4), f"{name}.running_var": np.ones(4)}
    save_npz(folder / "net.npz", {name: array.astype(np.float32) for name, array in arrays.items()})
    path = folder / "net.toml"
    path.write_text(spec)
    return path


def kernels(spec: Path, backend: str) -> str:
    """The text with the kernels, without the characters that make it a comment of several lines."""
    folder, _ = build.build(build.lower(spec, backend=backend), spec.parent / backend, "cpu")
    name = folder.name
    return re.sub(r"\n *\* +", " ", (folder / (f"{name}.cl" if backend == "opencl" else f"{name}.c")).read_text())


def header_line(text: str, layer: str) -> int:
    """The line of the header before the layer's name."""
    lines = text.splitlines()
    at = lines.index(f'name = "{layer}"')
    return max(k for k, line in enumerate(lines[:at], 1) if line.strip().startswith("[["))


@pytest.mark.parametrize("backend", ["opencl", "c"])
def test_launches_name_their_layers_and_lines(backend: str, tmp_path: Path) -> None:
    """A BatchNorm that is folded into the next convolution, and an addition, belong to the convolution's launch."""
    text = kernels(written(tmp_path), backend)
    line = {layer: header_line(SPEC, layer) for layer in ("stem", "act", "shifted", "head", "sum")}
    assert line["stem"] == 14 and line["act"] == 19
    first = f"stem (line {line['stem']}), act (line {line['act']}): conv -> relu, 1x4x6x6 -> 1x4x6x6"
    second = f'shifted (line {line["shifted"]}, node "body/Shift\\u002a/"), head (line {line["head"]}), sum'
    second += f" (line {line['sum']}): conv -> add, 1x4x6x6, 1x4x6x6 -> 1x4x6x6"
    run = text.index("static void run_network" if backend == "c" else "void net_network")
    for described in (first, second):
        assert text.count(f"/* {described}") == 2
        assert text.index(described) < run < text.index(described, run)


def test_every_layer_of_digits_is_at_its_call() -> None:
    spec = (ROOT / "specs" / "digits.toml").read_text()
    layers = re.findall(r'^\[\[layer\]\]\nname = "(.*?)"', spec, re.MULTILINE)
    text = (ROOT / "generated" / "digits" / "digits.cl").read_text()
    above, run = text.split("void digits_network(")
    lines = [line.partition("#")[0].rstrip() for line in spec.splitlines()]
    assert len(layers) > 15
    for layer in layers:
        described = f"{layer} (line {header_line(chr(10).join(lines), layer)})"
        assert described in above and described in run


def test_a_layer_without_a_header_has_no_line(tmp_path: Path) -> None:
    spec = 'layer = [{ name = "r", op = "relu" }]\n[model]\nname = "net"\n'
    spec += '[[input]]\nname = "x"\nshape = [4]\n[[output]]\nname = "y"\nfrom = "r"\n'
    assert "/* r: identity -> relu, 1x4 -> 1x4 */" in kernels(written(tmp_path, spec), "c")


def test_lines_of_headers() -> None:
    text = "a = '''\n[[layer]]\n''''\n\n[[layer]] # x\nb = [\n 1, # [[layer]]\n]\n"
    text += "c = '[[layer]]'\n\t[['layer']]\n[[layers]]\n"
    document = parse_document(text.encode(), Place("x.toml"))
    assert document.lines("layer") == [5, 10] and document.lines("layers") == [11] and document.lines("input") == []
    crlf = parse_document(text.replace("\n", "\r\n").encode(), Place("x.toml"))
    assert crlf.lines("layer") == [5, 10]


def test_an_imported_model_names_its_nodes(tmp_path: Path) -> None:
    """Built from the model file, and from the spec that an import of it writes: the same files."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("x", "y"))
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/body/body.0/Conv"),
        helper.make_node("Relu", ["c"], ["y"], name="act"),
    ]
    graph = helper.make_graph(nodes, "net", [x], [y], [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    spec, _ = build.imported(tmp_path / "net.onnx", tmp_path, None, {})
    text = kernels(spec, "c")
    lines = spec.read_text().splitlines()
    described = f'body.0 (line {lines.index("[[layer]]") + 1}, node "/body/body.0/Conv"): conv -> relu,'
    assert described in text
    assert kernels(tmp_path / "net.onnx", "c") == text


HOSTILE = (
    *("*/ #error injected /*", "/*/", "a ??/", "??/ b", "\\", "*\\ /", "\n*/\n#error\n/*", "\u202e*/", "\x00\x1b[31m"),
)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_gets_out_of_a_comment(name: str, tool: Tool, tmp_path: Path) -> None:
    """Compilers see the same code as without a name, and have nothing to warn of."""
    shown = in_comment(name)
    assert shown.isascii() and shown.isprintable() and not re.search(r"\*/|/\*|\?\?", shown)
    source = tmp_path / "comment.c"
    source.write_text(f"/* {shown}\n * {shown} */\nint here;\n")
    for compiler in ("gcc", "clang"):
        command = [tool(compiler), "-std=c99", "-Wall", "-Wextra", "-Werror", "-E", "-P", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("int here;", "")


@pytest.mark.parametrize("backend", ["opencl", "c"])
def test_hostile_names_of_nodes_leave_the_code_as_it_is(backend: str, tool: Tool, tmp_path: Path) -> None:
    """Many names in one comment, wrapped wherever a line ends, and one for each table of the host's."""
    layers = "".join(
        f'[[layer]]\nname = "l{k}"\nop = "{("abs", "sqrt")[k % 2]}"\noriginal = {json.dumps(name)}\n'
        for k, name in enumerate(HOSTILE * 3)
    )
    spec = f'[model]\nname = "net"\n[[input]]\nname = "x"\nshape = [4]\n{layers}'
    spec += f'[[output]]\nname = "y"\nfrom = "l{3 * len(HOSTILE) - 1}"\n'
    codes = []
    for text in (spec, re.sub("original = .*\n", "", spec)):
        (tmp_path / "net.toml").write_text(text)
        folder, _ = build.build(build.lower(tmp_path / "net.toml", backend=backend), tmp_path, "cpu", force=True)
        for compiler in ("gcc", "clang"):
            do([tool(compiler), *STRICT, "-fsyntax-only", folder / "net.c"])
        kernels_text = (folder / ("net.c" if backend == "c" else "net.cl")).read_text()
        command = [tool("gcc"), "-E", "-P", "-w", "-x", "c", "-"]
        codes.append(
            subprocess.run(command, input=kernels_text, cwd=folder, capture_output=True, text=True, check=True)
        )
    assert codes[0].stdout == codes[1].stdout


VIEWS = """
[model]
name = "net"
[[input]]
name = "x"
shape = [8, 4, 4]
[[layer]]
name = "flat"
op = "flatten"
[[layer]]
name = "soft"
op = "softmax"
[[layer]]
name = "image"
op = "reshape"
shape = [8, 4, 4]
[[layer]]
name = "same"
op = "max_pool"
kernel = 1
stride = 1
[[output]]
name = "y"
from = "same"
"""


@pytest.mark.parametrize("backend", ["opencl", "c"])
def test_layers_that_need_no_launch_are_named_where_others_read_or_write_them(backend: str, tmp_path: Path) -> None:
    text = kernels(written(tmp_path, VIEWS), backend)
    line = {layer: header_line(VIEWS, layer) for layer in ("flat", "soft", "image", "same")}
    assert text.count("/* " + ", ".join(f"{layer} (line {at})" for layer, at in line.items()) + ": softmax, ") == 2


CHAIN = """
[model]
name = "net"
weights = "net.npz"
[[input]]
name = "x"
shape = [4, 6, 6]
[[layer]]
name = "stem"
op = "conv"
[[layer]]
name = "shift"
op = "add"
inputs = ["stem", "four"]
[[layer]]
name = "shifted"
op = "batch_norm"
epsilon = 1e-3
[[layer]]
name = "other"
op = "conv"
input = "x"
weight = "head.weight"
[[layer]]
name = "both"
op = "concat"
inputs = ["shifted", "other"]
[[layer]]
name = "act"
op = "relu"
[[constant]]
name = "four"
[[output]]
name = "y"
from = "act"
"""


def test_layers_that_are_folded_one_after_the_other_or_distributed_are_named(tmp_path: Path) -> None:
    """Two maps fold into a convolution; a concatenation's activation is computed by both parts."""
    spec = written(tmp_path, CHAIN)
    with np.load(tmp_path / "net.npz") as arrays:
        save_npz(tmp_path / "net.npz", {**arrays, "four": np.full((1, 4, 1, 1), 4, np.float32)})
    launches = build.lower(spec).layers
    named = sorted(tuple(layer.name for layer in layers) for launch, layers in launches.items() if launch != "act")
    assert named == [("other", "act"), ("stem", "shift", "shifted", "act")]
