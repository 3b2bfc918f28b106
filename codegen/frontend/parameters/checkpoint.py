"""Reads torch.save's files without torch: today's zip format, and the format before PyTorch 1.6."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.parameters.archive import MAX_ELEMENTS, Archive, Stored, Unreadable
from codegen.frontend.parameters.pickled import MOST_KEY, Symbol, ordered_dict, unpickle
from codegen.frontend.parameters.state_dicts import chosen, sets_of
from codegen.frontend.spec.place import show

MOST_AXES = 64  # axes of a tensor: PyTorch's own limit
_MAGIC = 0x1950A86A20F9469CFC6C
_SAVE = "save model.state_dict() instead"

# Types by the name of the storage's class or of the dtype.
_DTYPES: Mapping[str, tuple[str, str]] = {
    "Float": ("float32", "<f4"),
    "Double": ("float64", "<f8"),
    "Half": ("float16", "<f2"),
    "BFloat16": ("bfloat16", "<u2"),
    "Long": ("int64", "<i8"),
    "Int": ("int32", "<i4"),
    "Short": ("int16", "<i2"),
    "Char": ("int8", "<i1"),
    "Byte": ("uint8", "<u1"),
}
_BY_DTYPE = {name: code for name, code in _DTYPES.values()}
_BY_STORAGE = {f"{storage}Storage": name for storage, (name, _) in _DTYPES.items()}
_BYTES = {f"{storage}Storage": np.dtype(code).itemsize for storage, (_, code) in _DTYPES.items()}
# Storages that are skipped in the old format, in which storages follow each other.
_BYTES |= {"BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1}
_BYTES |= {"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4}


@dataclass(frozen=True)
class _Storage:
    """A view of the storage ``key`` that starts at ``offset`` elements."""

    kind: str
    key: str
    offset: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Refused:
    """Stands for a tensor that cannot be read, with the reason."""

    reason: str
    shape: tuple[int, ...] = ()


def read_checkpoint(data: bytes, key: str | None = None) -> Archive:
    """The tensors of a state_dict, or of the one in a checkpoint that ``key`` leads to; raises Unreadable."""
    try:
        value, read = _zipped(data) if data.startswith(b"PK") else _legacy(data)
    except Unreadable:
        raise
    except Exception as error:  # damaged bytes raise exceptions of any kind
        raise Unreadable(f"is not a file of torch.save, or is damaged: {error}") from error
    return chosen(sets_of(value, lambda item: _stored(item, read)), key)


def _zipped(data: bytes) -> tuple[Any, Callable[[str], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = archive.namelist()
    found = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise Unreadable("is not a file of torch.save: it has no data.pkl")
    prefix = found[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in names:
        raise Unreadable(f"is a TorchScript program; {_SAVE}")
    if f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder") != b"little":
        raise Unreadable("has big-endian numbers; save it on a little-endian machine")

    def member(name: str) -> bytes:
        info = archive.getinfo(name)
        if info.file_size > len(data):
            raise Unreadable(f"holds {show(name)} of {info.file_size} bytes, which the file cannot")
        return archive.read(info)

    value = unpickle(io.BytesIO(member(found[0])), _FUNCTIONS, _persistent)
    return value, lambda key: member(f"{prefix}data/{key}")


def _legacy(data: bytes) -> tuple[Any, Callable[[str], bytes]]:
    """Reads the format before PyTorch 1.6.

    It consists of pickles of a magic number, the version, the machine, the value and the storages' keys, followed by
    each storage: its number of elements in 8 bytes, and the elements.
    """
    stream = io.BytesIO(data)
    kinds: dict[str, str] = {}

    def persistent(identity: Any) -> Any:
        value = _persistent(identity)
        if isinstance(value, _Storage):
            kinds[value.key] = value.kind
        return value

    magic, _, machine = (unpickle(stream, {}, persistent) for _ in range(3))
    if magic != _MAGIC:
        raise ValueError("no magic number")
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise Unreadable("has big-endian numbers; save it on a little-endian machine")
    value = unpickle(stream, _FUNCTIONS, persistent)
    keys = unpickle(stream, {}, persistent)
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        each = _BYTES.get(kinds.get(key, ""))
        if each is None:
            raise Unreadable(f"holds a {kinds.get(key, 'storage of nothing')}; {_NUMBERS}")
        size = count * each
        start = stream.tell()
        if count < 0 or start + size > len(data):
            raise Unreadable(f"is damaged: it ends within storage {show(key)}")
        places[key] = (start, size)
        stream.seek(size, io.SEEK_CUR)
    return value, lambda key: data[places[key][0] : sum(places[key])]


_NUMBERS = "it should hold floating-point numbers or integers of at most 64 bits"


def _persistent(identity: Any) -> Any:
    """The storage or class of a persistent id.

    The id is ("storage", class, key, device, elements), in the old format followed by (key, offset, elements) of a
    view; or ("module", class, file, source) for a user's class.
    """
    tag, kind, key, *rest = identity
    if tag == "module":
        return kind
    view = rest[2] if len(rest) > 2 else None
    offset = _whole(view[1]) if view is not None else 0
    if not isinstance(kind, Symbol) or not isinstance(key, str):
        raise ValueError("a storage without its class or key")
    return _Storage(kind.name.rpartition(".")[2], key, offset)


def _rebuild(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2."""
    return _tensor(storage, _BY_STORAGE.get(storage.kind, storage.kind), offset, shape, stride)


