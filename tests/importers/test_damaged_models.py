"""Model files whose structure is damaged or absurd: a clear error in bounded time and memory, or a network that plans.

CLGEN_FUZZ sets how many of each kind are tried, CLGEN_FUZZ_SEED where they start.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
import resource
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from codegen import build
from codegen.errors import ClgenError
from tests.importers.test_import_keras import nested
from tests.importers.test_import_onnx import CASES
from tests.importers.test_operator_list import keras_examples
from tests.importers.test_small_networks import NETWORKS
from tests.support.keras_models import config, reading_in_this_process, write_h5, write_keras
from tests.support.onnx_models import model

COUNT = int(os.environ.get("CLGEN_FUZZ", "150"))
SEED = int(os.environ.get("CLGEN_FUZZ_SEED", "0"))
MOST_SECONDS = 20  # of one file
MOST_BYTES = 3 * 2**30  # that all files together may add to the process at its peak

NUMBERS = (0, 1, -1, 2, 3, 7, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**63))
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, math.inf, -math.inf, math.nan, 0.5, 1e9)


def lowered_or_refused(path: Path) -> bool:
    """Returns whether lowering gave a network, which can then be planned as well."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy's are on numbers that nobody has checked
            lowered = build.lower(path)
            if sum(math.prod(shape) for shape in lowered.launches.shapes.values()) < 2**20:
                build.planned(lowered, "cpu")
        return True
    except ClgenError as error:
        text = str(error)
        assert str(path) in text and "\n\n" not in text and ": : " not in text, text
        assert len(text) < 20_000, text[:2000]
        return False
    except Exception:  # any other is the fault that is looked for; the file that shows it is kept
        kept = path.with_name(f"failed-{time.time_ns()}{path.suffix}")
        kept.write_bytes(path.read_bytes())
        pytest.fail(f"{kept}\n{traceback.format_exc(limit=-6)}")
    finally:
        assert time.monotonic() - started < MOST_SECONDS


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ONNX ---------------------------------------------------------------------------------------------------------------


def onnx_models() -> list[onnx.ModelProto]:
    single = [model(c.nodes, {"x": c.x, **c.more}, c.constants, opset=c.opset) for c in CASES]
    return single + [make().proto() for make in NETWORKS.values()]


def change_attribute(proto: onnx.ModelProto, chosen: random.Random) -> None:
    attributes = [a for n in proto.graph.node for a in n.attribute]
    if not attributes:
        return change_dims(proto, chosen)
    a = chosen.choice(attributes)
    if a.type == AttributeProto.INT:
        a.i = chosen.choice(NUMBERS)
    elif a.type == AttributeProto.FLOAT:
        a.f = chosen.choice(REALS)
    elif a.type == AttributeProto.STRING:
        a.s = chosen.choice((b"", b"SAME_UPPER", b"\xff", b"linear", b"x" * 5000, a.s[:-1]))
    elif a.type == AttributeProto.INTS and a.ints:
        if chosen.random() < 0.3:
            del a.ints[chosen.randrange(len(a.ints)) :]
        else:
            a.ints[chosen.randrange(len(a.ints))] = chosen.choice(NUMBERS)
    elif a.type == AttributeProto.FLOATS and a.floats:
        a.floats[chosen.randrange(len(a.floats))] = chosen.choice(REALS)
    else:
        a.type = chosen.choice(
            (AttributeProto.INT, AttributeProto.TENSOR, AttributeProto.GRAPH, AttributeProto.STRINGS)
        )
    return None


