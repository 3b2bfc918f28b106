"""Specs and parameters that are wrong: whose fault, the place, the value and the remedy; and never a traceback."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from codegen.errors import ClgenError, ParameterError, SpecError
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.parameters.archive import READERS, Unreadable
from codegen.frontend.spec.naming import layer_fault, model_fault, port_fault
from codegen.frontend.toml import load

GOOD = """\
[model]
name = "net"
weights = "net.npz"

[[input]]
name = "x"
shape = [4, 6, 6]

[[layer]]
name = "stem"
op = "conv"
padding = 1
stride = 2
batch_norm = { epsilon = 1e-3 }
activation = "relu"

[[layer]]
name = "side"
op = "max_pool"
input = "x"
kernel = 2

[[layer]]
name = "both"
op = "concat"
inputs = ["stem", "side"]
axis = 1

[[layer]]
name = "head"
op = "dense"

[[output]]
name = "y"
from = "head"

[example]
data = "samples.npz"
"""


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "stem.weight": rng.standard_normal((8, 4, 3, 3)).astype(np.float32),
        "stem.bn.weight": np.ones(8, np.float32),
        "stem.bn.bias": np.zeros(8, np.float32),
        "stem.bn.running_mean": np.zeros(8, np.float32),
        "stem.bn.running_var": np.ones(8, np.float32),
        "head.weight": rng.standard_normal((5, 108)).astype(np.float32),
    }


def samples() -> dict[str, np.ndarray]:
    return {"image": np.zeros((3, 4, 6, 6), np.float32), "label": np.array([0, 4, 2])}


Change = Callable[[dict[str, np.ndarray]], Any]
Refuse = Callable[..., str]


def write(folder: Path, text: str, change: Change | None = None, change_samples: Change | None = None) -> Path:
    for name, tensors, edit in (("net", arrays(), change), ("samples", samples(), change_samples)):
        if edit is not None:
            edit(tensors)
        with (folder / f"{name}.npz").open("wb") as file:
            np.savez(file, **tensors)  # type: ignore[arg-type]
    path = folder / "net.toml"
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """The message with which a spec is refused, after the file's name."""
    monkeypatch.chdir(tmp_path)

    def message(
        text: str, change: Change | None = None, error: type[ClgenError] = SpecError, samples: Change | None = None
    ) -> str:
        write(Path(), text, change, samples)
        with pytest.raises(ClgenError) as caught:
            load(Path("net.toml"))
        assert type(caught.value) is error, caught.value
        found = str(caught.value)
        assert found.startswith("net.toml: "), found
        assert found.isprintable(), found
        return found.removeprefix("net.toml: ")

    return message


def test_the_good_spec_is_good(tmp_path: Path) -> None:
    model = load(write(tmp_path, GOOD))
    assert model.unused == ()
    assert model.example is not None


def edited(old: str, new: str) -> str:
    """The good spec with the first of these replaced."""
    assert old in GOOD, old
    return GOOD.replace(old, new, 1)


def layer(body: str, shape: str = "[4, 6, 6]", more: str = "") -> str:
    """A spec of one layer "a"."""
    return f"""
        [model]
        name = "net"
        weights = "net.npz"
        {more}
        [[input]]
        name = "x"
        shape = {shape}
        [[layer]]
        name = "a"
        {body}
        [[output]]
        name = "y"
        from = "a"
        """


STEM = 'op = "conv"\npadding = 1\nstride = 2\n'

