"""Places in a spec for error messages, and how errors show values and suggest spellings."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from codegen.errors import ParameterError, SpecError

_LONGEST = 80  # characters of a value that an error repeats
_MOST_LISTED = 16  # words that an error lists


@dataclass(frozen=True)
class Place:
    """A file, a table in it and the path of keys in it, printed as ``x.toml: layer "stem": batch_norm.epsilon``."""

    file: str
    table: str = ""
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.table, ".".join(self.keys)) if part)

    def key(self, name: str) -> Place:
        return replace(self, keys=(*self.keys, name))

    @property
    def table_of_keys(self) -> Place:
        """The place of the table that contains the last key."""
        return replace(self, keys=self.keys[:-1])

    def spec_error(self, message: str) -> SpecError:
        return SpecError(self._at(message))

    def parameter_error(self, message: str) -> ParameterError:
        return ParameterError(self._at(message))

    def _at(self, message: str) -> str:
        return f"{self}: {message}" if str(self) else message


def show(value: Any) -> str:
    """A value as TOML, on one line, shortened if it is long."""
    return shortened(toml(value))


def shortened(text: str) -> str:
    """The text, or its beginning if it is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def printable(text: str) -> str:
    """The text with unprintable characters escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    # JSON writes characters beyond 16 bits as pairs, which TOML has not.
    return json.dumps(c)[1:-1] if ord(c) < 2**16 else f"\\U{ord(c):08X}"


def toml(value: Any) -> str:
    """A value as TOML writes it on one line.  Floats are the shortest that read back the same.

    All that a terminal would not print is escaped, in errors and in imported specs: a character that reverses the
    direction of text would make a reviewed name look like another one.  Libraries do not: tomlkit and tomli-w write it
    as it is.  tomli-w also spreads arrays over several lines and makes inline tables tables of their own; tomlkit takes
    0.67 s for a document of 5,000 layers, of which this function prints the values in 0.04 s.
    """
    if isinstance(value, (str, bool)):
        # JSON writes strings and booleans as TOML does.
        return printable(json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a number of more than 80 digits"  # str() refuses the longest ones
    return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def listed(words: Iterable[str], last: str = "or") -> str:
    """The words in quotes: "a", "b" or "c"."""
    quoted = [show(word) for word in words]
    return f" {last} ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))


def known(words: Collection[str]) -> str:
    """``; known are ...`` with the first words of a long list, and where to find all."""
    if len(words) <= _MOST_LISTED:
        return f"; known are {listed(words, 'and')}"
    first = ", ".join(map(show, itertools.islice(words, _MOST_LISTED)))
    return f"; known are {first} and {len(words) - _MOST_LISTED} more: docs/spec.md"


def suggestion(word: str, words: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """``; did you mean "..."?`` with the nearest known word, "" if none is near."""
    words = list(words)
    meant = (synonyms or {}).get(word.lower())
    if meant not in words:
        by_lower = {k.lower(): k for k in reversed(words)}
        near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
        meant = by_lower[near[0]] if near else None
    return f"; did you mean {show(meant)}?" if meant is not None else ""