def change_dims(proto: onnx.ModelProto, chosen: random.Random) -> None:
    """Changes the sizes of an input, or of a constant, whose elements then do not fit."""
    shapes = [i.type.tensor_type.shape for i in proto.graph.input]
    if proto.graph.initializer and chosen.random() < 0.4:
        dims = chosen.choice(proto.graph.initializer).dims
        if dims and chosen.random() < 0.8:
            dims[chosen.randrange(len(dims))] = chosen.choice(NUMBERS)
        else:
            dims.append(chosen.choice(NUMBERS))
        return
    shape = chosen.choice(shapes)
    if chosen.random() < 0.2:
        shape.dim.add().dim_value = chosen.choice(NUMBERS)
    elif shape.dim:
        if chosen.random() < 0.2:
            del shape.dim[-1]
        else:
            shape.dim[chosen.randrange(len(shape.dim))].dim_value = chosen.choice(NUMBERS[:9])


def change_constant(proto: onnx.ModelProto, chosen: random.Random) -> None:
    """Its elements, all or one of them, or their type."""
    if not proto.graph.initializer:
        return change_attribute(proto, chosen)
    tensor = chosen.choice(proto.graph.initializer)
    kind = chosen.random()
    if kind < 0.2:
        tensor.data_type = chosen.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 23, 99))
        return None
    if kind < 0.3:
        tensor.raw_data = tensor.raw_data[:-1]
        return None
    try:
        values = onnx.numpy_helper.to_array(tensor).copy()
    except (KeyError, TypeError, ValueError):  # damaged before
        return None
    if values.size:
        value = chosen.choice(REALS if values.dtype.kind == "f" else NUMBERS if values.dtype == np.int64 else (0, 1))
        where = slice(None) if chosen.random() < 0.3 else chosen.randrange(values.size)
        with np.errstate(over="ignore"):
            values.reshape(-1)[where] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return None


def change_wires(proto: onnx.ModelProto, chosen: random.Random) -> None:
    nodes = proto.graph.node
    names = [n for p in nodes for n in (*p.input, *p.output)] + ["", "nowhere"]
    n = chosen.choice(nodes)
    ends = n.input if chosen.random() < 0.7 else n.output
    if ends and chosen.random() < 0.8:
        ends[chosen.randrange(len(ends))] = chosen.choice(names)
    elif ends and chosen.random() < 0.5:
        del ends[-1]
    else:
        ends.append(chosen.choice(names))


OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""})


def change_operator(proto: onnx.ModelProto, chosen: random.Random) -> None:
    n = chosen.choice(proto.graph.node)
    kind = chosen.random()
    if kind < 0.7:
        n.op_type = chosen.choice(OPERATORS)
        if chosen.random() < 0.5:
            del n.attribute[:]
    elif kind < 0.8:
        n.domain = chosen.choice(("ai.onnx.ml", "x" * 300, "com.microsoft"))
    elif kind < 0.9:
        proto.opset_import[0].version = chosen.choice((7, 8, 9, 10, 11, 12, 13, 17, 18, 21, 22, 23))
    else:
        n.attribute.append(helper.make_attribute(chosen.choice(("axis", "axes", "alpha", "group", "to")), 1))


ONNX_CHANGES = (change_attribute, change_dims, change_constant, change_wires, change_operator)


@pytest.mark.parametrize("change", ONNX_CHANGES, ids=lambda change: change.__name__)
def test_onnx(change: Callable[[onnx.ModelProto, random.Random], None], tmp_path: Path) -> None:
    chosen, protos, before = random.Random(SEED), onnx_models(), peak()
    path, networks = tmp_path / "net.onnx", 0
    for _ in range(COUNT):
        proto = copy.deepcopy(chosen.choice(protos))
        for _ in range(chosen.choice((1, 1, 1, 2, 3))):
            change(proto, chosen)
        path.write_bytes(proto.SerializeToString())
        networks += lowered_or_refused(path)
    assert 0 < networks < COUNT  # else the damage is of no use
    assert peak() - before < MOST_BYTES


def flipped(data: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chosen.choice((1, 1, 2, 5))):
        changed[chosen.randrange(len(changed))] = chosen.randrange(256)
    return bytes(changed)


def truncated(data: bytes, chosen: random.Random) -> bytes:
    return data[: chosen.randrange(len(data))]


