"""The ONNX backend suite: its cases as inference networks, and what became of each.

The node tests are made by the onnx package on the spot; the folders pytorch-converted and pytorch-operator lie in it.
A case's weights, shapes, axes and indices arrive as inputs of the graph.  They become initializers here, as a trained
network has them, and data stays an input: the first input, and the others of operators whose inputs are all alike
(ALL_LIVE).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from codegen import build
from codegen.errors import ClgenError
from codegen.importers.onnx.choices import REFERENCE, Use, unlike
from codegen.importers.onnx.reader import OLDEST
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from tests.support.generated_c import Tool
from tests.support.ways import Application, Way, build_plain_c, compile_together

Array = NDArray[Any]

# The runner of the suite compares within these.
RTOL, ATOL = 1e-3, 1e-7
BFLOAT16_UNIT = 2.0**-8  # to which the suite rounds these numbers in each of its steps, and an artefact does not
CANCELLED = 2.0**-21  # of the largest number: what float32 leaves of terms that add up to 0, as in a transform

TARGET = "cpu"

# Operators whose inputs are all data.
ALL_LIVE = frozenset(
    [
        *("Add", "And", "BitShift", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "SwiGLU", "Where", "Xor"),
    ]
)


@dataclass(frozen=True, eq=False)
class Case:
    """``inputs`` are all of the model's, by name; ``group`` is the operator, or the folder's name."""

    name: str
    group: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    outputs: list[Any]


def cases() -> Iterator[Case]:
    yield from node_cases()
    yield from folder_cases("pytorch-converted")
    yield from folder_cases("pytorch-operator")


def node_cases() -> Iterator[Case]:
    """The node tests, except those in which a function's body is expanded: its operators have cases of their own."""
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"):
        collected = collect_testcases(None)
    for case in collected:
        if "_expanded" in case.name or case.model is None:
            continue
        (group,) = {node.op_type for node in case.model.graph.node}
        for inputs, outputs in case.data_sets or []:
            names = [value.name for value in case.model.graph.input]
            yield Case(case.name, group, case.model, dict(zip(names, inputs, strict=False)), list(outputs))


def folder_cases(name: str) -> Iterator[Case]:
    root = Path(onnx.__file__).parent / "backend" / "test" / "data" / name
    for folder in sorted(root.iterdir()):
        model = onnx.load(str(folder / "model.onnx"))
        given = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in given]
        for data in sorted(folder.glob("test_data_set_*")):
            inputs, outputs = (_tensors(data, kind) for kind in ("input", "output"))
            if len(inputs) == len(model.graph.input):
                names = [value.name for value in model.graph.input]
            yield Case(folder.name, name, model, dict(zip(names, inputs, strict=True)), outputs)


def _tensors(folder: Path, kind: str) -> list[Array]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    tensors = (onnx.load_tensor(str(folder / f"{kind}_{i}.pb")) for i in range(count))
    return [numpy_helper.to_array(tensor) for tensor in tensors]


# A case as a network ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Network:
    """``feeds`` are what is left as inputs."""

    model: onnx.ModelProto
    feeds: dict[str, Array]


def network(case: Case) -> Network:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    if any(opset.domain == "" and opset.version < OLDEST for opset in model.opset_import):
        model = _lifted(model)
    graph = model.graph
    live = _live(case)
    feeds: dict[str, Array] = {}
    inputs = [value for value in graph.input if value.name in live]
    del graph.input[:]
    for value in inputs:
        name, array = value.name, _numbers(case.inputs[value.name])
        if isinstance(array, np.ndarray):
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        else:
            graph.input.append(value)
        feeds[name] = array
    known = {tensor.name for tensor in graph.initializer}
    for name, array in case.inputs.items():
        if name not in live and name not in known:
            tensor = array if isinstance(array, TensorProto) else numpy_helper.from_array(np.asarray(array))
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = name
    return Network(model, feeds)


def _numbers(value: Any) -> Any:
    """A tensor in numbers that numpy has not, such as bfloat16, as an array."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _lifted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Converts a model of an older opset to opset 7, with slopes of PRelu that onnx's converter leaves as they are."""
    slopes = {node.input[1] for node in model.graph.node if node.op_type == "PRelu"}
    model = onnx.version_converter.convert_version(model, OLDEST)
    for tensor in model.graph.initializer:
        if tensor.name in slopes and len(tensor.dims) == 1 and tensor.dims[0] > 1:
            rank = len(model.graph.input[0].type.tensor_type.shape.dim)
            tensor.dims.extend([1] * (rank - 2))
    return model


def _live(case: Case) -> set[str]:
    graph = case.model.graph
    names = [name for name in case.inputs if name not in {tensor.name for tensor in graph.initializer}]
    if case.group == "pytorch-operator" or case.group in ALL_LIVE:
        return set(names)
    sequences = {name for name, value in case.inputs.items() if isinstance(value, list) or value is None}
    if case.group == "pytorch-converted":
        return {graph.input[0].name}
    return {*names[:1], *sequences}


