"""PyTorch's state_dicts as weights of a spec: both formats of torch.save, names, refusals, damage, trained networks.

The files are made by Python's own pickle, with stand-ins for torch's classes: no torch is needed.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen import build
from codegen.errors import ClgenError, ParameterError, SpecError
from codegen.frontend.parameters.archive import Unreadable
from codegen.frontend.parameters.checkpoint import read_checkpoint
from codegen.frontend.toml import load
from codegen.graph.ops import BatchNorm
from codegen.importers.open import import_model, open_model
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from tests.support.needs import trained

STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte"}


class Storage:
    """Numbers that tensors share."""

    def __init__(self, values: np.ndarray, kind: str = "") -> None:
        self.values = values.reshape(-1)
        self.kind = kind or STORAGES[values.dtype.str[1:]]


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.arguments: tuple[Any, ...] = (storage, offset, shape, stride, False, OrderedDict())


def tensor(values: Any, kind: str = "") -> Tensor:
    values = np.ascontiguousarray(values)
    steps = tuple(s // values.itemsize for s in values.strides)
    return Tensor(Storage(values, kind), 0, values.shape, steps)


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of torch that a pickle names."""
    utils = types.ModuleType("torch._utils")
    torch = types.ModuleType("torch")
    for kind in (*STORAGES.values(), "BFloat16", "Bool", "ComplexFloat"):
        name = f"{kind}Storage"
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None:
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, legacy: bool) -> None:
        super().__init__(stream, protocol=2)
        self.legacy = legacy
        self.storages: list[Storage] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        key, kind = str(self.storages.index(value)), getattr(sys.modules["torch"], f"{value.kind}Storage")
        return ("storage", kind, key, "cpu", len(value.values), *([None] if self.legacy else []))

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return sys.modules["torch._utils"]._rebuild_tensor_v2, value.arguments
        return NotImplemented


def zipped(value: Any) -> bytes:
    """torch.save since PyTorch 1.6"""
    stream, out = io.BytesIO(), io.BytesIO()
    pickler = Pickler(stream, legacy=False)
    pickler.dump(value)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net/data.pkl", stream.getvalue())
        archive.writestr("net/byteorder", "little")
        for i, storage in enumerate(pickler.storages):
            archive.writestr(f"net/data/{i}", storage.values.tobytes())
        archive.writestr("net/version", "3\n")
    return out.getvalue()


def legacy(value: Any) -> bytes:
    """torch.save before that"""
    out = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
        pickle.dump(head, out, protocol=2)
    pickler = Pickler(out, legacy=True)
    pickler.dump(value)
    pickle.dump([str(i) for i in range(len(pickler.storages))], out, protocol=2)
    for storage in pickler.storages:
        out.write(struct.pack("<q", len(storage.values)) + storage.values.tobytes())
    return out.getvalue()


FORMATS = {"zip": zipped, "legacy": legacy}


@pytest.fixture(params=FORMATS)
def save(request: pytest.FixtureRequest) -> Any:
    return FORMATS[request.param]


rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape).astype(np.float32)


# Formats --------------------------------------------------------------------------------------------------------------


def test_every_kind_of_tensor(save: Any) -> None:
    shared = Storage(np.arange(24, dtype=np.float32))
    value = OrderedDict(
        plain=tensor(normal(2, 3)),
        view=Tensor(shared, 6, (2, 3), (3, 1)),
        transposed=Tensor(shared, 0, (4, 6), (1, 4)),
        repeated=Tensor(shared, 5, (2, 3), (0, 0)),
        scalar=tensor(np.float32(3.5)),
        empty=tensor(np.zeros((0, 3), np.float32)),
        double=tensor(np.array([1 / 3])),
        half=tensor(np.array([0.5], np.float16)),
        brain=tensor(np.array([0x3FC0, 0xC000], "<u2"), "BFloat16"),
        whole=tensor(np.array([2**40, -1])),
    )
    archive = read_checkpoint(save(value))
    assert list(archive) == list(value)
    assert all(stored.load().shape == stored.shape for stored in archive.values())
    read = {name: stored.load() for name, stored in archive.items()}
    assert (read["plain"].reshape(-1) == value["plain"].arguments[0].values).all()
    assert read["view"].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert read["transposed"][1].tolist() == [1, 5, 9, 13, 17, 21]
    assert read["repeated"].tolist() == [[5] * 3] * 2
    assert [read[name].item() for name in ("scalar", "double", "half")] == [3.5, 1 / 3, 0.5]
    assert read["brain"].tolist() == [1.5, -2.0]
    assert read["whole"].tolist() == [2**40, -1]


