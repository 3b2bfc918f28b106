"""Opens a model file: its JSON configuration and its arrays."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen import interrupt
from codegen.errors import ClgenError
from codegen.frontend.parameters.archive import MAX_BYTES
from codegen.frontend.spec.place import Place, listed, show
from codegen.importers.keras.hdf5 import Group, read_hdf5
from codegen.importers.keras.weights import Grouped, Legacy, Weights

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MAX_JSON = 2**26  # bytes of configuration
_MOST_COMPRESSED = 100  # largest compression ratio; Keras itself does not compress


@dataclass(frozen=True)
class KerasFile:
    """``major`` is the version of Keras that wrote the file: defaults of a few layers changed from 2 to 3."""

    config: Any
    weights: Weights
    major: int


def open_keras(path: Path) -> KerasFile:
    place = Place(str(path))
    try:
        if path.exists() and not path.is_file():
            raise place.spec_error("is not a regular file")
        with path.open("rb") as stream:
            magic = stream.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise place.spec_error(f"cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        raise place.parameter_error(f"has {size} bytes; at most {MAX_BYTES} are allowed")
    if magic.startswith(_HDF5):
        return _read_h5(read_hdf5(path, place), place)
    if magic.startswith(_ZIP):
        config, version, data = _unzip(path, place)
        with interrupt.scratch() as folder:
            weights = folder / "model.weights.h5"
            weights.write_bytes(data)
            return KerasFile(config, Grouped(read_hdf5(weights, place)), _major(version))
    raise place.parameter_error("is neither a .keras (zip) nor a .h5 (HDF5) file, or is damaged")


def _read_h5(file: Group, place: Place) -> KerasFile:
    text, weights = file.text("model_config"), file.group("model_weights")
    if text is None:
        raise place.spec_error(
            "holds weights without the network (no attribute model_config): it was written by save_weights(); "
            "write it by model.save()"
        )
    if weights is None:
        raise place.parameter_error("holds a network without weights (no group model_weights)")
    version = file.text("keras_version") or weights.text("keras_version")
    return KerasFile(_json(text, place.key("model_config")), Legacy(weights), _major(version))


def _unzip(path: Path, place: Place) -> tuple[Any, Any, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return _unzipped(archive, place)
    except ClgenError:
        raise
    except MemoryError as error:
        raise place.parameter_error("does not fit into memory") from error
    except Exception as error:  # zipfile raises exceptions of any kind on damaged bytes
        raise place.parameter_error(f"is damaged: {error}") from error


def _unzipped(archive: zipfile.ZipFile, place: Place) -> tuple[Any, Any, bytes]:
    members = {info.filename: info for info in archive.infolist()}
    missing = [name for name in ("config.json", "model.weights.h5") if name not in members]
    if missing:
        raise place.parameter_error(
            f"has no {listed(missing, 'and')}; a .keras file has both. Shards are not read: save without max_shard_size"
        )
    for info in members.values():
        if info.file_size > min(MAX_BYTES, _MOST_COMPRESSED * info.compress_size + 2**20):
            raise place.parameter_error(f"holds {show(info.filename)} of {info.file_size} bytes, which is too much")
    if members["config.json"].file_size > _MAX_JSON:
        raise place.parameter_error(f"has a config.json of more than {_MAX_JSON} bytes")
    config = _json(archive.read("config.json"), place.key("config.json"))
    metadata = _json(archive.read("metadata.json"), place) if "metadata.json" in members else {}
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return config, version, archive.read("model.weights.h5")


def _json(text: str | bytes, place: Place) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "is nested too deeply"
        raise place.spec_error(f"is not valid JSON: {reason}") from None


def _major(version: Any) -> int:
    first = str(version).split(".")[0]
    return int(first) if first in ("1", "2", "3") else 3
