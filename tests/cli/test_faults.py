"""Small inputs that once went wrong without a word, kept beside the project: what each should give, on devices.

The right values are by hand; "onnxruntime" says that ONNX Runtime's are right, with its optimisations off.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

from codegen.errors import ClgenError
from codegen.importers.open import open_model
from codegen.runtime.devices import DeviceInfo
from tests.support.everywhere import by_device, by_reference
from tests.support.needs import ROOT
from tests.support.onnx_models import Array, expected

FOLDER = Path(os.environ.get("CLGEN_FAULTS", ROOT.parent / "shared" / "faults"))
PASS_MARK = 1e-4  # of max|y|


@dataclass(frozen=True, eq=False)
class Fault:
    """``inputs`` are in the model's order; ``y`` is the right output."""

    file: str
    inputs: tuple[Array, ...]
    y: Array | str = "onnxruntime"


def counted(*shape: int) -> Array:
    """1, 2, 3, ... in this shape."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


PHOTO = noise(1, 3, 4, 5)
WHOLE = np.arange(10_000, dtype=np.float32)

SHAPED = np.empty(0)  # stands for noise in the shape that the model's input has

FAULTS = (
    Fault("submap.onnx", (counted(1, 1, 2, 2) * 3,), counted(1, 1, 2, 2) * 2),
    Fault("divmap.onnx", (counted(1, 1, 2, 2) * 3,), np.full((1, 1, 2, 2), 3.0)),
    Fault("mean_image.onnx", (PHOTO,)),
    Fault("sub_mean_scalar.onnx", (floats(1, 2, 3, 6).reshape(2, 2),), floats(2)),
    Fault("stack_of_scalars_mul.onnx", (floats(1, 2, 3, 6).reshape(2, 2),), floats(6, 2, 18, 6).reshape(2, 2)),
    *(
        Fault("floor_div_41.onnx", (WHOLE[k : k + 4].reshape(1, 4),), np.floor(WHOLE[k : k + 4].reshape(1, 4) / 41))
        for k in (40, 82, 9_840)
    ),
    Fault("resize_linear_asymmetric_60000.onnx", (np.sin(counted(1, 1, 60_000) / 100),)),
    Fault("resize_nearest_align_corners/m.onnx", (noise(1, 2, 5, 7),)),
    Fault("adv_resize_ac_lin_scales/m.onnx", (noise(1, 1, 5, 7),)),
    Fault("pow_float_base_int_exponent.onnx", (floats(0, 1, 2, 3).reshape(1, 4),), floats(0.5, 0.75, 1.125, 1.6875)),
    Fault("int_reduce_mean.onnx", (floats(1, 2).reshape(1, 2),), floats(1)),
    Fault("int_resize_linear.onnx", (floats(1, 2, 4, 7).reshape(1, 1, 2, 2),)),
    Fault("max_inf.onnx", (floats(np.inf, -np.inf, 1, -1).reshape(1, 4),)),
    # By ONNX's text, ceil(6 / 1) elements: "pool-same-dilated" in docs/operators.md.
    Fault("maxpool_same_dilated.onnx", (floats(1, 2, 3, 4, 5, 6).reshape(1, 1, 6),), floats(3, 4, 5, 6, 5, 6)),
    # Constants wherever a tensor may stand, and what is computed from them.
    Fault("g_concat_const/m.onnx", (SHAPED,)),
    Fault("g_gemm_constA/m.onnx", (SHAPED,)),
    Fault("g_conv_const_first/m.onnx", (SHAPED,)),
    *(
        Fault(f"adv_const_{op}/m.onnx", (SHAPED,))
        for op in ("conv", "cos", "cumsum", "dq", "einsum", "leaky", "pad", "resize", "softmax")
    ),
    Fault("castlike_const.onnx", (SHAPED,)),
    Fault("coordconv.onnx", (SHAPED,)),
    Fault("gathernd_big.onnx", (SHAPED,)),
    Fault("ws_doc.onnx", (SHAPED,)),
    Fault("crash_reshape_gemm.onnx", (SHAPED,)),
    Fault("out_constant/m.onnx", (SHAPED,)),
    # Masks of infinities.
    Fault("where_neginf/m.onnx", (SHAPED,)),
    Fault("where_inf.onnx", (SHAPED,)),
    Fault("mask_neginf/m.onnx", (SHAPED,)),
    Fault("pad_ninf/m.onnx", (SHAPED,)),
    # Conditions that are constant.
    Fault("if_const/m.onnx", (SHAPED,)),
    Fault("g_if_relu/m.onnx", (SHAPED,)),
    # Round trips of layouts; tests/importers/test_layout_models.py counts the launches.
    Fault("relu_only.onnx", (SHAPED,)),
    Fault("copies_bn.onnx", (SHAPED,)),
    Fault("in_uint8/m.onnx", (np.arange(147).reshape(1, 3, 7, 7).astype(np.uint8) * 5,)),
    Fault("in_float16/m.onnx", (noise(1, 3, 7, 7).astype(np.float16),)),
    Fault("scalar_input/m.onnx", (noise(1, 3, 5), np.array(-2.5, np.float32))),
    Fault("multi_input_diff_batch/m.onnx", (noise(1, 3, 7, 7), noise(4, 5))),
)

REFUSED = {
    "external_missing/m.onnx": 'w.bin, which holds tensor "w", is missing beside the model: put it there, or save the '
    "model with its tensors inside",
    "zero_size_dim/m.onnx": 'input "x" [1, 0, 5] has a size of 0, so that there is nothing to compute; if the 0 stands '
    "for an open size, give it with --shape 'x=1,?,5'",
}


def present(file: str) -> Path:
    path = FOLDER / file
    if not path.exists():
        pytest.skip(f"{path} is not here: set CLGEN_FAULTS to the folder that holds the faults")
    return path


@pytest.mark.parametrize("file", REFUSED)
def test_what_cannot_be_imported_is_said_clearly(file: str) -> None:
    path = present(file)
    with pytest.raises(ClgenError) as caught:
        open_model(path)
    assert str(caught.value) == f"{path}: {REFUSED[file]}"


def wanted(fault: Fault) -> tuple[Path, dict[str, Array], list[Array]]:
    path = present(fault.file)
    proto = onnx.load(str(path))
    names = [value.name for value in proto.graph.input]
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in proto.graph.input]
    given = [noise(*shape) if x is SHAPED else x for shape, x in zip(shapes, fault.inputs, strict=True)]
    feeds = {name: np.asarray(x) for name, x in zip(names, given, strict=True)}
    return path, feeds, expected(proto, feeds) if isinstance(fault.y, str) else [fault.y]


def assert_close(got: list[Array], right: list[Array]) -> None:
    for y, true in zip(got, right, strict=True):
        assert y.size == true.size
        most = np.max(np.abs(true), where=np.isfinite(true), initial=1e-30)
        true = true.astype(np.float64)
        np.testing.assert_allclose(y.reshape(-1), true.reshape(-1), rtol=0, atol=PASS_MARK * most)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.file)
def test_the_graph_is_right(fault: Fault) -> None:
    path, feeds, right = wanted(fault)
    assert_close(by_reference(path, by_port(path, feeds)), right)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.file)
def test_devices_are_right(fault: Fault, device: DeviceInfo, tmp_path: Path) -> None:
    path, feeds, right = wanted(fault)
    for got in by_device(path, by_port(path, feeds), device, tmp_path):
        assert_close(got, right)


def by_port(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays under the names that the spec has for the inputs."""
    return {i.name: x for i, x in zip(open_model(path).graph.inputs, feeds.values(), strict=True)}