def spliced(data: bytes, chosen: random.Random) -> bytes:
    a, b, c = sorted(chosen.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[chosen.choice((a, b, c)) :]


BYTE_CHANGES = (flipped, truncated, spliced)


@pytest.mark.parametrize("change", BYTE_CHANGES, ids=lambda change: change.__name__)
def test_onnx_bytes(change: Callable[[bytes, random.Random], bytes], tmp_path: Path) -> None:
    """Parameters, most of most files, are left out, so that it is the structure that is hit."""
    chosen, before = random.Random(SEED), peak()
    files = []
    for proto in onnx_models():
        for tensor in proto.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) > 64:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), tensor.name))
        files.append(proto.SerializeToString())
    path = tmp_path / "net.onnx"
    for _ in range(COUNT):
        path.write_bytes(change(chosen.choice(files), chosen))
        lowered_or_refused(path)
    assert peak() - before < MOST_BYTES


# Keras --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def whole_files_need_no_process() -> None:
    """Replaces the fixture of conftest.py: the HDF5 library may crash on files that are not whole."""


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_the_process_that_reads_hdf5_hands_over_what_it_reads(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    net = nested(0)[0]
    if suffix == ".h5":
        write_h5(path, net, 3)
    else:
        write_keras(path, net)
    by_process = build.lower(path).model.graph
    with reading_in_this_process():
        here = build.lower(path).model.graph
    x = {port.name: np.random.default_rng(0).standard_normal(port.shape) for port in here.inputs}
    values, others = here.evaluate(x), by_process.evaluate(x)
    assert all(np.array_equal(values[o.value], others[o.value]) for o in here.outputs)


VALUES: list[Any] = [None, True, "x", [], {}, [1, 2, 3], "channels_first", "same", [[]], "relu", [-1], [[1, 2], [3, 4]]]


def change_tree(tree: Any, chosen: random.Random) -> None:
    """Puts another value somewhere, or takes one away."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = chosen.choice(keys)
        if not isinstance(tree[key], dict | list) or chosen.random() < 0.15:
            if chosen.random() < 0.2:
                del tree[key]
            else:
                tree[key] = copy.deepcopy(chosen.choice((*VALUES, *NUMBERS, *REALS)))
            return
        tree = tree[key]


def test_keras_configurations(tmp_path: Path) -> None:
    chosen, before = random.Random(SEED), peak()
    nets = [*keras_examples(), nested(0)[0]]
    stored = []
    for net in nets:
        with zipfile.ZipFile(write_keras(tmp_path / "whole.keras", net)) as archive:
            stored.append((config(net, 3), archive.read("model.weights.h5")))
    path, networks = tmp_path / "net.keras", 0
    for _ in range(COUNT):
        tree, weights = chosen.choice(stored)
        tree = copy.deepcopy(tree)
        for _ in range(chosen.choice((1, 1, 2, 4))):
            change_tree(tree, chosen)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(tree))
            archive.writestr("model.weights.h5", weights)
        with reading_in_this_process():  # the HDF5 file is whole
            networks += lowered_or_refused(path)
    assert 0 < networks < COUNT
    assert peak() - before < MOST_BYTES


@pytest.mark.parametrize("change", BYTE_CHANGES, ids=lambda change: change.__name__)
def test_keras_bytes(change: Callable[[bytes, random.Random], bytes], tmp_path: Path) -> None:
    chosen, before = random.Random(SEED), peak()
    files = {
        ".keras": write_keras(tmp_path / "whole.keras", nested(0)[0]).read_bytes(),
        ".h5": write_h5(tmp_path / "whole.h5", nested(0)[0], 3).read_bytes(),
        ".hdf5": write_h5(tmp_path / "whole.hdf5", nested(1)[0], 2).read_bytes(),
    }
    for _ in range(COUNT // 8):
        suffix = chosen.choice(list(files))
        path = tmp_path / f"net{suffix}"
        path.write_bytes(change(files[suffix], chosen))
        lowered_or_refused(path)
    assert peak() - before < MOST_BYTES
