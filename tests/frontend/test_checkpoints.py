"""Checkpoints of training scripts as weights: prefixes of wrappers, several sets of weights, what is missing in them.

The files are made by hand, as in test_import_torch: no torch is needed.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from codegen.errors import ParameterError
from codegen.frontend.parameters.archive import Unreadable
from codegen.frontend.parameters.checkpoint import read_checkpoint
from codegen.frontend.toml import load
from tests.frontend.test_import_torch import (
    FORMATS,
    Net,
    Storage,
    Tensor,
    Trap,
    batch_norm,
    normal,
    tensor,
    torch,
    zipped,
)
from tests.support.values import save_npz

_ = torch  # the fixture that stands for the library, in use for every test of this file

SPEC = """
[model]
name = "net"
weights = "{weights}"
{more}
[[input]]
name = "image"
shape = [3, 5, 5]
[[layer]]
name = "stem.conv"
op = "conv"
batch_norm = {{ epsilon = 1e-5 }}
[[output]]
name = "y"
from = "stem.conv"
"""


def weights(prefix: str = "") -> dict[str, Tensor]:
    """A convolution and its BatchNorm."""
    named = {"stem.conv.weight": tensor(normal(4, 3, 3, 3)), **batch_norm("stem.bn", 4)}
    return {f"{prefix}{name}": values for name, values in named.items()}


def numbers(values: Tensor) -> np.ndarray:
    return values.arguments[0].values


def write(folder: Path, value: Any, weights: str = "net.pth", more: str = "") -> Path:
    if weights.endswith(".safetensors"):
        arrays = {name: numbers(x).reshape(x.arguments[2]) for name, x in value.items()}
        (folder / weights).write_bytes(safetensors.numpy.save(arrays))
    elif weights.endswith(".npz"):
        save_npz(folder / weights, {name: numbers(x).reshape(x.arguments[2]) for name, x in value.items()})
    else:
        (folder / weights).write_bytes(zipped(value))
    path = folder / "net.toml"
    path.write_text(SPEC.format(weights=weights, more=more))
    return path


def mean(path: Path) -> np.ndarray:
    """The mean of the BatchNorm that was read; all tensors of the file are used."""
    model = load(path)
    assert model.unused == ()
    return np.asarray(model.graph.by_name["stem.conv"].op.mean, np.float32)  # type: ignore[attr-defined]


# Prefixes -------------------------------------------------------------------------------------------------------------

PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.module._orig_mod.",
    "module.model.net.",
    "net.backbone_of_my_own.",
    "student_encoder.",
    "averaged_model.module.",
)


@pytest.mark.parametrize("file", ["net.pth", "net.ckpt", "net.safetensors", "net.npz"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrappers(prefix: str, file: str, tmp_path: Path) -> None:
    value = weights(prefix)
    assert (mean(write(tmp_path, value, file)) == numbers(value[f"{prefix}stem.bn.running_mean"])).all()


@pytest.mark.parametrize("file", ["net.pth", "net.safetensors"])
def test_wrappers_within_a_network(file: str, tmp_path: Path) -> None:
    """torch.compile and DataParallel of a part of the network."""
    value = {name.replace("stem.", "model.stem._orig_mod.module."): x for name, x in weights().items()}
    assert (mean(write(tmp_path, value, file)) == numbers(value["model.stem._orig_mod.module.bn.running_mean"])).all()


def test_averaged_model(tmp_path: Path) -> None:
    value = {"n_averaged": tensor(np.array(7)), **weights("module.")}
    assert (mean(write(tmp_path, value)) == numbers(value["module.stem.bn.running_mean"])).all()


def test_the_name_itself_comes_first(tmp_path: Path) -> None:
    value = {**weights("model."), **weights()}
    model = load(write(tmp_path, value))
    folded: Any = model.graph.by_name["stem.conv"].op
    assert (np.asarray(folded.mean, np.float32) == numbers(value["stem.bn.running_mean"])).all()
    assert all(name.startswith("model.") for name in model.unused) and len(model.unused) == 5


def test_what_else_a_lightning_module_holds(tmp_path: Path) -> None:
    value = {**weights("model."), "criterion.pos_weight": tensor(normal(4)), "metric.total": tensor(normal(2))}
    model = load(write(tmp_path, value))
    assert model.unused == ("criterion.pos_weight", "metric.total")


@pytest.mark.parametrize("file", ["net.pth", "net.safetensors"])
def test_weights_and_their_average_side_by_side(file: str, tmp_path: Path) -> None:
    value = {**weights("model."), **weights("ema_model.module.")}
    with pytest.raises(ParameterError) as caught:
        load(write(tmp_path, value, file))
    said = str(caught.value)
    assert 'tensor "stem.conv.weight" may be ' in said
    assert '"model.stem.conv.weight"' in said and '"ema_model.module.stem.conv.weight"' in said
    assert 'say which set is meant, such as weights_key = "model' in said or 'weights_key = "ema_model' in said
    for key, prefix in (
        ("model", "model."),
        ("ema_model", "ema_model.module."),
        ("ema_model.module", "ema_model.module."),
    ):
        got = mean(write(tmp_path, value, file, f'weights_key = "{key}"'))
        assert (got == numbers(value[f"{prefix}stem.bn.running_mean"])).all()


# Several sets of weights ----------------------------------------------------------------------------------------------


class Stub:
    """An object of a class that is not there when the file is read."""

    def __init__(self, *held: Any) -> None:
        self.held = held


def lightning(state: Any) -> dict[str, Any]:
    """A .ckpt of PyTorch Lightning: classes of the user's and of libraries in all branches but one."""
    return {
        "epoch": 3,
        "global_step": 99,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": Stub({"ready": 1})}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best": tensor(np.float32(0.5)), "path": Path("a/b")}},
        "optimizer_states": [{"state": {0: {"exp_avg": tensor(normal(2))}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [Stub()],
        "hparams_name": "kwargs",
        "hyper_parameters": types.SimpleNamespace(
            net=Net(), trap=Trap(), names=frozenset({"a"}), rates=defaultdict(list, a=[np.float32(1)]), when=1 + 2j
        ),
    }


@pytest.fixture(params=FORMATS)
def save(request: pytest.FixtureRequest) -> Any:
    return FORMATS[request.param]


def test_lightning(save: Any) -> None:
    state = OrderedDict(weights("model."))
    assert list(read_checkpoint(save(lightning(state)))) == list(state)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"model": weights(), "ema": weights()}, 'state_dicts, "model" and "ema"; "ema" should be their moving av'),
        ({"model": weights(), "model_ema": weights(), "epoch": 1}, '"model" and "model_ema"; "model_ema" should'),
        ({"state_dict": weights(), "state_dict_ema": weights()}, '"state_dict_ema" should be their moving average'),
        ({"params": weights(), "params_ema": weights()}, '"params" and "params_ema"; "params_ema" should'),
        ({"model": weights(), "ema": {"module": weights(), "updates": 9}}, '"model" and "ema.module"'),
        ({"g": weights(), "d": weights()}, r'several state_dicts, "g" and "d"; say which with weights_key = "\.\.\."'),
        ({"model": Net(), "ema": None}, 'an object of class tests.frontend.test_import_torch.Net under "model"'),
    ],
)
def test_several_sets_are_not_guessed(save: Any, value: Any, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read_checkpoint(save(value))


@pytest.mark.parametrize(
    ("value", "key", "prefix"),
    [
        ({"model": weights(), "ema": weights()}, "ema", "ema."),
        ({"model": weights(), "ema": {"module": weights(), "updates": 9}}, "ema.module", "ema.module."),
        ({"model": weights(), "ema": {"module": weights(), "updates": 9}}, "ema", "ema.module."),
        ({"a": {"b": {"state_dict": weights("net.")}}, "c": weights()}, "a.b", "a.b.state_dict.net."),
        ({"state_dict": {**weights("model."), **weights("ema.")}}, "state_dict.ema", "state_dict.ema."),
    ],
)
def test_weights_key_chooses(value: Any, key: str, prefix: str, tmp_path: Path) -> None:
    wanted: Any = value
    names = f"{prefix}stem.bn.running_mean"
    while names:
        word = next(k for k in wanted if names == k or names.startswith(f"{k}."))
        wanted, names = wanted[word], names.removeprefix(word).lstrip(".")
    assert (mean(write(tmp_path, value, more=f'weights_key = "{key}"')) == numbers(wanted)).all()


def test_a_weights_key_that_is_not_there(tmp_path: Path) -> None:
    value = {"model": weights(), "ema": weights()}
    message = r'has no tensors under weights_key = "emma"; it has "model" and "ema"'
    with pytest.raises(ParameterError, match=message):
        load(write(tmp_path, value, more='weights_key = "emma"'))
    with pytest.raises(ParameterError, match='it has "head" and "model"'):
        load(write(tmp_path, {**weights("model."), **weights("head.")}, "net.safetensors", 'weights_key = "ema"'))


def test_an_average_of_the_only_weights(save: Any) -> None:
    """YOLO's checkpoints after the optimizer is stripped: an average, and numbers next to it."""
    value = {
        "epoch": tensor(np.array(3)),
        "model": None,
        "ema": weights(),
        "updates": 8,
        "optimizer": {"a": tensor(normal(2))},
    }
    assert list(read_checkpoint(save(value))) == list(weights())


def test_one_dictionary_in_two_places(save: Any) -> None:
    state = weights()
    assert list(read_checkpoint(save({"model": state, "ema": state}))) == list(state)


def test_a_dictionary_within_itself(save: Any) -> None:
    value: dict[str, Any] = {"model": weights()}
    value["model"]["self"] = value
    value["again"] = value
    assert list(read_checkpoint(save(value))) == list(weights())


# Tensors --------------------------------------------------------------------------------------------------------------


def test_narrow_types_and_shared_storages_in_a_network(tmp_path: Path) -> None:
    """float16 and bfloat16 are widened; a view and a transposed tensor are read through their strides."""
    half = np.array([0.5, 1.5, 2.5, 3.5], np.float16)
    shared = Storage(np.arange(4 * 27 + 4, dtype=np.float32))
    brain = np.array([0x3F80, 0x4000, 0x4040, 0x4080], "<u2")
    value = {
        "stem.conv.weight": Tensor(shared, 4, (4, 3, 3, 3), (1, 4, 12, 36)),
        "stem.bn.weight": tensor(half),
        "stem.bn.bias": Tensor(shared, 0, (4,), (1,)),
        "stem.bn.running_mean": Tensor(shared, 3, (4,), (0,)),
        "stem.bn.running_var": tensor(brain, "BFloat16"),
    }
    nodes = load(write(tmp_path, value)).graph.by_name
    convolution: Any = nodes["stem.conv/conv"].op
    norm: Any = nodes["stem.conv"].op
    assert (convolution.weight == (4 + np.arange(4 * 27)).reshape(3, 3, 3, 4).transpose(3, 2, 1, 0)).all()
    assert norm.gamma.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert norm.beta.tolist() == [0, 1, 2, 3]
    assert norm.mean.tolist() == [3, 3, 3, 3]
    assert norm.variance.tolist() == [1, 2, 3, 4]


class Rebuilt:
    """A tensor that a function of torch._utils makes of these arguments."""

    def __init__(self, function: str, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        import sys

        utils = sys.modules["torch._utils"]
        if not hasattr(utils, self.function):
            made = types.FunctionType((lambda *_: None).__code__, {}, self.function)
            made.__module__, made.__qualname__ = "torch._utils", self.function
            setattr(utils, self.function, made)
        return getattr(utils, self.function), self.arguments


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Rebuilt("_rebuild_qtensor", Storage(normal(108)), 0, (4, 3, 3, 3), (27, 9, 3, 1), (), False, None),
            "is quantised; save the weights as they were before that",
        ),
        (
            lambda: Rebuilt(
                "_rebuild_sparse_tensor", "coo", (tensor(normal(2)), tensor(normal(2)), (4, 3, 3, 3), True)
            ),
            r"is sparse; save tensor.to_dense\(\)",
        ),
        (lambda: tensor(np.zeros((4, 3, 3, 3), "f4"), "ComplexFloat"), "holds ComplexFloatStorage; it should hold fl"),
    ],
)
def test_tensors_that_are_refused_are_named(made: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, {**weights(), "stem.conv.weight": made()})
    with pytest.raises(ParameterError, match=f'layer "stem.conv": weight: tensor "stem.conv.weight" of .*{message}'):
        load(path)