# The spec, and the whole message or, ending in "...", how it starts.
SPECS: dict[str, tuple[str, str]] = {
    # The file
    "not TOML": ("[model", "is not valid TOML: Expected ']' at the end of a table declaration..."),
    "nested": ("a = " + "[" * 100000, "is not valid TOML: ..."),
    "long number": ("a = " + "9" * 5000, "is not valid TOML: ..."),
    "empty": ("", "has no [model] table"),
    "unknown table": (GOOD + "[[layers]]\n", 'unknown key "layers"; did you mean "layer"?'),
    "key outside": (
        "version = 1\n" + GOOD,
        'unknown key "version"; known are "model", "input", "constant", "layer", "output" and...',
    ),
    "[layer]": (
        re.sub(r"\[\[layer\]\].*?(?=\[\[output)", '[layer]\nname = "y"\n', GOOD, flags=re.DOTALL),
        "[layer] should be [[layer]], with two brackets: write it before each layer, its keys below",
    ),
    "[layer] twice": (
        GOOD.replace("[[layer]]", "[layer]  # one of them"),
        "is not valid TOML: Cannot declare ('layer',) twice (at line 17, column 7); in line 9 write [[layer]], with "
        "two brackets, as before each layer",
    ),
    "[layer] behind [[layer]]": (
        edited('[[layer]]\nname = "side"', '[layer]\nname = "side"'),
        "is not valid TOML: Cannot declare ('layer',) twice (at line 17, column 7); in line 17 write [[layer]], with "
        "two brackets, as before each layer",
    ),
    "[[layer]] behind [layer]": (
        edited("[[layer]]", "[ layer ]"),
        "is not valid TOML: Cannot overwrite a value (at line 17, column 8); in line 9 write [[layer]], with two "
        "brackets, as before each layer",
    ),
    "[input]": (
        edited("[[input]]", "[input]"),
        "[input] should be [[input]], with two brackets: write it before each input, its keys below",
    ),
    "[output]": (
        edited("[[output]]", "[output]"),
        "[output] should be [[output]], with two brackets: write it before each output, its keys below",
    ),
    "[[output]] and [output]": (
        GOOD + '[output]\nname = "z"\n',
        "is not valid TOML: Cannot declare ('output',) twice (at line 39, column 8); in line 39 write [[output]], with "
        "two brackets, as before each output",
    ),
    "layer = 3": (
        "layer = 3\n" + re.sub(r"\[\[layer\]\].*?(?=\[\[output)", "", GOOD, flags=re.DOTALL),
        "layer should be an array of tables: write [[layer]] before each, its keys below",
    ),
    "[[model]]": (
        edited("[model]", "[[model]]"),
        "[[model]] should be [model], with one bracket: write it once, its keys below",
    ),
    "[[model]] and [model]": (
        "[[model]]\n" + GOOD,
        "is not valid TOML: Cannot declare ('model',) twice (at line 2, column 7); in line 1 write [model], with one "
        "bracket, once",
    ),
    "model = 3": (
        "model = 3\n" + GOOD.partition("\n\n")[2],
        "model should be a table: write [model] once, its keys below",
    ),
    "[[example]]": (
        edited("[example]", "[[example]]"),
        "[[example]] should be [example], with one bracket: write it once, its keys below",
    ),
    "no layers": (
        '[model]\nname = "n"\n[[input]]\nname = "x"\nshape = [1]\n',
        "has no layer: write at least one [[layer]]",
    ),
    "no outputs": (GOOD.replace("[[output]]", "[[layer]]").replace("from", "op"), 'layer "y": op: unknown operator...'),
    "no output": (
        edited('[[output]]\nname = "y"\nfrom = "head"\n', ""),
        "has no output: write at least one [[output]]",
    ),
    "no input": (
        edited('[[input]]\nname = "x"\nshape = [4, 6, 6]\n', ""),
        "has no input: write at least one [[input]]",
    ),
    "a name without quotes": (
        edited('name = "net"', "name = net"),
        "is not valid TOML: Invalid value (at line 2, column 8): name = net; strings stand in double quotes, true and "
        "false are lower case",
    ),
    "Python's True": (
        edited("padding = 1", "bias = True"),
        "is not valid TOML: Invalid value (at line 12, column 8): bias = True; strings stand in double quotes, true "
        "and false are lower case",
    ),
    "a key twice": (
        edited("padding = 1", "padding = 1\npadding = 2"),
        "is not valid TOML: Cannot overwrite a value (at line 13, column 12): padding = 2",
    ),
    "a list without brackets": (
        edited("[4, 6, 6]", "4, 6, 6  \u2028" + "x" * 100),
        "is not valid TOML: Expected newline or end of document after a statement (at line 7, column 10): shape = 4, "
        "6, 6",
    ),
    # [model]
    "no name": (edited('name = "net"\n', ""), "model: name: is missing; it should be a string"),
    "keyword": (
        edited('"net"', '"int"'),
        'model: name: "int" is a keyword of C or C++; take another, such as "int_net"',
    ),
    "no identifier": (
        edited('"net"', '"2d-net"'),
        'model: name: "2d-net" should be a C identifier: letters, digits and single underscores between, starting with '
        'a letter; take another, such as "net_2d_net"',
    ),
    "control": (edited('"net"', '"n\\u0007"'), 'model: name: "n\\u0007" should be a C identifier...'),
    "batch 0": (edited('"net"', '"net"\nbatch = 0'), "model: batch: 0 should be a whole number >= 1"),
    "batch true": (edited('"net"', '"net"\nbatch = true'), "model: batch: true should be a whole number >= 1"),
    "batch 1.0": (edited('"net"', '"net"\nbatch = 1.0'), "model: batch: 1.0 should be a whole number >= 1"),
    "huge batch": (
        edited('"net"', '"net"\nbatch = 99999999999'),
        "model: batch: 99999999999 should be a whole number >= 1",
    ),
    "layout": (
        edited('"net"', '"net"\nweight_layout = "OHWI"'),
        'model: weight_layout: "OHWI" should be "OIHW" or "HWIO"',
    ),
    "suffix": (
        edited("net.npz", "net.dat"),
        'model: weights: "net.dat" should be a ".npz", ".safetensors", ".pt", ".pth", ".bin" or ".ckpt" file',
    ),
    "weights 3": (edited('"net.npz"', "3"), "model: weights: 3 should be the path of a file"),
    "weights NUL": (edited("net.npz", "n\\u0000.npz"), 'model: weights: "n\\u0000.npz" should be the path of a file'),
    "needs weights": (
        edited('weights = "net.npz"\n', ""),
        'layer "stem": weight: needs the tensor "stem.weight" or "stem.kernel", but [model] names no file: write '
        'weights = "..." there',
    ),
    # [[input]]
    "input without name": (edited('name = "x"\n', ""), "input 1: name: is missing; it should be a string"),
    "input named model": (
        edited('"x"\nshape', '"model"\nshape'),
        'input "model": name: "model" is the name of another argument of the generated functions; take another, such '
        'as "model_data"; with original = "model" clgen run knows this name too',
    ),
    "input named as the model": (
        edited('"x"\nshape', '"Net"\nshape'),
        'input "Net": name: "Net" is the name of the model; ...',
    ),
    "range upside down": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [1, 0]"),
        'input "x": range: [1, 0] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range empty": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [1, 1.0]"),
        'input "x": range: [1, 1.0] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range one number": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [1]"),
        'input "x": range: [1] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range three numbers": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [0, 1, 2]"),
        'input "x": range: [0, 1, 2] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range no list": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = 255"),
        'input "x": range: 255 should be [low, high], two finite float32 numbers with low < high',
    ),
    "range infinite": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [0, inf]"),
        'input "x": range: [0, inf] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range not a number": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [nan, 1]"),
        'input "x": range: [nan, 1] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range beyond float32": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [0, 1e39]"),
        'input "x": range: [0, 1e+39] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range the same in float32": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [1, 1.00000001]"),
        'input "x": range: [1, 1.00000001] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range flags": (
        edited("[4, 6, 6]", "[4, 6, 6]\nrange = [false, true]"),
        'input "x": range: [false, true] should be [low, high], two finite float32 numbers with low < high',
    ),
    "range text": (
        edited("[4, 6, 6]", '[4, 6, 6]\nrange = ["0", 1]'),
        'input "x": range: ["0", 1] should be [low, high], two finite float32 numbers with low < high',
    ),
    "shape 0": (
        edited("[4, 6, 6]", "[4, 0, 6]"),
        'input "x": shape: [4, 0, 6] should be a list of 1 to 5 sizes without the batch, such as [3, 224, 224]',
    ),
    "shape of 6": (
        edited("[4, 6, 6]", "[1, 1, 1, 4, 6, 6]"),
        'input "x": shape: [1, 1, 1, 4, 6, 6] should be a list of 1 to 5 sizes...',
    ),
    "shape a number": (edited("[4, 6, 6]", "4"), 'input "x": shape: 4 should be a list of 1 to 5 sizes...'),
    "shape of bools": (edited("[4, 6, 6]", "[4, true]"), 'input "x": shape: [4, true] should be a list...'),
    "shape huge": (
        edited("[4, 6, 6]", "[4, 65536, 65536]"),
        'input "x": shape: makes a tensor [1, 4, 65536, 65536] of 17179869184 elements; 2147483647 is the most',
    ),
    "input layout": (
        edited("[4, 6, 6]", '[4, 6, 6]\nlayout = "CHW"'),
        'input "x": layout: "CHW" should be "NCHW" or "NHWC"',
    ),
    "two inputs alike": (
        edited('[[layer]]\nname = "stem"', '[[input]]\nname = "X"\nshape = [1]\n[[layer]]\nname = "stem"'),
        'input "X": name: "X" is too like "x": both become X in C; take another, such as "X_2"',
    ),
    "unused input": (
        edited('[[layer]]\nname = "stem"', '[[input]]\nname = "z"\nshape = [1]\n[[layer]]\nname = "stem"\ninput = "x"'),
        'input "z": no output depends on it: remove it or use it',
    ),
    "which input": (
        edited('[[layer]]\nname = "stem"', '[[input]]\nname = "z"\nshape = [1]\n[[layer]]\nname = "stem"'),
        'layer "stem": input: is missing: there is more than one input to choose from',
    ),
    # [[layer]]
    "layer without name": (edited('name = "stem"\n', ""), "layer 1: name: is missing"),
    "layer named 3": (edited('"side"', "3"), "layer 2: name: 3 should be a string"),
    "layer with a bad name": (
        edited('"stem"\nop', '"st/em"\nop'),
        'layer "st/em": name: "st/em" should be letters, digits, _ . and -, starting with a letter or _; take another, '
        'such as "st.em"',
    ),
    "layer with a comment's end": (
        edited('"stem"\nop', '"a*/b"\nop'),
        'layer "a*/b": name: "a*/b" should be letters...',
    ),
    "layer with a template": (edited('"stem"\nop', '"a{{b"\nop'), 'layer "a{{b": name: ...'),
    "layer with a newline": (edited('"stem"\nop', '"a\\n"\nop'), 'layer "a\\n": name: ...'),
    "layer twice": (
        edited('"side"\nop', '"stem"\nop'),
        'layer "stem": name: "stem" is used twice; take another, such as "stem_2"',
    ),
    "layers alike": (
        GOOD.replace("stem", "a.b").replace("side", "A_b"),
        'layer "A_b": name: "A_b" is too like "a.b": both become A_B in C; take another, such as "A_b_2"',
    ),
    "layer named as the input": (
        edited('"side"\nop', '"X"\nop'),
        'layer "X": name: "X" is too like "x": both become X in C...',
    ),
    "no op": (edited('op = "dense"', ""), 'layer "head": op: is missing'),
    "op 3": (edited('"dense"', "3"), 'layer "head": op: 3 should be a string'),
    "unknown op": (
        edited('"concat"', '"concatenate"'),
        'layer "both": op: unknown operator "concatenate"; did you mean "concat"?',
    ),
    "op of a framework": (
        edited('"dense"', '"Linear"'),
        'layer "head": op: unknown operator "Linear"; did you mean "dense"?',
    ),
    "op in capitals": (
        edited('"concat"', '"Concat"'),
        'layer "both": op: unknown operator "Concat"; did you mean "concat"?',
    ),
    "op like none": (edited('"concat"', '"zzz"'), 'layer "both": op: unknown operator "zzz"; known are "conv", ...'),
    **{
        f"op {name}": (
            edited('"dense"', f'"{name}"'),
            f'layer "head": op: unknown operator "{name}"; did you mean "{meant}"?',
        )
        for name, meant in {
            "Conv2d": "conv",
            "Conv2DTranspose": "conv_transpose",
            "ConvTranspose2d": "conv_transpose",
            "DepthwiseConv2D": "depthwise_conv",
            "BatchNorm2d": "batch_norm",
            "MaxPooling2D": "max_pool",
            "avg_pool2d": "average_pool",
            "AdaptiveAvgPool2d": "global_average_pool",
            "GlobalAveragePooling2D": "global_average_pool",
            "Concatenate": "concat",
            "UpSampling2D": "upsample",
            "ZeroPadding2D": "pad",
            "LeakyReLU": "leaky_relu",
            "Dense": "dense",
        }.items()
    },
    "op that none is like": (
        edited('"dense"', '"lstm"'),
        'layer "head": op: unknown operator "lstm"; known are "conv", "depthwise_conv", "conv_transpose", "dense", '
        '"bias", "scale", "batch_norm", "max_pool", "average_pool", "lp_pool", "global_max_pool", '
        f'"global_average_pool", "add", "sub", "mul", "div" and {len(OPERATORS) - 16} more: docs/spec.md',
    ),
    "pad": (edited("padding", "pad"), 'layer "stem": unknown key "pad"; did you mean "padding"?'),
    "filters": (
        edited("padding = 1", "filters = 8"),
        'layer "stem": unknown key "filters": the weight\'s shape says it; leave the key out',
    ),
    "kernel_size of a convolution": (
        edited("padding = 1", "kernel_size = 3"),
        'layer "stem": unknown key "kernel_size": the weight\'s shape says it; leave the key out',
    ),
    "activation none": (
        edited('"relu"', '"linear"'),
        'layer "stem": activation: "linear" changes nothing: leave the key out',
    ),
    "dropout": (
        edited('"concat"', '"dropout"'),
        'layer "both": op: "dropout" does nothing in inference: leave the layer out',
    ),
    "unknown key": (edited("stride", "strides"), 'layer "stem": unknown key "strides"; did you mean "stride"?'),
    "key of a framework": (
        edited("kernel", "pool_size"),
        'layer "side": unknown key "pool_size"; did you mean "kernel"?',
    ),
    "key with a newline": (
        edited("stride", '"str\\nide"'),
        'layer "stem": unknown key "str\\nide"; did you mean "stride"?',
    ),
    "key like none": (
        edited("axis", "zzz"),
        'layer "both": unknown key "zzz"; known are "name", "op", "inputs", "axis", ...',
    ),
    "input of a concat": (
        edited('inputs = ["stem", "side"]', 'input = "stem"'),
        'layer "both": unknown key "input"; did you mean "inputs"?',
    ),
    "inputs of a concat": (
        edited('inputs = ["stem", "side"]', ""),
        'layer "both": inputs: is missing; it should be a list of 1 or more names',
    ),
    "one input of an add": (
        layer('op = "add"\ninputs = ["x"]'),
        'layer "a": inputs: ["x"] should be a list of 2 or more names',
    ),
    "three inputs of a sub": (
        layer('op = "sub"\ninputs = ["x", "x", "x"]'),
        'layer "a": inputs: ["x", "x", "x"] should be a list of 2 names',
    ),
    "input and inputs": (
        edited('input = "x"', 'input = "x"\ninputs = ["x"]'),
        'layer "side": has both input and inputs; drop one',
    ),
    "unknown input": (
        edited('input = "x"', 'input = "stm"'),
        'layer "side": input: "stm" is neither a layer nor an input; did you mean "stem"?',
    ),
    "unknown inputs": (
        edited('["stem", "side"]', '["stem", "sidee"]'),
        'layer "both": inputs[1]: "sidee" is neither a layer nor an input; did you mean "side"?',
    ),
    "cycle": (
        edited('input = "x"', 'input = "both"'),
        'layer "side": layers "side" and "both" form a cycle: each reads the one before it',
    ),
    "itself": (
        edited('input = "x"', 'input = "side"'),
        'layer "side": reads itself',
    ),
    "unused layer": (
        edited('["stem", "side"]', '["stem"]'),
        'layer "side": no output depends on "side": remove what is not needed or add an [[output]]',
    ),
    "too large": (
        layer('op = "upsample"\nscale = 100000'),
        'layer "a": makes a tensor [1, 4, 600000, 600000] of 1440000000000 elements; 2147483647 is the most',
    ),
    # [[output]]
    "output of nothing": (
        edited('from = "head"', 'from = "hed"'),
        'output "y": from: "hed" is neither a layer nor an input; did you mean "head"?',
    ),
    "output by name": (
        edited('from = "head"', ""),
        'output "y": name: "y" is neither a layer nor an input; write from = "..." with the one that it is',
    ),
    "output named as the input": (
        edited('name = "y"', 'name = "X"'),
        'output "X": name: "X" is too like "x": both become X...',
    ),
    "output named as PyTorch does": (
        edited('name = "y"', 'name = "input.1"'),
        'output "input.1": name: "input.1" should be a C identifier: letters, digits and single underscores between, '
        'starting with a letter; take another, such as "input_1"; with original = "input.1" clgen run knows this name '
        "too",
    ),
    "output named status": (
        edited('name = "y"', 'name = "status"'),
        'output "status": name: "status" is the name of another...',
    ),
    # Attributes
    "stride 0": (
        layer('op = "conv"\nstride = 0'),
        'layer "a": stride: 0 should be a whole number >= 1 or a list with one for each spatial axis, such as [2, 2]',
    ),
    "stride true": (
        layer('op = "conv"\nstride = true'),
        'layer "a": stride: true should be a whole number >= 1 or a list...',
    ),
    "stride of strings": (layer('op = "conv"\nstride = ["1", 1]'), 'layer "a": stride: ["1", 1] should be...'),
    "stride of three": (
        layer('op = "conv"\nstride = [1, 1, 1]'),
        'layer "a": stride: [1, 1, 1] should have 2 entries, one for each spatial axis of input [1, 4, 6, 6]',
    ),
    "padding": (
        layer('op = "conv"\npadding = "full"'),
        'layer "a": padding: "full" should be a whole number >= 0, one for each spatial axis, [[top, bottom], [left, '
        'right]], "valid" or "same"',
    ),
    "padding < 0": (
        layer('op = "conv"\npadding = [1, -1]'),
        'layer "a": padding: [1, -1] should be a whole number >= 0...',
    ),
    "padding of triples": (layer('op = "conv"\npadding = [[1, 1, 1]]'), 'layer "a": padding: [[1, 1, 1]] should be...'),
    "padding mixed": (layer('op = "conv"\npadding = [1, [1, 1]]'), 'layer "a": padding: [1, [1, 1]] should be...'),
    "padding of one axis": (
        layer('op = "max_pool"\nkernel = 3\npadding = [[1, 1]]'),
        'layer "a": padding: [[1, 1]] should have 2 entries, one for each spatial axis of input [1, 4, 6, 6]',
    ),
    "pad same": (
        layer('op = "pad"\npadding = "same"'),
        'layer "a": padding: "same" should be a whole number >= 0, one for each spatial axis, [[top, bottom], [left, '
        "right]]",
    ),
    "pool without kernel": (
        layer('op = "max_pool"'),
        'layer "a": kernel: is missing; it should be a whole number >= 1 or a...',
    ),
    "pool of nothing": (
        layer('op = "max_pool"\nkernel = 2', "[4]"),
        'layer "a": input [1, 4] should have spatial axes after batch and channels',
    ),
    "pool too large": (
        layer('op = "max_pool"\nkernel = 7'),
        'layer "a": kernel [7, 7] does not fit into input [1, 4, 6, 6] with padding 0',
    ),
    "pool with much padding": (
        layer('op = "max_pool"\nkernel = 2\npadding = 2'),
        'layer "a": padding 2 should be smaller than kernel [2, 2]',
    ),
    "pool with more padding on one side": (
        layer('op = "max_pool"\nkernel = 2\npadding = [[0, 1], [0, 3]]'),
        'layer "a": padding [[0, 1], [0, 3]] should be smaller than kernel [2, 2]',
    ),
    "pool too large, valid": (
        layer('op = "max_pool"\nkernel = 7\npadding = "valid"'),
        'layer "a": kernel [7, 7] does not fit into input [1, 4, 6, 6] with padding "valid"',
    ),
    "conv too large": (
        layer('op = "conv"\npadding = [0, 1]\nweight = "stem.weight"', "[4, 2, 1]"),
        'layer "a": kernel [3, 3] does not fit into input [1, 4, 2, 1] with padding [0, 1]',
    ),
    "mirror too wide": (
        layer('op = "pad"\npadding = [6, 0]\nmode = "reflect"'),
        'layer "a": padding [6, 0] should not exceed the input [1, 4, 6, 6], less 1, in mode reflect',
    ),
    "transposed, all cropped": (
        layer('op = "conv_transpose"\npadding = [[4, 4], [4, 4]]\nweight = "stem.weight"', "[8, 6, 6]"),
        'layer "a": padding [[4, 4], [4, 4]] leaves nothing of the output for input [1, 8, 6, 6]',
    ),
    "average pool, padding": (
        layer('op = "average_pool"\nkernel = 3\npadding = 1'),
        'layer "a": count_include_pad: is missing; with padding write whether it counts in the average: frameworks '
        "differ (PyTorch true, ONNX and Keras false)",
    ),
    "average pool, p": (
        layer('op = "average_pool"\nkernel = 3\np = 2'),
        'layer "a": unknown key "p"; known...',
    ),
    "p of a pool": (
        layer('op = "lp_pool"\nkernel = 3\np = 0.5'),
        'layer "a": p: 0.5 should be a number >= 1',
    ),
    "concat axis": (
        layer('op = "concat"\ninputs = ["x", "x"]\naxis = 4'),
        'layer "a": axis: 4 should be from 0 to 3, or counted from the back from -4 to -1, for input [1, 4, 6, 6] in '
        "NCHW order",
    ),
    "flatten axis": (
        layer('op = "flatten"\naxis = 0'),
        'layer "a": axis: 0 should be from 1 to 3, or counted from the back from -3 to -1, for input [1, 4, 6, 6] in '
        "NCHW order",
    ),
    "flatten order": (
        layer('op = "flatten"').replace("[4, 6, 6]", '[4, 6, 6]\nlayout = "NHWC"'),
        'layer "a": flattens [1, 6, 4, 6], and frameworks differ in the order: write order = "NHWC" (trained with '
        'Keras or TensorFlow) or "NCHW" (PyTorch)',
    ),
    "dense order": (
        layer('op = "dense"', more='weight_layout = "HWIO"'),
        'layer "a": flattens [1, 4, 6, 6], and frameworks differ in the order: write a flatten layer before this one '
        'with order = "NHWC" (trained with Keras or TensorFlow) or "NCHW" (PyTorch)',
    ),
    "flatten NHWC axis": (
        layer('op = "flatten"\norder = "NHWC"\naxis = 2'),
        'layer "a": order: "NHWC" takes axis = 1 only',
    ),
    "reshape": (
        layer('op = "reshape"\nshape = [7, -1]'),
        'layer "a": shape: [7, -1] does not hold the 144 elements of [4, 6, 6] (without the batch)',
    ),
    "reshape twice -1": (
        layer('op = "reshape"\nshape = [-1, -1]'),
        'layer "a": shape: [-1, -1] should have sizes >= 1, and...',
    ),
    "reshape 0": (
        layer('op = "reshape"\nshape = [0, -1]'),
        'layer "a": shape: [0, -1] should have sizes >= 1, and -1...',
    ),
    "transpose": (
        layer('op = "transpose"\naxes = [0, 1, 1, 2]'),
        'layer "a": axes [0, 1, 1, 2] should name each of the 4 axes of input [1, 4, 6, 6] once',
    ),
    "upsample": (layer('op = "upsample"'), 'layer "a": should have one of scale and size'),
    "upsample both": (
        layer('op = "upsample"\nscale = 2\nsize = [1, 1]'),
        'layer "a": should have one of scale and size',
    ),
    "upsample mode": (
        layer('op = "upsample"\nscale = 2\nmode = "cubic"'),
        'layer "a": mode: "cubic" should be "nearest", "bilinear" or "bicubic"',
    ),
    "upsample coordinates": (
        layer('op = "upsample"\nscale = 2\ncoordinates = "halfpixel"'),
        'layer "a": coordinates: "halfpixel" should be "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", '
        '"align_corners", "asymmetric", "tf_half_pixel_for_nn" or "tf_crop_and_resize"; did you mean "half_pixel"?',
    ),
    "upsample scales": (
        layer('op = "upsample"\nscale = 2\nscales = [2, 0]'),
        'layer "a": scales: [2, 0] should be a list of factors above 0, one for each spatial axis',
    ),
    "upsample scales of one axis": (
        layer('op = "upsample"\nscale = 2\nscales = [2.1]'),
        'layer "a": scales [2.1] should have a positive number for each spatial axis',
    ),
    "upsample roi": (
        layer('op = "upsample"\nscale = 2\nroi = [0, 1]'),
        'layer "a": roi: [0, 1] should be a list of [start, end] pairs, one for each spatial axis',
    ),
    "upsample roi without its coordinates": (
        layer('op = "upsample"\nscale = 2\nroi = [[0, 1], [0, 1]]'),
        "layer \"a\": roi is for coordinates 'tf_crop_and_resize' only",
    ),
    "upsample antialias": (
        layer('op = "upsample"\nscale = 2\nantialias = true'),
        "layer \"a\": antialias is not for mode 'nearest'",
    ),
    "upsample antialias over nothing": (
        layer('op = "upsample"\nscale = 2\nmode = "bilinear"\nantialias = true\nscales = [1e-30, 1]'),
        'layer "a": scales [1e-30, 1.0] make less than half an element of input [1, 4, 6, 6]',
    ),
    "upsample size of three axes": (
        layer('op = "upsample"\nsize = [2, 2, 2]'),
        'layer "a": input [1, 4, 6, 6] should have 5 axes (batch, channels, 3 of space)',
    ),
    "grid_sample with two grids": (
        layer('op = "grid_sample"\ninputs = ["x", "x"]\ngrid = "g"'),
        'layer "a": grid: names a tensor, but there is a second input; drop one',
    ),
    "grid_sample, shape": (
        layer('op = "grid_sample"\ninputs = ["x", "x"]'),
        'layer "a": grid [1, 4, 6, 6] should be [1, 2 sizes, 2] for input [1, 4, 6, 6]',
    ),
    "add": (
        layer('op = "add"\ninputs = ["x", "b"]\n[[layer]]\nname = "b"\nop = "max_pool"\nkernel = 2\ninput = "x"'),
        'layer "a": inputs [1, 4, 6, 6] and [1, 4, 3, 3] should have the same shape, or 1 where an axis is to '
        "be repeated",
    ),
    "transposed same": (
        layer('op = "conv_transpose"\npadding = "same"\noutput_padding = 1\nweight = "stem.weight"', "[8, 6, 6]"),
        'layer "a": output_padding: has no meaning with padding = "same"; write numbers',
    ),
    # Activations
    "clip": (layer('op = "clip"'), 'layer "a": should have one of min and max, or both'),
    "two shapes": (
        layer('op = "relu"', "[4, 6]\nfull_shape = [1, 4, 6]"),
        'input "x": should have one of shape and full_shape',
    ),
    "scale twice": (
        layer('op = "scale"\nweight = "stem.bias"\ndivisor = "stem.bias"'),
        'layer "a": should have one of weight and divisor',
    ),
    "clip swapped": (layer('op = "clip"\nmin = 1\nmax = 0'), 'layer "a": clip: min should not exceed max'),
    "clip inf": (layer('op = "clip"\nmin = 0\nmax = inf'), 'layer "a": max: inf should be a finite number'),
    "alpha nan": (layer('op = "elu"\nalpha = nan'), 'layer "a": alpha: nan should be a finite number'),
    "alpha huge": (layer('op = "elu"\nalpha = 1e39'), 'layer "a": alpha: 1e+39 should be a finite number'),
    "alpha of a relu": (
        layer('op = "relu"\nalpha = 1'),
        'layer "a": unknown key "alpha"; known are "name", "op", "input",...',
    ),
    "activation": (
        edited('"relu"', '"rellu"'),
        'layer "stem": activation: unknown activation "rellu"; did you mean "relu"?',
    ),
    "activation 1": (
        edited('"relu"', "1"),
        'layer "stem": activation: 1 should be the name of an activation or a table such as { op = "leaky_relu", '
        "alpha = 0.1 }",
    ),
    "activation table": (
        edited('"relu"', "{ alpha = 0.1 }"),
        'layer "stem": activation.op: is missing; it should name the...',
    ),
    "activation's key": (
        edited('"relu"', '{ op = "leaky_relu", slope = 0.1 }'),
        'layer "stem": activation: unknown key "slope"; known are "alpha"',
    ),
    "relu's key": (
        edited('"relu"', '{ op = "relu", a = 1 }'),
        'layer "stem": activation: unknown key "a"; none is known here',
    ),
    "activation's op": (
        edited('"relu"', "{ op = [] }"),
        'layer "stem": activation.op: unknown activation []; known are "abs"...',
    ),
    # BatchNorm
    "no epsilon": (
        edited("{ epsilon = 1e-3 }", "{}"),
        'layer "stem": batch_norm.epsilon: is missing; write the one the network was trained with: frameworks differ '
        "(PyTorch 1e-5, Keras 1e-3)",
    ),
    "no epsilon of a layer": (
        layer('op = "batch_norm"'),
        'layer "a": epsilon: is missing; write the one the network was...',
    ),
    "epsilon 1": (
        edited("1e-3", "1"),
        'layer "stem": batch_norm.epsilon: 1 should be a number >= 0 and < 1, such as 1e-5 (PyTorch) or 1e-3 (Keras)',
    ),
    "epsilon < 0": (edited("1e-3", "-1e-9"), 'layer "stem": batch_norm.epsilon: -1e-09 should be a number >= 0...'),
    "epsilon nan": (edited("1e-3", "nan"), 'layer "stem": batch_norm.epsilon: nan should be a number >= 0 and < 1...'),
    "epsilon text": (
        edited("1e-3", '"1e-3"'),
        'layer "stem": batch_norm.epsilon: "1e-3" should be a number >= 0 and < 1...',
    ),
    "epsilon false": (edited("1e-3", "false"), 'layer "stem": batch_norm.epsilon: false should be a number...'),
    "eps": (edited("epsilon", "eps"), 'layer "stem": batch_norm: unknown key "eps"; did you mean "epsilon"?'),
    "batch_norm true": (
        edited("{ epsilon = 1e-3 }", "true"),
        'layer "stem": batch_norm: true should be a table such as { epsilon = 1e-5 }',
    ),
    "bn": (edited("batch_norm", "bn"), 'layer "stem": unknown key "bn"; did you mean "batch_norm"?'),
    "training": (
        edited("1e-3 }", "1e-3, training = true }"),
        'layer "stem": batch_norm.training: training-mode BN, with the statistics of each batch, cannot be compiled; '
        "export the network in inference mode and write training = false or nothing",
    ),
    "scale and gamma": (
        edited("1e-3 }", '1e-3, scale = false, gamma = "g" }'),
        'layer "stem": batch_norm.scale: is false, but gamma names a tensor; drop one',
    ),
    # [example]
    "example's key": (
        edited("data = ", "file = "),
        'example: unknown key "file"; known are "data", "image" and "label"',
    ),
    "example without data": (
        edited('data = "samples.npz"', ""),
        "example: data: is missing; it should be the path of a file",
    ),
}