def test_a_list_of_numbers_before_a_dense_layer(device: DeviceInfo, tmp_path: Path) -> None:
    """crash.toml: reduce_sum leaves [2], which reshape makes [2, 1]; y is the sums times the only weight, plus bias."""
    path = FOLDER / "crash.toml"
    if not path.exists():
        pytest.skip(f"{path} is not here: set CLGEN_FAULTS to the folder that holds the faults")
    with np.load(FOLDER / "crash.npz") as archive:
        arrays = dict(archive)
    x = np.array([[1, 2, 3, 4], [0, -1, 0.5, 2]], np.float32)
    right = np.array([[10.0], [1.5]]) @ arrays["fc.weight"].T + arrays.get("fc.bias", 0)
    for got in by_device(path, {"x": x}, device, tmp_path):
        assert_close(got, [right])


# Keras: the answer that Keras itself gave is beside the model, or the model is refused by the layer's name.
KERAS = ("cf_softmax", "rescale_nested", "nested_dict", "augment_flip")
KERAS_REFUSED = {
    "custom_relu.keras": '"re_lu" (ReLU) with a class of your own, whose code is not in the file',
    "cf_up1d.keras": '"up_sampling1d" (UpSampling1D) with channels that are not where other layers have them',
    "k2_nested_training.h5": '"n/batch_normalization" (BatchNormalization) with training = true',
}


def keras_case(name: str) -> tuple[Path, Array, Array]:
    path = present(f"keras/{name}.keras")
    if name != "augment_flip":
        with np.load(path.with_suffix(".in.npz")) as archive:
            return path, archive["x"], np.load(path.with_suffix(".y.npy"))
    # Without its random changes of images it is a Rescaling before a convolution.
    with np.load(path.with_suffix(".npz")) as archive:
        x = archive["i0"]
    return path, x, convolved(path, x)


def convolved(path: Path, x: Array) -> Array:
    """The 3x3 convolution of x / 255 with the weights that the file has."""
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        arrays = file["layers/conv2d/vars"]
        kernel, bias = arrays["0"][()].astype(np.float64), arrays["1"][()]
    h, w = x.shape[1] - 2, x.shape[2] - 2
    taps = (x[:, i : i + h, j : j + w].astype(np.float64) / 255 @ kernel[i, j] for i in range(3) for j in range(3))
    return np.asarray(sum(taps)) + bias


@pytest.mark.parametrize("name", KERAS)
def test_keras_models_are_right(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    path, x, right = keras_case(name)
    graph = open_model(path).graph
    (source,), (target,) = graph.inputs, graph.outputs
    # Keras' arrays have their channels last, as the application's; the reference's are in the spec's order.
    moved = np.moveaxis(x, -1, 1) if source.channels_last else x
    assert_close(
        by_reference(path, {source.name: moved}), [np.moveaxis(right, -1, 1) if target.channels_last else right]
    )
    for got in by_device(path, {source.name: x}, device, tmp_path):
        assert_close(got, [right])


@pytest.mark.parametrize("file", KERAS_REFUSED)
def test_keras_models_that_are_refused(file: str) -> None:
    path = present(f"keras/{file}")
    with pytest.raises(ClgenError) as caught:
        open_model(path)
    assert KERAS_REFUSED[file] in str(caught.value)