@pytest.mark.parametrize("key", ["state_dict", "model", "weights"])
def test_checkpoints(save: Any, key: str) -> None:
    inner = {"module.a.weight": tensor(normal(2)), "module.a.bias": tensor(normal(2))}
    state = {0: {"momentum": tensor(normal(2))}}
    more = {"epoch": 3, "arguments": types.SimpleNamespace(rate=0.1), "optimizer": {"state": state}, "best": None}
    assert list(read_checkpoint(save({**more, key: inner}))) == ["module.a.weight", "module.a.bias"]


class Net:
    """A user's model."""


def execute(*_: Any) -> None:
    raise AssertionError("the pickle was executed")


class Trap:
    def __reduce__(self) -> Any:
        return execute, ("rm -rf /",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Net(), "class tests.frontend.test_import_torch.Net.*model.state_dict"),
        ([1], "no state_dict"),
        ({"epoch": 3}, 'no tensors; it has "epoch"'),
        ({}, "no tensors"),
        ({"g": {"a": tensor(normal(1))}, "d": {"a": tensor(normal(1))}}, 'several state_dicts, "g" and "d"'),
    ],
)
def test_what_is_no_state_dict(save: Any, value: Any, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read_checkpoint(save(value))


def test_nothing_is_executed(save: Any) -> None:
    assert list(read_checkpoint(save({"trap": Trap(), "a": tensor(normal(2))}))) == ["a"]


def test_a_complex_tensor_is_refused_when_it_is_wanted() -> None:
    value = {"a": tensor(normal(2)), "b": tensor(np.zeros(2, "f4"), "ComplexFloat")}
    archive = read_checkpoint(zipped(value))
    archive["a"].load()
    with pytest.raises(Unreadable, match="ComplexFloat"):
        archive["b"].load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, (5,), (1,)), "damaged"), ((3, (2,), (1,)), "damaged"), ((0, (2**40,), (0,)), "at most")],
)
def test_tensors_beyond_their_storage(save: Any, arguments: Any, message: str) -> None:
    value = {"a": Tensor(Storage(normal(4)), *arguments)}
    with pytest.raises(Unreadable, match=message):
        read_checkpoint(save(value))["a"].load()


def test_keys_that_take_for_ever_to_hash(save: Any) -> None:
    key: Any = ()
    for _ in range(60):
        key = (key, key)
    stream = io.BytesIO()
    # pickle itself would hash the key, so that the instructions are written down: {(): 1} with () made 60 times two.
    stream.write(b"\x80\x02}(" + b")" + b"2\x86" * 60 + b"K\x01u.")
    from codegen.frontend.parameters.pickled import unpickle

    stream.seek(0)
    assert unpickle(stream, {}, execute) == {}


