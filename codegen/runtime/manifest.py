"""The schema of manifest.json: every key, type and range, checked once, when it is read.

A check, such as ``whole(0)``, is a function of a value and its place in the file, which raises SpecError if the value
does not pass.  :func:`parse` checks the JSON alone; ``codegen/runtime/artefact.py`` checks the manifest against the
files next to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from codegen.emit.choice import DEVICE_TYPES, OTHER_TYPE
from codegen.emit.output import FORMAT
from codegen.emit.packaging import BACKENDS
from codegen.emit.seal import SEAL
from codegen.errors import SpecError
from codegen.graph.types import TYPES

FLOAT32_MAX = float.fromhex("0x1.fffffep+127")
MOST_ELEMENTS = 2**31 - 1  # elements of a tensor, whose index is an OpenCL C int
MOST_BYTES = 2**26  # bytes of a manifest
MOST_GROUPS = 2**31 - 1  # work-groups of a launch
MOST_LOCAL = 4096  # work-items of a work-group along an axis
MOST_FLOATS = 2**32 - 1  # floats of a buffer, in which a tensor's offset is a uint
_LONGEST = 80  # characters of a value that an error repeats


class At:
    """A place in the file, which errors print as ``inputs[0].shape[1]``."""

    def __init__(self, file: Path, path: str = "") -> None:
        self.file, self.path = file, path

    def __getitem__(self, key: str | int) -> At:
        if isinstance(key, int):
            return At(self.file, f"{self.path}[{key}]")
        return At(self.file, f"{self.path}.{_cut(key)}" if self.path else _cut(key))

    def refuse(self, message: str) -> NoReturn:
        raise SpecError(f"{self.file}: {self.path}{': ' if self.path else ''}{message}; build again")

    def unfit(self, value: Any, wanted: str) -> NoReturn:
        self.refuse(f"{shown(value)} should be {wanted}")


Check = Callable[[Any, At], None]


def shown(value: Any) -> str:
    """A value of the file as JSON, on one line, shortened if it is long."""
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text[: 2 * _LONGEST])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def whole(low: int, high: int) -> Check:
    def check(value: Any, at: At) -> None:
        if type(value) is not int or not low <= value <= high:
            at.unfit(value, f"a whole number from {low} to {high}")

    return check


def _flag(value: Any, at: At) -> None:
    if not isinstance(value, bool):
        at.unfit(value, "true or false")


def text(pattern: str, wanted: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any, at: At) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            at.unfit(value, wanted)

    return check


def choice(*values: Any) -> Check:
    def check(value: Any, at: At) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            at.unfit(value, " or ".join(shown(known) for known in values))

    return check


def list_of(item_check: Check, least: int = 0, most: int = 10**6) -> Check:
    length = str(least) if least == most else f"{least} or more" if most == 10**6 else f"{least} to {most}"

    def check(value: Any, at: At) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            at.unfit(value, f"a list of {length}")
        for k, item in enumerate(value):
            item_check(item, at[k])

    return check


def dict_of(key: Check, item_check: Check) -> Check:
    def check(value: Any, at: At) -> None:
        if not isinstance(value, dict):
            at.unfit(value, "an object")
        for name, item in value.items():
            key(name, at[name])
            item_check(item, at[name])

    return check


def keys(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """The check of an object with exactly these keys."""
    known = {**required, **(optional or {})}

    def check(value: Any, at: At) -> None:
        if not isinstance(value, dict):
            at.unfit(value, "an object")
        for name in required:
            if name not in value:
                at[name].refuse("is missing")
        for name, item in value.items():
            if name not in known:
                at[name].refuse("is no key of a manifest")
            known[name](item, at[name])

    return check


def _interval(value: Any, at: At) -> None:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
    if not numbers or not -FLOAT32_MAX <= value[0] <= value[1] <= FLOAT32_MAX:
        at.unfit(value, "[low, high], two finite float32 numbers with low <= high")


def _own_name(value: Any, at: At) -> None:
    """The check of a name in a model, which may be any text."""
    if not isinstance(value, str) or not value or any("\ud800" <= c <= "\udfff" for c in value):
        at.unfit(value, "text")


def _shape(value: Any, at: At) -> None:
    list_of(whole(1, MOST_ELEMENTS), 1, 8)(value, at)
    if math.prod(value) > MOST_ELEMENTS:
        at.refuse(f"{shown(value)} makes {math.prod(value)} elements; at most {MOST_ELEMENTS} are allowed")


LINE = text(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,10000}", "one line of text")
NAME = text(r"[A-Za-z][A-Za-z0-9_]{0,199}", "a C identifier")
_FILE = r"(?!\.\.?$)[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,255}"
FILE = text(_FILE, "the name of a file, without folders")
SHA256 = text(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")
# A network built in memory has no spec, and one without parameters has no file of parameters.
SHA256_OR_NONE = text(r"([0-9a-f]{64})?", "a SHA-256 in hexadecimal digits, or empty")
FILE_OR_NONE = text(rf"({_FILE})?", "the name of a file, without folders, or empty")
# clgen writes only definitions of upper-case macros; no other option may reach the compiler.
OPTIONS = text(r"(-D[A-Z][A-Z0-9_]*(=[0-9]+)?( |$))*", 'definitions of macros, such as "-DWIDE"')
BUFFER = ("arena", "input", "output", "weights")

_PORT = {
    "name": LINE,
    "original": _own_name,
    "type": choice(*TYPES),
    "shape": _shape,
    "layout": LINE,
    "channels_last": _flag,
}
_LAUNCH = {
    "node": LINE,
    "title": LINE,
    "kernel": NAME,
    "global": list_of(whole(1, MOST_GROUPS), 3, 3),
    "local": list_of(whole(1, MOST_LOCAL), 3, 3),
    "arguments": list_of(
        keys(
            {
                "kind": choice(*BUFFER, "prepared", "zeros", "number"),
                "index": whole(0, 10**6),
                "value": whole(0, 2**32 - 1),
            }
        ),
        1,
        1000,
    ),
}
_TENSOR = {
    "buffer": choice(*BUFFER),
    "index": whole(0, 10**6),
    "offset": whole(0, MOST_FLOATS),
    "shape": _shape,
    "strides": list_of(whole(0, MOST_FLOATS), 1, 8),
    "block": whole(1, 64),
}
_BYTES = whole(0, 4 * MOST_FLOATS)

MANIFEST_KIND = keys(
    {
        "format": choice(FORMAT),
        "generator": LINE,
        "name": NAME,
        "backend": choice(*BACKENDS),
        "multiversion": _flag,
        "target": LINE,
        "device_type": choice(*DEVICE_TYPES, OTHER_TYPE),
        "spec": keys({"file": FILE_OR_NONE, "sha256": SHA256_OR_NONE}),
        "weights_sha256": SHA256_OR_NONE,
        "inputs": list_of(keys({**_PORT, "range": _interval}), 1),
        "outputs": list_of(keys({**_PORT, "tensor": LINE}), 1),
        "build_options": OPTIONS,
        "device_options": list_of(keys({"native_floats_from": whole(1, 1024), "options": OPTIONS}), 0, 16),
        "type": choice(*(kind for kind in TYPES if kind.startswith("float"))),
        "memory": keys(
            {
                "arena_bytes": _BYTES,
                "without_reuse_bytes": whole(0, 2**62),
                "weights_bytes": _BYTES,
                "prepared_bytes": _BYTES,
            }
        ),
        "zeros": whole(0, MOST_ELEMENTS),
        "kernels": list_of(keys({"name": NAME, "template": LINE})),
        "preparations": list_of(keys(_LAUNCH)),
        "launches": list_of(
            keys(
                {**_LAUNCH, "reads": list_of(LINE), "writes": LINE},
                {"winograd": whole(2, 16), "sums": choice("in blocks")},
            )
        ),
        "tensors": dict_of(LINE, keys(_TENSOR)),
        "files": dict_of(FILE, SHA256),
        SEAL: SHA256,
    },
    {"tuning": keys({"file": FILE, "sha256": SHA256, "device": LINE, "layers": dict_of(LINE, LINE)})},
)


def parse(path: Path) -> dict[str, Any]:
    """The manifest in a file, with every type and range checked; SpecError if one is wrong."""
    at = At(path)
    try:
        if path.exists() and not path.is_file():
            raise SpecError(f"{path}: is not a regular file; give a folder that clgen build made")
        if path.stat().st_size > MOST_BYTES:
            at.refuse(f"has {path.stat().st_size} bytes; at most {MOST_BYTES} are allowed")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{path}: cannot be read ({reason}); give a folder that clgen build made") from error
    try:
        manifest = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        at.refuse("is no manifest of clgen (nested too deeply)")
    except ValueError as error:
        at.refuse(f"is no manifest of clgen ({_cut(str(error))})")
    if not isinstance(manifest, dict) or "format" not in manifest:
        at.refuse("is no manifest of clgen (it should be an object with a format)")
    if type(manifest["format"]) is not int or manifest["format"] != FORMAT:
        at["format"].refuse(f"{shown(manifest['format'])} is of another version of clgen, not {FORMAT}")
    MANIFEST_KIND(manifest, at)
    return manifest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"key {shown(name)} is there twice")
        made[name] = value
    return made


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")
