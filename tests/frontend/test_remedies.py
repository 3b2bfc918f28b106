"""Suggestions in errors of a spec: another layout of weights or inputs, the place of the batch, another tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.errors import ClgenError
from codegen.frontend.toml import load

Shapes = dict[str, tuple[int, ...]]


def refused(
    folder: Path, layers: str, tensors: Shapes, shape: str = "[3, 16, 16]", model: str = "", x: str = ""
) -> str:
    """The error of a spec with these layers, the last of them called "last"; the file's name is left out."""
    with (folder / "w.npz").open("wb") as file:
        np.savez(file, **{name: np.ones(size, np.float32) for name, size in tensors.items()})  # type: ignore[arg-type]
    text = f'[model]\nname = "net"\nweights = "w.npz"\n{model}\n[[input]]\nname = "x"\nshape = {shape}\n{x}\n'
    path = folder / "net.toml"
    path.write_text(text + layers + '[[output]]\nname = "y"\nfrom = "last"\n')
    with pytest.raises(ClgenError) as caught:
        load(path)
    return str(caught.value).removeprefix(f"{path}: ").replace(str(folder / "w.npz"), "w.npz")


def layer(name: str, op: str = "conv", more: str = "") -> str:
    return f'[[layer]]\nname = "{name}"\nop = "{op}"\n{more}\n'


def batch_norm(prefix: str, channels: int) -> Shapes:
    return {f"{prefix}.{name}": (channels,) for name in ("gamma", "beta", "moving_mean", "moving_variance")}


TWO = layer("first", more="padding = 1") + layer("last")
TORCH: Shapes = {"first.weight": (32, 3, 3, 3), "last.weight": (64, 32, 1, 1)}
KERAS: Shapes = {"first.kernel": (3, 3, 3, 32), "last.kernel": (1, 1, 32, 64)}


def test_keras_weights_in_a_spec_of_pytorch_s_layout(tmp_path: Path) -> None:
    """The error comes at a later layer if the first weight fits either way."""
    assert refused(tmp_path, TWO, KERAS, "[3, 40, 40]") == (
        'layer "last": weight: tensor "last.kernel" [1, 1, 32, 64] of w.npz read as OIHW does not fit input '
        "[1, 3, 40, 11]: with groups = 1 the weight takes 1 channels, not 3; the weights look like HWIO: write "
        'weight_layout = "HWIO" in [model]'
    )


def test_a_batch_norm_tells_the_layout_of_the_weight_before_it(tmp_path: Path) -> None:
    layers = layer("last", more="padding = 1\nbatch_norm = { epsilon = 1e-3 }")
    tensors = {"last.kernel": (3, 3, 3, 32), **batch_norm("last.bn", 32)}
    assert refused(tmp_path, layers, tensors, "[3, 40, 40]") == (
        'layer "last": batch_norm.gamma: tensor "last.bn.gamma" [32] of w.npz should be [3], one for each channel of '
        'input [1, 3, 40, 11]; the weight looks like HWIO: write weight_layout = "HWIO", here or in [model] for all '
        "layers"
    )


def test_a_kernel_that_does_not_fit_tells_the_layout(tmp_path: Path) -> None:
    assert refused(tmp_path, layer("last"), {"last.weight": (3, 3, 3, 32)}) == (
        'layer "last": kernel [3, 32] does not fit into input [1, 3, 16, 16] with padding 0; the weight looks like '
        'HWIO: write weight_layout = "HWIO", here or in [model] for all layers'
    )


def test_pytorch_weights_in_a_spec_of_keras_layout(tmp_path: Path) -> None:
    tensors: Shapes = {"first.weight": (32, 3, 5, 5), "last.weight": (64, 32, 1, 1)}
    assert refused(tmp_path, TWO, tensors, model='weight_layout = "HWIO"') == (
        'layer "first": weight: tensor "first.weight" [32, 3, 5, 5] of w.npz read as HWIO does not fit input '
        "[1, 3, 16, 16]: with groups = 1 the weight takes 5 channels, not 3; the weight looks like OIHW: write "
        'weight_layout = "OIHW", here or in [model] '
        "for all layers"
    )


def test_one_layer_of_another_layout(tmp_path: Path) -> None:
    tensors: Shapes = {"first.weight": (32, 3, 3, 3), "last.kernel": (3, 3, 32, 64)}
    assert refused(tmp_path, TWO, tensors) == (
        'layer "last": weight: tensor "last.kernel" [3, 3, 32, 64] of w.npz read as OIHW does not fit input '
        "[1, 32, 16, 16]: with groups = 1 the weight takes 3 channels, not 32; the weight looks like HWIO: write "
        'weight_layout = "HWIO"'
    )