def test_torchscript() -> None:
    out = io.BytesIO(zipped({"a": tensor(normal(2))}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(Unreadable, match="TorchScript"):
        read_checkpoint(out.getvalue())


def test_damage(save: Any) -> None:
    data, chosen = save({"a.weight": tensor(normal(4, 3)), "a.bias": tensor(normal(4))}), random.Random(0)
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(chosen.choice([1, 1, 2, 8])):
            damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
        if chosen.random() < 0.1:
            del damaged[chosen.randrange(len(damaged)) :]
        try:
            for stored in read_checkpoint(bytes(damaged)).values():
                stored.load()
        except Unreadable:
            pass


# Specs ----------------------------------------------------------------------------------------------------------------


def batch_norm(prefix: str, channels: int) -> dict[str, Tensor]:
    return {
        f"{prefix}.weight": tensor(normal(channels)),
        f"{prefix}.bias": tensor(normal(channels)),
        f"{prefix}.running_mean": tensor(normal(channels)),
        f"{prefix}.running_var": tensor(np.abs(normal(channels))),
        f"{prefix}.num_batches_tracked": tensor(np.array(7)),
    }


def spec(folder: Path, layer: str, value: Mapping[str, Any], suffix: str = ".pth") -> Path:
    (folder / f"net{suffix}").write_bytes(zipped(value))
    text = f"""
        [model]
        name = "net"
        weights = "net{suffix}"
        [[input]]
        name = "image"
        shape = [3, 5, 5]
        [[layer]]
        name = "{layer}"
        op = "conv"
        batch_norm = {{ epsilon = 1e-5 }}
        [[output]]
        name = "y"
        from = "{layer}"
    """
    path = folder / "net.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("layer", "prefix"),
    [
        ("layer1.0.conv1", "layer1.0.bn1"),
        ("layer1.0.conv12", "layer1.0.bn12"),
        ("stem.conv", "stem.bn"),
        ("conv", "bn"),
        ("features.3", "features.4"),
        ("features.2.conv.0.0", "features.2.conv.0.1"),
        ("stem", "stem.bn"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_names_of_modules(tmp_path: Path, layer: str, prefix: str, suffix: str) -> None:
    value = {f"{layer}.weight": tensor(normal(4, 3, 3, 3)), **batch_norm(prefix, 4)}
    model = load(spec(tmp_path, layer, value, suffix))
    folded = model.graph.by_name[layer].op
    assert isinstance(folded, BatchNorm)
    assert (np.asarray(folded.mean, np.float32) == value[f"{prefix}.running_mean"].arguments[0].values).all()
    assert model.unused == ()


@pytest.mark.parametrize(("layer", "prefix"), [("conv1", "bn2"), ("3", "4"), ("convert", "bnert")])
def test_names_that_say_nothing(tmp_path: Path, layer: str, prefix: str) -> None:
    layer = layer if layer.isidentifier() else f"_{layer}"
    value = {f"{layer}.weight": tensor(normal(4, 3, 3, 3)), **batch_norm(prefix, 4)}
    with pytest.raises(ParameterError, match="no tensor"):
        load(spec(tmp_path, layer, value))


def test_damaged_file_in_a_spec(tmp_path: Path) -> None:
    path = spec(tmp_path, "conv", {"conv.weight": tensor(normal(4, 3, 3, 3)), **batch_norm("bn", 4)})
    (tmp_path / "net.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(ClgenError, match=r"net\.pth is not a file of torch\.save"):
        load(path)


def test_parameters_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(zipped({"a": tensor(normal(2))}))
    for use in (import_model, open_model):
        with pytest.raises(SpecError, match="without the network"):
            use(path)


# Trained networks -----------------------------------------------------------------------------------------------------


def layers(*tables: str) -> str:
    return "".join(f"\n[[layer]]\n{table}\n" for table in tables)


def conv(name: str, **more: str) -> str:
    lines = [f'name = "{name}"', 'op = "conv"', *(f"{key} = {value}" for key, value in more.items())]
    return "\n".join(lines)


def prelu(k: int) -> str:
    return f'name = "prelu{k}"\nop = "prelu"'


def pool(k: int, kernel: int) -> str:
    return f'name = "pool{k}"\nop = "max_pool"\nkernel = {kernel}\nstride = 2\nceil_mode = true'


def dense(name: str, after: str = "", softmax: bool = False) -> str:
    end = '\nactivation = "softmax"' if softmax else ""
    return f'name = "{name}"\nop = "dense"' + (f'\ninput = "{after}"' if after else "") + end


TURN = ('name = "turn"\nop = "transpose"\naxes = [0, 3, 2, 1]', 'name = "flat"\nop = "flatten"')


def pnet() -> tuple[str, list[str]]:
    ends = conv("conv4_1", activation='"softmax"'), conv("conv4_2", input='"prelu3"')
    body = (conv("conv1"), prelu(1), pool(1, 2), conv("conv2"), prelu(2), conv("conv3"), prelu(3))
    return layers(*body, *ends), ["conv4_1", "conv4_2"]


def rnet() -> tuple[str, list[str]]:
    body = (conv("conv1"), prelu(1), pool(1, 3), conv("conv2"), prelu(2), pool(2, 3), conv("conv3"), prelu(3), *TURN)
    ends = (dense("dense4"), prelu(4), dense("dense5_1", softmax=True), dense("dense5_2", "prelu4"))
    return layers(*body, *ends), ["dense5_1", "dense5_2"]


def onet() -> tuple[str, list[str]]:
    body = (conv("conv1"), prelu(1), pool(1, 3), conv("conv2"), prelu(2), pool(2, 3), conv("conv3"), prelu(3))
    more = (pool(3, 2), conv("conv4"), prelu(4), *TURN, dense("dense5"), prelu(5), dense("dense6_1", softmax=True))
    ends = (dense("dense6_2", "prelu5"), dense("dense6_3", "prelu5"))
    return layers(*body, *more, *ends), ["dense6_1", "dense6_2", "dense6_3"]


def mobilenet() -> tuple[str, list[str]]:
    """MobileNetV2 with the module names of its state_dict; no tensor is named."""
    attached = {"batch_norm": "{ epsilon = 1e-5 }", "activation": '"relu6"'}
    tables = [conv("features.0.0", stride="2", padding="1", **attached)]
    block, width, value = 1, 32, "features.0.0"
    for expand, channels, count, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for k in range(count):
            name, step = f"features.{block}.conv", stride if k == 0 else 1
            inner = value
            parts = 0
            if expand > 1:
                tables.append(conv(f"{name}.0.0", input=f'"{inner}"', **attached))
                inner, parts = f"{name}.0.0", 1
            depthwise = conv(f"{name}.{parts}.0", input=f'"{inner}"', stride=str(step), padding="1", **attached)
            tables.append(depthwise.replace('"conv"', '"depthwise_conv"'))
            last = f"{name}.{parts + 1}"
            tables.append(conv(last, batch_norm=attached["batch_norm"]))
            if step == 1 and width == channels:
                tables.append(f'name = "features.{block}"\nop = "add"\ninputs = ["{value}", "{last}"]')
                last = f"features.{block}"
            block, width, value = block + 1, channels, last
    tables.append(conv("features.18.0", input=f'"{value}"', **attached))
    tables += ['name = "pool"\nop = "global_average_pool"', dense("classifier.1")]
    return layers(*tables), ["classifier.1"]


TRAINED: dict[str, tuple[str, Any, int]] = {
    "mtcnn_pnet": ("pnet.pt", pnet, 0),
    "mtcnn_rnet": ("rnet.pt", rnet, 0),
    "mtcnn_onet": ("onet.pt", onet, 0),
    "mobilenet_v2_imagenet": ("mobilenet_v2-b0353104.pth", mobilenet, 52),
}


@pytest.mark.parametrize("case", TRAINED)
def test_trained_networks(tmp_path: Path, device: DeviceInfo, case: str) -> None:
    """Takes the original parameters of a network of test_cases, with a spec that names no tensor."""
    folder = trained(case)
    weights, made, norms = TRAINED[case]
    expected = np.load(folder / "ref.npz")
    batch, *shape = expected["x"].shape[1:]
    body, ends = made()
    head = f"[model]\nname = \"{case}\"\nweights = '{folder / weights}'\nbatch = {batch}\n"
    head += f'[[input]]\nname = "x"\nshape = {shape}\n'
    outputs = "".join(f'[[output]]\nname = "out{i}"\nfrom = "{end}"\n' for i, end in enumerate(ends))
    path = tmp_path / "net.toml"
    path.write_text(head + body + outputs)
    lowered = build.lower(path)
    assert lowered.model.unused == ()
    assert sum(node.op.title == "batch_norm" for node in lowered.model.graph.nodes) == norms
    generated, _ = build.build(lowered, tmp_path, "cpu")
    session = Session(artefacts.read(generated), device)
    for sample, x in enumerate(expected["x"]):
        got = session.run({"x": x})
        for i in range(len(ends)):
            y = expected[f"y{i}"][sample]
            assert np.abs(got[f"out{i}"] - y).max() <= 1e-4 * np.abs(y).max()
