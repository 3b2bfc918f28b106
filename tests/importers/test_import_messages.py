"""Messages for ONNX models that cannot be imported.

Examples are missing files, quantised models, and similar nodes that are refused together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from codegen.errors import ParameterError, SpecError
from codegen.frontend.spec.place import show
from codegen.importers.open import import_model, open_model
from tests.support.onnx_models import Array, model, node, saved

# External data -------------------------------------------------------------------------------------------------------


def external(folder: Path, tensors: Mapping[str, Mapping[str, object]]) -> Path:
    """x + each of these tensors [4] of float32, whose data is where these facts say."""
    names = list(tensors)
    nodes = [node("Sum", " ".join(["x", *names]), "y")]
    proto = model(nodes, {"x": (1, 4)}, {name: np.zeros(4, np.float32) for name in names})
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in tensors[tensor.name].items():
            tensor.external_data.add(key=key, value=str(value))
    return saved(proto, folder)


def refused_external(folder: Path, **facts: object) -> str:
    """The error of a model with one tensor "w" outside; the model's path is left out."""
    path = external(folder, {"w": facts})
    with pytest.raises(ParameterError) as caught:
        import_model(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_external_data_at_offsets(tmp_path: Path) -> None:
    values = np.arange(8, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(values.tobytes())
    path = external(
        tmp_path,
        {"a": {"location": "sub/w.bin", "offset": 16, "length": 16}, "b": {"location": "./sub/w.bin", "length": 16}},
    )
    graph = open_model(path).graph
    (y,) = (graph.evaluate({"x": np.zeros((1, 4))})[output.value] for output in graph.outputs)
    assert y.tolist() == [[4, 6, 8, 10]]


def test_a_missing_external_file_comes_first(tmp_path: Path) -> None:
    assert refused_external(tmp_path, location="weights.bin", offset=0, length=16) == (
        'weights.bin, which holds tensor "w", is missing beside the model: put it there, or save the model with its '
        "tensors inside"
    )
    path = external(tmp_path, {name: {"location": "my weights.bin"} for name in ("a", "b", "c")})
    with pytest.raises(ParameterError) as caught:
        import_model(path)
    assert str(caught.value).startswith(f'{path}: my weights.bin, which holds tensor "a" and 2 more, is missing beside')


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    assert refused_external(tmp_path, location="w.bin", offset=0, length=16) == (
        'w.bin has 12 bytes, which do not hold tensor "w" [4] of offset 0 and length 16: is the file whole?'
    )
    assert refused_external(tmp_path, location="w.bin", offset="x").startswith("w.bin has 12 bytes, which do not hold")
    assert refused_external(tmp_path, location="w.bin", length=-1).startswith("w.bin has 12 bytes, which do not hold")
    assert refused_external(tmp_path, location="w.bin", offset=2**70).startswith("w.bin has 12 bytes")


@pytest.mark.parametrize(
    "location", ["../w.bin", "sub/../../w.bin", "..\\w.bin", "", ".", "..", "/etc/passwd", "w\n.bin", "sub/.."]
)
def test_external_data_is_read_from_the_model_s_folder_only(location: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    message = refused_external(folder, location=location)
    assert message == (
        f'{show(location)}, which holds tensor "w", is not a file in the model\'s folder; only those are read'
    )


def test_external_data_by_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "w.bin")
    assert refused_external(folder, location="w.bin") == (
        'w.bin, which holds tensor "w", leads out of the model\'s folder; only files in it are read'
    )


def test_external_data_beside_the_file_that_a_linked_model_leads_to(tmp_path: Path) -> None:
    """The cache of Hugging Face's hub is like this: both are links into a folder of blobs."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    (blobs / "1234").write_bytes(np.ones(4, np.float32).tobytes())
    external(blobs, {"w": {"location": "net.onnx_data"}}).rename(blobs / "5678")
    (folder / "net.onnx").symlink_to("../blobs/5678")
    (folder / "net.onnx_data").symlink_to("../blobs/1234")
    assert b"net.onnx_data" not in import_model(folder / "net.onnx").weights


def test_external_data_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").mkdir()
    assert refused_external(tmp_path, location="w.bin") == ('w.bin, which holds tensor "w", is not a regular file')
    (tmp_path / "loop").symlink_to("loop")
    assert refused_external(tmp_path, location="loop").startswith('loop, which holds tensor "w", cannot be read: ')


# Refusals -----------------------------------------------------------------------------------------------------------


def quantised(folder: Path) -> Path:
    scales: dict[str, Array] = {
        "s": np.array(0.1, np.float32),
        "z": np.array(3, np.uint8),
        "w": np.zeros((3, 3, 1, 1), np.uint8),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q0"),
        *(node("QLinearConv", f"q{k} s z w s z s z", f"q{k + 1}") for k in range(70)),
        node("DequantizeLinear", "q70 s z", "a"),
        node("Relu", "a", "y"),
    ]
    return saved(model(nodes, {"x": (1, 3, 8, 8)}, scales), folder)


def test_a_quantised_model_is_refused_in_one_line(tmp_path: Path) -> None:
    path = quantised(tmp_path)
    with pytest.raises(SpecError) as caught:
        open_model(path)
    assert str(caught.value) == (
        f"{path}: is a quantised model: 72 of its 73 nodes work on integers (70 QLinearConv, 1 QuantizeLinear, 1 "
        "DequantizeLinear); clgen takes float models: export or download the float32 model from which it was quantised"
    )


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("DynamicQuantizeLinear", ""), ("MatMulInteger", ""), ("QLinearAdd", "com.microsoft"), ("QGemm", "com.microsoft"),
     ("MatMulNBits", "com.microsoft"), ("DynamicQuantizeMatMul", "com.microsoft")],
)  # fmt: skip
def test_every_operator_of_quantised_models_tells(operator: str, domain: str, tmp_path: Path) -> None:
    proto = model([helper.make_node(operator, ["x"], ["a"], domain=domain), node("Relu", "a", "y")], {"x": (1, 3)}, {})
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(SpecError, match=rf"is a quantised model: 1 of its 2 nodes work on integers \(1 {operator}\); "):
        open_model(saved(proto, tmp_path))


def test_nodes_that_are_refused_alike_are_one_line(tmp_path: Path) -> None:
    nodes = [node("Det", "x", f"d{k}") for k in range(9)]
    nodes += [node("Loop", "x x x", "l"), node("LSTM", "x x x", "r")]
    nodes += [node("Sum", " ".join(f"d{k}" for k in range(9)) + " l r f", "y")]
    nodes.insert(0, helper.make_node("FusedConv", ["x"], ["f"], "fused", domain="com.microsoft"))
    proto = model(nodes, {"x": (1, 2, 2)}, {})
    for made in proto.graph.node:
        if made.op_type == "Loop":
            made.attribute.append(helper.make_attribute("body", proto.graph))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = saved(proto, tmp_path)
    with pytest.raises(SpecError) as caught:
        open_model(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 12 nodes are not supported:",
        '  com.microsoft.FusedConv "fused": ONNX Runtime\'s optimiser made it: give the model as it was before it was '
        "optimised",
        '  Det "Det_d0", "Det_d1", "Det_d2" and 6 more: there is no such operator in a spec',
        '  Loop "Loop_l": a spec cannot express loops; if it runs a fixed number of times, export the model with the '
        "loop "
        "unrolled",
        '  LSTM "LSTM_r": recurrent layers are not supported',
    ]


def test_a_size_of_0_is_said_to_be_0(tmp_path: Path) -> None:
    path = saved(model([node("Relu", "x", "y")], {"x": (1, 0, "W")}, {}), tmp_path)
    with pytest.raises(SpecError) as caught:
        open_model(path)
    assert str(caught.value) == (
        f'{path}: input "x" [1, 0, W] has a size of 0, so that there is nothing to compute; if the 0 stands for an '
        f"open "
        "size, give it with --shape 'x=1,?,?'"
    )
    assert open_model(path, {"x": (1, 4, 5)}).graph.inputs[0].shape == (1, 4, 5)
    with pytest.raises(SpecError, match=r'input "x" is \[1, 0, W\]; --shape x=2,4,5 does not fit'):
        open_model(path, {"x": (2, 4, 5)})


def test_a_weight_without_elements_is_said_to_have_a_size_of_0(tmp_path: Path) -> None:
    path = saved(model([node("Conv", "x w", "y")], {"x": (1, 4, 5, 5)}, {"w": np.zeros((0, 4, 3, 3))}), tmp_path)
    with pytest.raises(
        SpecError, match=r'Conv "Conv_y": weight: tensor "w" \[0, 4, 3, 3\] of the model has a size of 0$'
    ):
        open_model(path)