@pytest.mark.parametrize("case", SPECS)
def test_spec(case: str, refuse: Refuse) -> None:
    text, wanted = SPECS[case]
    message = refuse(text)
    if wanted.endswith("..."):
        assert message.startswith(wanted[:-3]), message
    else:
        assert message == wanted


def put(**tensors: Any) -> Change:
    """Adds or replaces tensors; "__" in a name is a dot, None removes."""

    def change(given: dict[str, np.ndarray]) -> None:
        for name, array in tensors.items():
            name = name.replace("__", ".")
            given.pop(name, None)
            if array is not None:
                given[name] = np.asarray(array)

    return change


def at(name: str, index: tuple[int, ...], value: float) -> Change:
    def change(given: dict[str, np.ndarray]) -> None:
        given[name][index] = value

    return change


PARAMETERS: dict[str, tuple[str, Change, str]] = {
    "missing": (
        GOOD,
        put(stem__weight=None),
        'layer "stem": weight: no tensor "stem.weight" or "stem.kernel" in net.npz; say which with weight = "..."',
    ),
    "missing, nothing near": (
        edited('"head"\nop = "dense"', '"zzz"\nop = "dense"\nweight = "qqq"').replace('from = "head"', 'from = "zzz"'),
        put(),
        'layer "zzz": weight: no tensor "qqq" in net.npz; did you mean "head.weight" [5, 108], which fits and which '
        'nothing else reads? Write weight = "head.weight"',
    ),
    "near miss": (
        GOOD,
        put(head__weight=None, head__weigth=np.zeros((5, 108))),
        'layer "head": weight: no tensor "head.weight" or "head.kernel" in net.npz; did you mean "head.weigth" [5, '
        '108], which fits and which nothing else reads? Write weight = "head.weigth"',
    ),
    "two vocabularies": (
        GOOD,
        put(stem__kernel=np.zeros(1)),
        'layer "stem": weight: tensors "stem.weight" and "stem.kernel" are both in net.npz; say which with '
        'weight = "..."',
    ),
    "bias demanded": (
        edited('op = "dense"', 'op = "dense"\nbias = true'),
        put(),
        'layer "head": bias: no tensor "head.bias" in net.npz; say which with bias = "..."',
    ),
    "bias named": (
        edited('op = "dense"', 'op = "dense"\nbias = "b"'),
        put(),
        'layer "head": bias: no tensor "b" in net.npz; say which with bias = "..."',
    ),
    "bias misshapen": (
        GOOD,
        put(head__bias=np.zeros((1, 5))),
        'layer "head": bias: tensor "head.bias" [1, 5] of net.npz should be [5], one for each output channel',
    ),
    "weight's axes": (
        GOOD,
        put(stem__weight=np.zeros((8, 4, 3))),
        'layer "stem": weight: tensor "stem.weight" [8, 4, 3] of net.npz should have 4 axes for input [1, 4, 6, 6]',
    ),
    "weight's channels": (
        GOOD,
        put(stem__weight=np.zeros((8, 3, 5, 5))),
        'layer "stem": weight: tensor "stem.weight" [8, 3, 5, 5] of net.npz read as OIHW does not fit input '
        "[1, 4, 6, 6]: with groups = 1 the weight takes 3 channels, not 4",
    ),
    "weight's layout": (
        GOOD,
        put(stem__weight=np.zeros((3, 3, 4, 8))),
        'layer "stem": weight: tensor "stem.weight" [3, 3, 4, 8] of net.npz read as OIHW does not fit input '
        "[1, 4, 6, 6]: with groups = 1 the weight takes 3 channels, not 4; the weight looks like HWIO: write "
        'weight_layout = "HWIO", here or in [model] '
        "for "
        "all layers",
    ),
    "groups": (
        layer('op = "conv"\ngroups = 3\nweight = "stem.weight"'),
        put(),
        'layer "a": weight: tensor "stem.weight" [8, 4, 3, 3] of net.npz read as OIHW does not fit input '
        "[1, 4, 6, 6]: with groups = 3 the weight takes 12 channels, not 4",
    ),
    "dense": (
        GOOD,
        put(head__weight=np.zeros((108, 5))),
        'layer "head": weight: tensor "head.weight" [108, 5] of net.npz read as OI does not fit input [1, 12, 3, 3]: '
        'the weight takes 5 features, not 108; the weight looks like IO: write weight_layout = "IO"',
    ),
    "empty": (
        GOOD,
        put(stem__weight=np.zeros((0, 4, 3, 3))),
        'layer "stem": weight: tensor "stem.weight" [0, 4, 3, 3] of net.npz has a size of 0',
    ),
    "bool": (
        GOOD,
        put(head__weight=np.zeros((5, 108), bool)),
        'layer "head": weight: tensor "head.weight" of net.npz holds bool; it should hold floating-point numbers or '
        "integers of at most 64 bits",
    ),
    "complex": (
        GOOD,
        put(head__weight=np.zeros((5, 108), complex)),
        'layer "head": weight: tensor ... holds complex128; it...',
    ),
    "objects": (GOOD, put(head__weight=np.array([{}])), 'layer "head": weight: tensor ... holds object; it should...'),
    "strings": (GOOD, put(head__weight=np.array(["a"])), 'layer "head": weight: tensor ... holds <U1; it should...'),
    "NaN": (
        GOOD,
        at("stem.weight", (7, 1, 2, 0), np.nan),
        'layer "stem": weight: tensor "stem.weight" [8, 4, 3, 3] of net.npz has nan at [7, 1, 2, 0], which is not a '
        "number; a trained network has finite numbers only: was its training stopped by a divergence, or the "
        "file damaged?",
    ),
    "Inf": (
        GOOD,
        at("stem.bn.weight", (3,), -np.inf),
        'layer "stem": batch_norm.gamma: tensor "stem.bn.weight" [8] of net.npz has -inf at [3], which is infinite...',
    ),
    "float16 Inf": (
        GOOD,
        put(head__bias=np.full(5, np.inf, np.float16)),
        'layer "head": bias: tensor ... has inf at [0]...',
    ),
    "beyond float32": (
        GOOD,
        put(head__bias=np.array([0, 0, 1e39, 0, 0])),
        'layer "head": bias: tensor "head.bias" [5] of net.npz has 1e+39 at [2], which is beyond float32; ...',
    ),
    "variance < 0": (
        GOOD,
        at("stem.bn.running_var", (2,), -0.5),
        'layer "stem": batch_norm.variance: tensor "stem.bn.running_var" [8] of net.npz has -0.5 at [2]; a variance is '
        "never negative: is this the right tensor, and is the file whole?",
    ),
    "variance and epsilon 0": (
        edited("1e-3", "0"),
        at("stem.bn.running_var", (2,), 0),
        'layer "stem": batch_norm.variance: tensor "stem.bn.running_var" [8] of net.npz has 0 at [2], which epsilon = '
        "0 makes a division by zero; write the epsilon the network was trained with (PyTorch 1e-5, Keras 1e-3)",
    ),
    "no variance": (
        GOOD,
        put(stem__bn__running_var=None),
        'layer "stem": batch_norm.variance: tensor "stem.bn.running_var" is missing; net.npz has "stem.bn.weight", '
        '"stem.bn.bias" and "stem.bn.running_mean"; say which with variance = "..."',
    ),
    "no BatchNorm at all": (
        GOOD,
        lambda given: [given.pop(name) for name in list(given) if ".bn." in name],
        'layer "stem": batch_norm.mean: no tensor "stem.bn.moving_mean", "stem.bn.running_mean" or "stem.bn.mean"...',
    ),
    "both vocabularies": (
        GOOD,
        put(stem__bn__gamma=np.ones(8)),
        'layer "stem": batch_norm.gamma: tensors "stem.bn.gamma" and "stem.bn.weight" are both in net.npz; say which '
        'with gamma = "..."',
    ),
    "two prefixes": (
        GOOD,
        put(stem__batch_norm__mean=np.ones(8)),
        'layer "stem": batch_norm: net.npz has tensors under "stem.bn." and "stem.batch_norm."; say which with '
        'prefix = "..."',
    ),
    "scale demanded": (
        edited("1e-3 }", "1e-3, scale = true }"),
        put(stem__bn__weight=None),
        'layer "stem": batch_norm.gamma: tensor "stem.bn.weight" is missing; net.npz has "stem.bn.bias", '
        '"stem.bn.running_mean" and "stem.bn.running_var"; say which with gamma = "..."',
    ),
    "channels": (
        GOOD,
        put(stem__bn__bias=np.ones(4)),
        'layer "stem": batch_norm.beta: tensor "stem.bn.bias" [4] of net.npz should be [8], one for each channel of '
        "input [1, 8, 3, 3]",
    ),
    "slopes": (
        layer('op = "prelu"'),
        put(a__slope=np.ones((4, 6, 6))),
        'layer "a": slope: tensor "a.slope" [4, 6, 6] of net.npz should be [4], one for each channel of input '
        "[1, 4, 6, 6], or [1]",
    ),
    "no file": (
        edited("net.npz", "folder/none.npz"),
        put(),
        "model: weights: file folder/none.npz does not exist",
    ),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters(case: str, refuse: Refuse) -> None:
    text, change, wanted = PARAMETERS[case]
    message = refuse(text, change, ParameterError)
    assert ParameterError.exit_code == 3
    parts = [re.escape(part) for part in re.split(r"\.\.\.(?!\")", wanted)]
    assert re.fullmatch(".*".join(parts), message), message


EXAMPLES: dict[str, tuple[Change, str]] = {
    "no image": (put(image=None), 'image: tensor "image" is not in samples.npz'),
    "misshapen": (
        put(image=np.zeros((3, 6, 6, 4))),
        'image: tensor "image" [3, 6, 6, 4] of samples.npz should be [count, 4, 6, 6], samples of input x',
    ),
    "none": (
        put(image=np.zeros((0, 4, 6, 6))),
        'image: tensor "image" [0, 4, 6, 6] of samples.npz should be [count, ...',
    ),
    "scalar": (put(image=np.zeros(())), 'image: tensor "image" [] of samples.npz should be [count, ...'),
    "counts": (
        put(label=np.zeros(2, int)),
        'label: tensor "label" [2] of samples.npz should be [3], one for each image',
    ),
    "float labels": (
        put(label=np.zeros(3)),
        'label: tensor "label" [3] of samples.npz holds float64; a label is an integer',
    ),
    "label < 0": (
        put(label=np.array([0, -1, 0])),
        'label: tensor "label" [3] of samples.npz has -1 at [1]; a label is from...',
    ),
    "label 5": (
        put(label=np.array([0, 1, 5])),
        'label: tensor "label" [3] of samples.npz has 5 at [2]; a label is from 0 to 4, an element of output y',
    ),
    "NaN": (
        put(image=np.full((3, 4, 6, 6), np.nan)),
        'image: tensor "image" [3, 4, 6, 6] of samples.npz has nan at [0, 0, 0, 0]...',
    ),
}


@pytest.mark.parametrize("case", EXAMPLES)
def test_example(case: str, refuse: Refuse) -> None:
    change, wanted = EXAMPLES[case]
    message = refuse(GOOD, None, ParameterError, change)
    start = f"example: {wanted.removesuffix('...')}"
    assert message.startswith(start) if wanted.endswith("...") else message == start, message


def test_example_of_two_inputs(refuse: Refuse) -> None:
    text = (
        layer('op = "add"\ninputs = ["x", "z"]') + '[[input]]\nname = "z"\nshape = [4, 6, 6]\n[example]\ndata = "s.npz"'
    )
    assert refuse(text) == "example: takes a network with one input, not 2"


# Files


def test_spec_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(SpecError, match=r": is a folder; give the \.toml file of a spec, or a model file$"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SpecError, match=r"pipe\.toml: is not a regular file$"):
        load(tmp_path / "pipe.toml")
    (tmp_path / "binary.toml").write_bytes(b"a = \xff")
    with pytest.raises(SpecError, match="is not a TOML file: byte 4 is not UTF-8"):
        load(tmp_path / "binary.toml")


def test_weights_that_are_no_file(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    message = refuse(edited("net.npz", "folder.npz"), None, ParameterError)
    assert message == "model: weights: file folder.npz is not a regular file"


NPY = np.lib.format.magic(1, 0)


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return NPY + len(text).to_bytes(2, "little") + text + data


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty .npz": (b"", "is not a .npz file, or is damaged"),
    "no .npz": (b"hello", "is not a .npz file, or is damaged"),
    "no .npy": (npz(a=b"hello"), "is not a .npz file, or is damaged"),
    "huge": (
        npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}")),
        "has 1000000000000 elements",
    ),
    "short": (
        npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}", b"1234")),
        "4 bytes cannot hold [9] of float32",
    ),
    "negative": (npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"")), "damaged"),
    "evil header": (npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}")), "damaged"),
    "structure": (
        npz(a=npy("{'descr': [('b', '<f4')], 'fortran_order': False, 'shape': (1,)}", b"1234")),
        "holds [('b', '<f4')]",
    ),
    "version": (npz(a=b"\x93NUMPY\x07\x00"), "damaged"),
    "pickle": (npz(a=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n")), "holds object"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_npz(case: str, tmp_path: Path) -> None:
    data, wanted = DAMAGED[case]
    path = write(tmp_path, layer('op = "bias"\nbias = "a"'))
    (tmp_path / "net.npz").write_bytes(data)
    with pytest.raises(ParameterError, match=re.escape(wanted)):
        load(path)


def test_twice_the_same_member(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("a.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", b"1234"))
    with pytest.raises(Unreadable, match='holds "a" twice'):
        READERS[".npz"](file.getvalue())


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"],
    ids=["empty", "noise", "huge header", "no object"],
)
def test_damaged_safetensors(data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("net.npz", "net.safetensors"))
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(ParameterError, match=r"is not a \.safetensors file, or is damaged"):
        load(path)


def test_safetensors_of_another_type(tmp_path: Path) -> None:
    path = write(tmp_path, layer('op = "bias"').replace("net.npz", "net.safetensors"))
    data = save({"a.bias": np.zeros(4, np.uint8)}).replace(b'"U8"', b'"F8_E5M2"')
    length = int.from_bytes(data[:8], "little") + 5
    (tmp_path / "net.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
    with pytest.raises(ParameterError, match="holds F8_E5M2; it should hold"):
        load(path)


def readable(suffix: str, data: bytes) -> Mapping[str, Any]:
    """Reads everything; raises Unreadable and nothing else where that cannot be."""
    try:
        return {name: stored.load() for name, stored in READERS[suffix](data).items()}
    except Unreadable:
        return {}


def whole(suffix: str) -> bytes:
    if suffix == ".safetensors":
        return save(arrays())
    file = io.BytesIO()
    np.savez(file, **arrays())  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("suffix", READERS)
def test_truncated_files(suffix: str) -> None:
    data = whole(suffix)
    for end in {*range(0, len(data), 97), len(data) - 1}:
        assert readable(suffix, data[:end]) == {}
    assert len(readable(suffix, data)) == len(arrays())


@pytest.mark.parametrize("suffix", READERS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_corrupted_files(suffix: str, data: st.DataObject) -> None:
    content = bytearray(whole(suffix))
    structure = [*range(2000), *range(len(content) - 1000, len(content))]  # headers and the directory
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.sampled_from(structure))] = data.draw(st.integers(0, 255))
    readable(suffix, bytes(content))


# Names


@pytest.mark.parametrize(
    "name",
    ["while", "inline", "_Bool", "bool", "class", "nullptr", "co_await", "and", "typeof", "size_t", "uint8_t", "cl_mem",
     "near", "NULL", "main", "linux", "é", "_a", "a_", "a__b", "1a", "a-b", "a.b", "a/b", "a\\b", 'a"', "a*/", "{{a}}"],
)  # fmt: skip
def test_names_that_neither_models_nor_ports_may_have(name: str) -> None:
    assert model_fault(name) and port_fault(name, "net")


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\x00", "a" * 41], ids=repr)
def test_names_with_odd_characters(name: str) -> None:
    assert model_fault(name) and port_fault(name, "net") and (layer_fault(name) or name == "a" * 41)


@pytest.mark.parametrize(
    "name", ["example", "Manifest", "CON", "aux", "com1", "LPT9", "printf", "exp", "time", "malloc"]
)
def test_names_that_models_may_not_have(name: str) -> None:
    assert model_fault(name) and not port_fault(name, "net")


@pytest.mark.parametrize("name", ["model", "Device", "context", "QUEUE", "status", "event", "events", "net", "NET"])
def test_names_that_ports_may_not_have(name: str) -> None:
    assert port_fault(name, "net")


@pytest.mark.parametrize("name", ["A1", "conv_net_2", "ResNet50", "net", "a" * 40])
def test_good_identifiers(name: str) -> None:
    assert not model_fault(name) and not port_fault(name, "other")


@pytest.mark.parametrize("name", ["a", "input", "output", "data", "x", "y", "size"])
def test_good_names_of_ports(name: str) -> None:
    assert not port_fault(name, "net")


def test_names_of_layers() -> None:
    for name in ("a", "_", "features.0.conv-1_x", "int", "a" * 120):
        assert not layer_fault(name)
    for name in ("", ".a", "0", "a b", "a/b", "a\\b", 'a"b', "a*/", "{{a", "a\n", "ä", "a" * 121):
        assert layer_fault(name)


# Anything else


TOKENS = re.findall(r'"[^"]*"|[\w.+-]+|\s+|.', GOOD)
ODD = [
    "", "true", "-1", "0", "1e400", "nan", "inf", '""', "[]", "{}", "[[1]]", "9223372036854775808", "[", "\n", "\x00",
    '"\\n"', '"\\u2028"', '"a*/b"', "1979-05-27", "07:32:00", "'x'", '"same"', '"x"', '"stem"', '"conv"', '"add"',
    '"NHWC"', "[-1]", "[1, 2, 3, 4]", *sorted(set(TOKENS)),
]  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_edit_of_a_spec_loads_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    tokens = list(TOKENS)
    for _ in range(data.draw(st.integers(1, 5))):
        i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(tokens))] * 2)))
        tokens[i : data.draw(st.sampled_from([i, i + 1, i + 1, j]))] = [data.draw(st.sampled_from(ODD))]
    if not (tmp_path / "net.npz").exists():
        write(tmp_path, GOOD)
    path = tmp_path / "net.toml"
    path.write_bytes("".join(tokens).encode())
    try:
        load(path)
    except ClgenError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()
        assert type(error) in (SpecError, ParameterError)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(set(re.findall(r"(\w+) = ", GOOD)))),
    st.recursive(
        st.one_of(
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.dates(),
            st.sampled_from(["x", "stem", "same"]),
        ),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
        max_leaves=6,
    ),
    st.integers(0, 9),
)
def test_any_value_of_any_key_loads_or_is_refused(tmp_path: Path, key: str, value: Any, which: int) -> None:
    if not (tmp_path / "net.npz").exists():
        write(tmp_path, GOOD)
    places = list(re.finditer(rf"\b{key} = ([^\n]*?)(?= \}}|\n)", GOOD))
    place = places[which % len(places)]
    text = tomli_w.dumps({"v": [value]}).split("=", 1)[1].strip()[1:-1].strip().rstrip(",").replace("\n", " ")
    path = tmp_path / "net.toml"
    path.write_bytes((GOOD[: place.start(1)] + text + GOOD[place.end(1) :]).encode("utf-8", "surrogatepass"))
    try:
        load(path)
    except ClgenError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()
        assert type(error) in (SpecError, ParameterError)