def test_masks_beside_the_weights(save: Any) -> None:
    """Bools and complex numbers are skipped where they are not wanted, also in the old format."""
    value = {
        "mask": tensor(np.ones(3, bool), "Bool"),
        "waves": tensor(np.zeros(4, "c8"), "ComplexFloat"),
        "a": tensor(normal(2)),
    }
    read = read_checkpoint(save(value))
    assert (read["a"].load() == numbers(value["a"])).all()


# Missing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (
            ["running_var"],
            r'variance: tensor "stem.bn.running_var" is missing; \S+ has '
            '"stem.bn.weight", "stem.bn.bias" and "stem.bn.running_mean"',
        ),
        (
            ["running_mean"],
            r'mean: tensor "stem.bn.running_mean" is missing; \S+ has '
            '"stem.bn.weight", "stem.bn.bias" and "stem.bn.running_var"',
        ),
        (
            ["running_mean", "running_var"],
            r'mean: tensor "stem.bn.running_mean" is missing; \S+ has "stem.bn.weight" and "stem.bn.bias"',
        ),
    ],
)
def test_missing_statistics_are_named(gone: list[str], message: str, prefix: str, file: str, tmp_path: Path) -> None:
    value = {name: x for name, x in weights(prefix).items() if not name.endswith(tuple(gone))}
    with pytest.raises(ParameterError, match=f'layer "stem.conv": batch_norm.{message}'):
        load(write(tmp_path, value, file))