@pytest.mark.parametrize(
    ("op", "more", "shape", "wanted"),
    [
        (
            "depthwise_conv",
            "",
            (3, 3, 16, 1),
            'HWCM: write weight_layout = "HWCM", or weight_layout = "HWIO" in [model]',
        ),
        ("conv", "groups = 16", (3, 3, 16, 1), 'HWCM: write weight_layout = "HWCM"'),
        (
            "conv_transpose",
            "",
            (3, 3, 8, 16),
            'HWOI: write weight_layout = "HWOI", or weight_layout = "HWIO" in [model]',
        ),
        ("conv", 'weight_layout = "HWIO"', (8, 16, 3, 3), 'OIHW: write weight_layout = "OIHW"'),
        ("conv_transpose", 'weight_layout = "HWOI"', (16, 8, 3, 3), 'IOHW: write weight_layout = "IOHW"'),
    ],
)
def test_layouts_of_other_convolutions(op: str, more: str, shape: tuple[int, ...], wanted: str, tmp_path: Path) -> None:
    message = refused(tmp_path, layer("last", op, more), {"last.weight": shape}, "[16, 8, 8]")
    suffix = " for all layers" if wanted.endswith("]") else ""
    assert message.endswith(f"; the weight looks like {wanted}{suffix}"), message


def test_dense_weights_the_other_way_round(tmp_path: Path) -> None:
    assert refused(tmp_path, layer("last", "dense"), {"last.kernel": (10, 5)}, "[10]") == (
        'layer "last": weight: tensor "last.kernel" [10, 5] of w.npz read as OI does not fit input [1, 10]: the weight '
        'takes 5 features, not 10; the weight looks like IO: write weight_layout = "IO", or weight_layout = "HWIO" in '
        "[model] for all layers"
    )
    message = refused(tmp_path, layer("last", "dense"), {"last.weight": (5, 10)}, "[10]", 'weight_layout = "HWIO"')
    assert message.endswith(
        "read as IO does not fit input [1, 10]: the weight takes 5 features, not 10; the weight looks like OI: write "
        'weight_layout = "OI", or weight_layout = "OIHW" in [model] for all layers'
    )


def test_no_layout_is_named_where_none_fits(tmp_path: Path) -> None:
    assert refused(tmp_path, layer("last"), {"last.weight": (7, 7, 7, 7)}) == (
        'layer "last": weight: tensor "last.weight" [7, 7, 7, 7] of w.npz read as OIHW does not fit input '
        "[1, 3, 16, 16]: with groups = 1 the weight takes 7 channels, not 3"
    )


@pytest.mark.parametrize("batch", [1, 8])
def test_a_shape_with_the_batch(batch: int, tmp_path: Path) -> None:
    shape = f"[{batch}, 3, 16, 16]"
    assert refused(tmp_path, TWO, TORCH, shape) == (
        f'layer "first": weight: tensor "first.weight" [32, 3, 3, 3] of w.npz should have 5 axes for input '
        f'[1, {batch}, 3, 16, 16]; input "x": shape {shape} seems to include the batch: write full_shape = {shape}, or '
        f"shape = [3, 16, 16] and batch = {batch} in [model]"
    )


def test_a_shape_with_the_batch_before_a_layer_without_weights(tmp_path: Path) -> None:
    layers = layer("first", "max_pool", "kernel = [2, 2]") + layer("last")
    assert refused(tmp_path, layers, {"last.weight": (8, 3, 3, 3)}, "[1, 3, 16, 16]") == (
        'layer "first": kernel: [2, 2] should have 3 entries, one for each spatial axis of input [1, 1, 3, 16, 16]; '
        'input "x": shape [1, 3, 16, 16] seems to include the batch: write full_shape = [1, 3, 16, 16], or shape = '
        "[3, 16, 16] and batch = 1 in [model]"
    )


def test_channels_last_in_an_nchw_shape(tmp_path: Path) -> None:
    assert refused(tmp_path, TWO, TORCH, "[16, 16, 3]") == (
        'layer "first": weight: tensor "first.weight" [32, 3, 3, 3] of w.npz read as OIHW does not fit input '
        '[1, 16, 16, 3]: with groups = 1 the weight takes 3 channels, not 16; input "x": shape [16, 16, 3] looks like '
        'channels last: write layout = "NHWC"'
    )


def test_channels_first_in_an_nhwc_shape(tmp_path: Path) -> None:
    message = refused(tmp_path, TWO, TORCH, "[3, 16, 16]", x='layout = "NHWC"')
    assert message.endswith('; input "x": shape [3, 16, 16] looks like channels first: write layout = "NCHW"')


def test_batch_and_channels_last_together(tmp_path: Path) -> None:
    message = refused(tmp_path, TWO, TORCH, "[1, 16, 16, 3]")
    assert message.endswith(
        'input "x": shape [1, 16, 16, 3] seems to include the batch: write full_shape = [1, 16, 16, 3], or shape = '
        '[16, 16, 3] and batch = 1 in [model]; it also looks like channels last: write layout = "NHWC"'
    )


def test_channels_last_and_weights_of_keras(tmp_path: Path) -> None:
    tensors: Shapes = {"first.kernel": (5, 5, 3, 32), "last.kernel": (1, 1, 32, 64)}
    message = refused(tmp_path, TWO, tensors, "[16, 16, 3]")
    assert message.endswith(
        '; input "x": shape [16, 16, 3] looks like channels last: write layout = "NHWC"; the weight looks like HWIO: '
        'write weight_layout = "HWIO", here or in [model] for all layers'
    )