def _rebuild_v3(
    storage: _Storage, offset: int, shape: Any, stride: Any, _: Any, __: Any, dtype: Symbol, *___: Any
) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v3, for a storage of bytes."""
    return _tensor(storage, dtype.name.rpartition(".")[2], offset, shape, stride)


def _tensor(storage: _Storage, dtype: str, offset: int, shape: Any, stride: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    if any(not isinstance(axes, tuple) or len(axes) > MOST_AXES for axes in (shape, stride)):
        raise ValueError(f"a tensor whose shape and strides are no tuples of at most {MOST_AXES} numbers")
    shape, stride = (tuple(_whole(n) for n in axes) for axes in (shape, stride))
    if len(shape) != len(stride):
        raise ValueError(f"a tensor {list(shape)} with strides {list(stride)}")
    return _Tensor(storage, dtype, storage.offset + _whole(offset), shape, stride)


def _parameter(tensor: Any, *_: Any) -> Any:
    """Stands for torch._utils._rebuild_parameter."""
    return tensor


def _quantised(storage: Any, offset: Any, shape: Any, *_: Any) -> _Refused:
    """Stands for torch._utils._rebuild_qtensor."""
    return _Refused("is quantised; save the weights as they were before that, or tensor.dequantize()", _sizes(shape))


def _sparse(layout: Any, data: Any, *_: Any) -> _Refused:
    """Stands for torch._utils._rebuild_sparse_tensor, with (indices, values, shape), and for other layouts."""
    last = [item for item in data if isinstance(item, tuple)][-1:] if isinstance(data, tuple) else []
    return _Refused("is sparse; save tensor.to_dense()", _sizes(last[0] if last else ()))


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(_whole(n) for n in shape) if isinstance(shape, tuple) else ()


def _elsewhere(*_: Any) -> _Refused:
    """Stands for torch._utils._rebuild_meta_tensor_no_storage and others whose numbers are not in a storage."""
    return _Refused("has no numbers in the file; save it on the CPU, as an ordinary tensor")


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """Stands for collections.defaultdict, whose items are set afterwards."""
    return {}


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered_dict,
    "collections.defaultdict": _plain_dict,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _elsewhere,
    "torch._utils._rebuild_device_tensor_from_numpy": _elsewhere,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _elsewhere,
    "torch._utils._rebuild_nested_tensor": _elsewhere,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        shown = f"{value}" if isinstance(value, int) and abs(value) < MOST_KEY else f"a {type(value).__name__}"
        raise ValueError(f"{shown} where a size should be")
    return value


def _stored(item: Any, read: Callable[[str], bytes]) -> Stored | None:
    """The tensor that the pickle describes; None if it is something else."""
    if isinstance(item, _Refused):
        return Stored(item.shape, partial(_refuse, item.reason))
    return Stored(item.shape, _loader(item, read)) if isinstance(item, _Tensor) else None


def _refuse(reason: str) -> NDArray[Any]:
    raise Unreadable(reason)


def _loader(tensor: _Tensor, read: Callable[[str], bytes]) -> Callable[[], NDArray[Any]]:
    def load() -> NDArray[Any]:
        code = _BY_DTYPE.get(tensor.dtype)
        if code is None:
            raise Unreadable(f"holds {tensor.dtype}; {_NUMBERS}")
        elements = math.prod(tensor.shape)
        if elements > MAX_ELEMENTS:
            raise Unreadable(f"has {elements} elements; at most {MAX_ELEMENTS} are allowed")
        try:
            data = read(tensor.storage.key)
        except Unreadable:
            raise
        except Exception as error:  # as above; checksums are compared here
            raise Unreadable(f"is damaged: {error}") from error
        dtype = np.dtype(code)
        stored = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
        if elements and last >= len(stored):
            raise Unreadable(
                f"is damaged: {len(stored)} elements are stored, and element {last} is of {list(tensor.shape)}"
            )
        if not elements:
            return np.empty(tensor.shape, "<f4")
        steps = tuple(s * dtype.itemsize for s in tensor.stride)
        values = np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.shape, steps, writeable=False).copy()
        # bfloat16 is the upper half of a float32.
        return (values.astype("<u4") << 16).view("<f4") if tensor.dtype == "bfloat16" else values

    return load
