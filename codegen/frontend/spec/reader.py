"""Reads TOML: a file's tables, each checked against the keys that it may have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from codegen.errors import SpecError
from codegen.frontend.spec.place import Place, listed, printable, shortened, show, suggestion
from codegen.frontend.spec.value_types import Keys

# Frameworks' words for keys of a spec.
_SYNONYMS = {
    "bn": "batch_norm",
    "batchnorm": "batch_norm",
    "eps": "epsilon",
    "kernel_size": "kernel",
    "pool_size": "kernel",
    "pad": "padding",
    "pads": "padding",
    "use_bias": "bias",
    "act": "activation",
    "dilation_rate": "dilation",
    "negative_slope": "alpha",
    "running_var": "variance",
    "moving_variance": "variance",
    "running_mean": "mean",
    "moving_mean": "mean",
    "data_format": "layout",
    "type": "op",
}


# Tables that occur once in a spec, and tables that may occur several times.
_ONE = ("model", "example")
_MANY = ("input", "constant", "layer", "output")


# Frameworks' words for sizes that a spec takes from the shape of a layer's weight.
_OF_WEIGHT = frozenset(
    [
        *("filters", "in_channels", "in_features", "kernel", "kernel_shape", "kernel_size", "num_filters"),
        *("num_output", "out_channels", "out_features", "units"),
    ]
)


@dataclass(frozen=True)
class Document:
    """A TOML file: ``place`` names it in errors, ``sha256`` is the hash of its bytes."""

    place: Place
    sha256: str
    tables: Mapping[str, Any]
    text: str

    def lines(self, kind: str) -> list[int]:
        """The line of the header ``[[kind]]`` of each such table, counted from 1; [] if some have no such header."""
        lines, line, end = [], 1, 0
        for match in _HEADER.finditer(self.text):
            line += self.text.count("\n", end, match.end())
            end = match.end()
            if match["kind"] is not None and match["kind"].strip("\"'") == kind:
                lines.append(line)
        return lines if len(lines) == len(self.tables.get(kind, [])) else []


# Matches headers of arrays of tables; and strings and comments, whose text may look like a header.
_HEADER = re.compile(
    r"""
      \"{3} (?: \\. | [^\\] )*? \"{3,5}
    | '{3} .*? '{3,5}
    | " (?: \\. | [^"\\\n] )* "
    | ' [^'\n]* '
    | \# [^\n]*
    | (?<![^\n]) [\t\ ]* \[\[ [\t\ ]* (?P<kind> [A-Za-z0-9_-]+ | "[^"\\\n]*" | '[^'\n]*' ) [\t\ ]* \]\]
    """,
    re.DOTALL | re.VERBOSE,
)

MOST_BYTES = 2**26  # bytes of a file: a spec of 5,000 layers has about a hundredth of this


def read_document(path: Path) -> Document:
    place = Place(str(path))
    try:
        if path.is_dir():
            raise place.spec_error("is a folder; give the .toml file of a spec, or a model file")
        if path.exists() and not path.is_file():
            raise place.spec_error("is not a regular file")
        if path.stat().st_size > MOST_BYTES:
            raise place.spec_error(f"has {path.stat().st_size} bytes; at most {MOST_BYTES} are allowed in a TOML file")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise place.spec_error(f"cannot be read: {reason}") from error
    return parse_document(data, place)


def parse_document(data: bytes, place: Place) -> Document:
    """The tables in a file's bytes; ``place`` names the file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise place.spec_error(f"is not a TOML file: byte {error.start} is not UTF-8") from None
    try:
        # tomli gives up on absurd numbers with ValueError, on deep nesting with RecursionError.
        tables = tomli.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "tables or arrays are nested too deeply"
        raise place.spec_error(f"is not valid TOML: {reason}{_wrong_brackets(text) or _quoted(reason, text)}") from None
    return Document(place, hashlib.sha256(data).hexdigest(), tables, text)


def read_table(value: Mapping[str, Any], keys: Keys, place: Place) -> dict[str, Any]:
    """The values of all keys, including defaults; refuses unknown, missing and mistyped keys."""
    for name in value:
        if name not in keys:
            raise unknown_key(name, keys, place)
    read = {}
    for name, key in keys.items():
        if name in value:
            read[name] = key.type.read(value[name], place.key(name))
        elif key.required:
            raise place.key(name).spec_error(f"is missing; {key.missing or f'it should be {key.type.wanted}'}")
        else:
            read[name] = key.default
    return read


def unknown_key(name: str, keys: Collection[str], place: Place) -> SpecError:
    if name.lower() in _OF_WEIGHT and "weight_layout" in keys:
        return place.spec_error(f"unknown key {show(name)}: the weight's shape says it; leave the key out")
    known = f"; known are {listed(keys, 'and')}" if keys else "; none is known here"
    return place.spec_error(f"unknown key {show(name)}{suggestion(name, keys, _SYNONYMS) or known}")


def _quoted(reason: str, text: str) -> str:
    """The line that tomli's error is about, with a hint about values if the error is about a value."""
    found = re.search(r"\(at line ([0-9]+), column [0-9]+\)$", reason)
    lines = text.splitlines()
    if found is None or int(found[1]) > len(lines):
        return ""
    words = "; strings stand in double quotes, true and false are lower case" * reason.startswith("Invalid value")
    return f": {shortened(printable(lines[int(found[1]) - 1].strip()))}{words}"


def _wrong_brackets(text: str) -> str:
    """The remedy for the first table header with the wrong brackets; "" if there is none."""
    many, one = "|".join(_MANY), "|".join(_ONE)
    header = re.compile(rf"\s*(\[\s*({many})\s*\]|\[\[\s*({one})\s*\]\])\s*(#.*)?")
    for number, line in enumerate(text.splitlines(), 1):
        found = header.fullmatch(line)
        if found and found[2]:
            return f"; in line {number} write [[{found[2]}]], with two brackets, as before each {found[2]}"
        if found:
            return f"; in line {number} write [{found[3]}], with one bracket, once"
    return ""


def one_table(tables: Mapping[str, Any], name: str, place: Place) -> Mapping[str, Any]:
    """The table [name]."""
    value = tables[name]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        raise place.spec_error(f"[[{name}]] should be [{name}], with one bracket: write it once, its keys below")
    if not isinstance(value, dict):
        raise place.spec_error(f"{name} should be a table: write [{name}] once, its keys below")
    return value


def many_tables(tables: Mapping[str, Any], name: str, place: Place) -> list[Mapping[str, Any]]:
    """The tables [[name]]."""
    value = tables.get(name, [])
    if isinstance(value, dict):
        raise place.spec_error(
            f"[{name}] should be [[{name}]], with two brackets: write it before each {name}, its keys below"
        )
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise place.spec_error(f"{name} should be an array of tables: write [[{name}]] before each, its keys below")
    if not value:
        raise place.spec_error(f"has no {name}: write at least one [[{name}]]")
    return value