def test_every_remedy_is_one(tmp_path: Path) -> None:
    """A spec that follows the advice loads."""
    refused(tmp_path, TWO, KERAS)
    path = tmp_path / "net.toml"
    path.write_text(path.read_text().replace("[[input]]", 'weight_layout = "HWIO"\n[[input]]'))
    assert load(path).graph.shapes["last"] == (1, 64, 16, 16)
    refused(tmp_path, TWO, TORCH, "[1, 16, 16, 3]")
    path.write_text(path.read_text().replace("shape = [1, 16, 16, 3]", 'full_shape = [1, 16, 16, 3]\nlayout = "NHWC"'))
    assert load(path).graph.shapes["last"] == (1, 64, 16, 16)


# Tensors that are not there


def test_a_tensor_that_nothing_reads_is_suggested_before_one_that_is_spelt_alike(tmp_path: Path) -> None:
    tensors: Shapes = {"conv2.weight": (3, 3, 3, 3), "last.weight": (3, 3, 3, 3), "stem.w": (3, 3, 3, 3)}
    layers = layer("conv1") + layer("conv2") + layer("last")
    assert refused(tmp_path, layers, tensors) == (
        'layer "conv1": weight: no tensor "conv1.weight" or "conv1.kernel" in w.npz; did you mean "stem.w" '
        '[3, 3, 3, 3], which fits and which nothing else reads? Write weight = "stem.w"'
    )


def test_a_tensor_of_the_right_shape_is_suggested(tmp_path: Path) -> None:
    tensors: Shapes = {"lastweight": (64,), "final.weights": (64, 3, 1, 1), "last.weigth": (64, 5, 1, 1)}
    assert refused(tmp_path, layer("last"), tensors).endswith(
        '; did you mean "final.weights" [64, 3, 1, 1], which fits and which nothing else reads? Write weight = '
        '"final.weights"'
    )


def test_a_tensor_that_an_explicit_key_names_is_read_by_that_layer(tmp_path: Path) -> None:
    layers = layer("first") + layer("last", more='weight = "fist.weight"')
    tensors: Shapes = {"fist.weight": (3, 3, 1, 1), "other": (3, 3, 1, 1)}
    assert refused(tmp_path, layers, tensors).endswith(
        '; did you mean "other" [3, 3, 1, 1], which fits and which nothing else reads? Write weight = "other"'
    )


def test_a_misspelt_variance_is_found_beside_other_batch_norms(tmp_path: Path) -> None:
    layers = layer("first", more="batch_norm = { epsilon = 1e-3 }")
    layers += layer("last", more="batch_norm = { epsilon = 1e-3 }")
    tensors = {
        "first.weight": (8, 3, 1, 1), **batch_norm("first.bn", 8),
        "last.weight": (8, 8, 1, 1), **batch_norm("last.bn", 8),
    }  # fmt: skip
    tensors["first.bn.moving_varianc"] = tensors.pop("first.bn.moving_variance")
    assert refused(tmp_path, layers, tensors) == (
        'layer "first": batch_norm.variance: tensor "first.bn.moving_variance" is missing; w.npz has "first.bn.gamma", '
        '"first.bn.beta" and "first.bn.moving_mean"; did you mean "first.bn.moving_varianc" [8], which fits and which '
        'nothing else reads? Write variance = "first.bn.moving_varianc"'
    )


def test_a_misspelt_name_of_a_tensor_that_another_layer_reads_too(tmp_path: Path) -> None:
    layers = layer("first") + layer("last", more='weight = "first.weigh"')
    assert refused(tmp_path, layers, {"first.weight": (3, 3, 1, 1)}) == (
        'layer "last": weight: no tensor "first.weigh" in w.npz; did you mean "first.weight" [3, 3, 1, 1]? Write '
        'weight = "first.weight"'
    )


@pytest.mark.parametrize("missing", ["moving_mean", "moving_variance"])
def test_no_array_of_a_batch_norm_stands_in_for_another(missing: str, tmp_path: Path) -> None:
    layers = layer("first", more="batch_norm = { epsilon = 1e-3 }") + layer("bn", "batch_norm", "epsilon = 1e-3")
    layers += layer("last", more="batch_norm = { epsilon = 1e-3 }")
    weights: Shapes = {"first.weight": (3, 3, 1, 1), "last.weight": (3, 3, 1, 1)}
    for prefix in ("first.bn", "bn", "last.bn"):
        tensors = {**weights, **batch_norm("first.bn", 3), **batch_norm("bn", 3), **batch_norm("last.bn", 3)}
        del tensors[f"{prefix}.{missing}"]
        message = refused(tmp_path, layers, tensors)
        assert f'tensor "{prefix}.{missing}" is missing; w.npz has ' in message
        assert message.endswith(f'; say which with {missing.removeprefix("moving_")} = "..."'), message


def test_no_tensor_is_suggested_that_fits_in_neither_name_nor_shape(tmp_path: Path) -> None:
    assert refused(tmp_path, layer("last"), {"embedding": (1000, 8)}) == (
        'layer "last": weight: no tensor "last.weight" or "last.kernel" in w.npz; say which with weight = "..."'
    )
