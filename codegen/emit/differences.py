"""Differences between a generated folder and its spec: file, place and both values."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codegen.emit.output import EXAMPLE, MANIFEST
from codegen.emit.seal import SEAL, digest

MOST = 8  # differences of a manifest that are reported
SHOWN = 48  # characters before and after the first difference of two lines


def differences(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """A line for each differing file, or each differing value of the manifest; example.c may be edited."""
    expected = json.loads(files[MANIFEST])
    found = []
    for name, content in files.items():
        if name in (EXAMPLE, MANIFEST):
            continue
        try:
            got = (folder / name).read_bytes()
        except OSError as error:
            found.append(f"{name}: cannot be read ({error.strerror})")
            continue
        if got != content:
            difference = _in_weights(got, content, expected) if name.endswith(".bin") else _in_text(got, content)
            found.append(f"{name}: {difference}")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    # Hashes of differing files differ too; example.c may differ.
    mine, right = ({**m, "files": sorted(m["files"]), SEAL: ""} for m in (manifest, expected))
    keys = list(_in_json(mine, right))
    if not found and not keys and digest(manifest) != manifest[SEAL]:
        keys = [f"{SEAL}: is {_json(manifest[SEAL])}, which is not the manifest's"]
    return found + [f"{MANIFEST}: {difference}" for difference in keys[:MOST]]


def _in_weights(got: bytes, expected: bytes, manifest: Mapping[str, Any]) -> str:
    if len(got) != len(expected):
        return f"is {len(got)} bytes, the spec gives {len(expected)}"
    mine, right = np.frombuffer(got, np.uint32), np.frombuffer(expected, np.uint32)
    different = np.flatnonzero(mine != right)
    at = int(different[0])
    value, wanted = np.frombuffer(got, "<f4")[at], np.frombuffer(expected, "<f4")[at]
    launch, start = _reader(manifest, at)
    more = f"; {different.size} floats differ in all" if different.size > 1 else ""
    return (
        f"float {at}, number {at - start} of the weights of launch {launch!r}: is {_number(value)}, "
        f"the spec gives {_number(wanted)}{more}"
    )


def _number(value: np.float32) -> str:
    return f"{value!s} ({value.view(np.uint32):#010x})"


def _reader(manifest: Mapping[str, Any], at: int) -> tuple[str, int]:
    """The launch that reads this float of the weights, and the offset of its weights, the argument after the buffer."""
    starts = [
        (behind["value"], launch["node"])
        for launch in (*manifest["preparations"], *manifest["launches"])
        for argument, behind in itertools.pairwise(launch["arguments"])
        if argument["kind"] == "weights"
    ]
    start, node = max(((start, node) for start, node in starts if start <= at), default=(0, ""))
    return node, start


def _in_text(got: bytes, expected: bytes) -> str:
    mine, right = (content.decode("utf-8", "replace").split("\n") for content in (got, expected))
    pairs = itertools.zip_longest(mine, right)
    number, (line, wanted) = next((k, pair) for k, pair in enumerate(pairs) if pair[0] != pair[1])
    where = f"line {number + 1}{_table(right[:number])}"
    if line is None:
        return f"{where}: is missing, the spec gives {_cut(wanted, 0)!r}"
    if wanted is None:
        return f"{where}: is {_cut(line, 0)!r}, the spec gives no such line"
    same = next((k for k, (a, b) in enumerate(zip(line, wanted, strict=False)) if a != b), min(len(line), len(wanted)))
    return f"{where}: is {_cut(line, same)!r}, the spec gives {_cut(wanted, same)!r}"


def _table(before: list[str]) -> str:
    """The table that a line is in, from the lines before it: the last one that began and has not ended."""
    for line in reversed(before):
        if line.startswith("}"):
            return ""
        name = re.match(r"(?:static |const )+.*?(\w+)\[.*= \{$|TABLE\((\w+), ", line)
        if name:
            return f", table {name[1] or name[2]}"
    return ""


def _cut(line: str, at: int) -> str:
    """The part of a line around its first difference."""
    start, stop = max(0, at - SHOWN), at + SHOWN
    return f"{'...' if start else ''}{line[start:stop].strip()}{'...' if stop < len(line) else ''}"


def _in_json(got: Any, expected: Any, path: str = "") -> Iterator[str]:
    """The values that differ, by the path of their keys."""
    if isinstance(got, dict) and isinstance(expected, dict):
        for key in dict.fromkeys((*expected, *got)):
            inner = f"{path}.{key}" if path else str(key)
            if key not in got:
                yield f"{inner}: is missing, the spec gives {_json(expected[key])}"
            elif key not in expected:
                yield f"{inner}: is {_json(got[key])}, the spec gives no such key"
            else:
                yield from _in_json(got[key], expected[key], inner)
    elif isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        for k, (mine, right) in enumerate(zip(got, expected, strict=True)):
            yield from _in_json(mine, right, f"{path}[{k}]")
    elif got != expected or type(got) is not type(expected):
        yield f"{path}: is {_json(got)}, the spec gives {_json(expected)}"


def _json(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]}..."