# What becomes of it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is "passed", "failed", "refused", or "chosen" where the suite has other numbers than the engines that
    clgen follows by a choice in codegen/importers/onnx/choices.py; ``why`` is what was said or found."""

    name: str
    group: str
    verdict: str
    why: str = ""


def outcomes(devices: Sequence[DeviceInfo], chosen: Iterable[Case] | None = None) -> list[Outcome]:
    """Every case on every device: imported and built once, one thread for each device.

    Without devices cases are imported and planned only, as nothing else refuses them.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in devices]
        pending: list[tuple[Case, str | list[Future[str]]]] = []
        for k, case in enumerate(cases() if chosen is None else chosen):
            inside = folder / f"case_{k}" if devices else folder
            planned = _planned(case, inside)
            if isinstance(planned, str):
                pending.append((case, planned))
                continue
            lowered, feeds = planned
            jobs: list[Future[str]] = []
            if devices:
                artefact = read(build.build(lowered, inside, TARGET)[0])
                jobs = [w.submit(_run, artefact, feeds, case, d) for w, d in zip(workers, devices, strict=True)]
            pending.append((case, jobs))
        return [
            _outcome(case, result if isinstance(result, str) else [job.result() for job in result])
            for case, result in pending
        ]


def outcomes_in_plain_c(way: Way, tool: Tool, chosen: Iterable[Case]) -> list[Outcome]:
    """The cases that are not refused, compiled together in one way."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        built = plain_c_artefacts(chosen, folder)
        library = compile_together([artefact for _, artefact, _ in built], way, tool, folder / "cases.so")
        return [_outcome(case, [_computed(artefact, library, feeds, case, way)]) for case, artefact, feeds in built]


def plain_c_artefacts(chosen: Iterable[Case], folder: Path) -> list[tuple[Case, Artefact, dict[str, Array]]]:
    """The cases that are not refused, each as an artefact with a name of its own, and its inputs."""
    built = []
    for k, case in enumerate(chosen):
        planned = _planned(case, folder, f"case_{k}")
        if not isinstance(planned, str):
            lowered, feeds = planned
            built.append((case, build_plain_c(lowered, folder), feeds))
    return built


def _computed(artefact: Artefact, library: Path, feeds: Mapping[str, Array], case: Case, way: Way) -> str:
    """The fault of the outputs of plain C, or of the self-test, "" if there is none."""
    with Application(artefact, library, way) as application:
        if not application.selftest():
            return f"{way}: the self-test fails"
        return _wrong(application.run(_given(artefact, feeds)), artefact, case, str(way))


def _planned(case: Case, folder: Path, name: str = "net") -> str | tuple[build.Lowered, dict[str, Array]]:
    """The network, which can be planned, and its inputs; or why there is none."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.onnx"
    made = network(case)
    path.write_bytes(made.model.SerializeToString())
    try:
        lowered = build.lower(path)
        build.planned(lowered, TARGET)
    except ClgenError as error:
        return str(error).replace(f"{path}: ", "").replace(str(path), "")
    return lowered, made.feeds


def _run(artefact: Artefact, feeds: Mapping[str, Array], case: Case, device: DeviceInfo) -> str:
    """The fault of the outputs on a device, "" if there is none."""
    results = Session(artefact, device).run(_given(artefact, feeds))
    return _wrong(results, artefact, case, device.platform)


def _given(artefact: Artefact, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs by their names in C, without those on which no output depends."""
    return {
        declared["name"]: np.ascontiguousarray(feeds[declared["original"]], dtype=declared["type"]).reshape(
            declared["shape"]
        )
        for declared in artefact.inputs
    }


def _wrong(results: Mapping[str, Array], artefact: Artefact, case: Case, where: str) -> str:
    """The fault of the outputs, "" if there is none; ``where`` they were computed."""
    made = {declared["original"]: results[declared["name"]] for declared in artefact.outputs}
    for port, true in zip(case.model.graph.output, case.outputs, strict=True):
        got = made.get(port.name)
        if got is None and np.asarray(_numbers(true)).size == 0:
            continue  # a tensor without elements is left out
        if got is None:
            return f"{where}: output {port.name} is missing"
        with np.errstate(over="ignore"):
            wanted = np.asarray(_numbers(true)).astype(np.float32)
        if got.size != wanted.size or (got.shape != wanted.shape and wanted.ndim > 0):
            return f"{where}: shape {got.shape}, not {wanted.shape}"
        largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
        rtol, atol = RTOL, CANCELLED * largest if case.group == "DFT" else ATOL
        if _is_bfloat16(true):
            rtol, atol = 4 * BFLOAT16_UNIT, BFLOAT16_UNIT * largest
        if not np.allclose(got.reshape(wanted.shape), wanted, rtol=rtol, atol=atol, equal_nan=True):
            return f"{where}: {got.reshape(-1)[:4]}, not {wanted.reshape(-1)[:4]}"
    return ""


def _is_bfloat16(values: Any) -> bool:
    if isinstance(values, TensorProto):
        return bool(values.data_type == TensorProto.BFLOAT16)
    return bool(np.asarray(values).dtype.name == "bfloat16")


def _outcome(case: Case, wrong: str | list[str]) -> Outcome:
    """``wrong`` is why a case is refused, or the fault of each device."""
    if isinstance(wrong, str):
        return Outcome(case.name, case.group, "refused", wrong)
    verdict = "passed" if not any(wrong) else "chosen" if _chosen(case) else "failed"
    return Outcome(case.name, case.group, verdict, "; ".join(filter(None, wrong)))


def _chosen(case: Case) -> bool:
    """True if a choice names onnx.reference, which the suite's numbers are from, as different."""
    (opset,) = (entry.version for entry in case.model.opset_import if entry.domain == "")
    for node in case.model.graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()}
        if REFERENCE in unlike(Use(node.op_type, attributes, opset, list(node.input))):
            return True
    return False
