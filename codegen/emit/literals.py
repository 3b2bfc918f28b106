"""Values as C literals: exact, and safe whatever they contain."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def hexfloat(value: float) -> str:
    """The float32 nearest to ``value`` as a C99 hexadecimal literal, which denotes it exactly."""
    rounded = float(np.float32(value))
    if math.isinf(rounded):
        return "-INFINITY" if rounded < 0 else "INFINITY"
    assert not math.isnan(rounded), "constants are checked when they are read"
    sign = "-" if math.copysign(1.0, rounded) < 0 else ""
    mantissa, exponent = abs(rounded).hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{sign}{mantissa}p{exponent}f"


def table_rows(values: NDArray[np.float32], per_row: int = 8) -> Iterator[str]:
    """The values as rows of literals, each row ending in a comma."""
    literals = [hexfloat(v) for v in values.tolist()]
    for start in range(0, len(literals), per_row):
        yield ", ".join(literals[start : start + per_row]) + ","


def in_comment(text: str) -> str:
    """The text in printable ASCII for a C comment: it neither ends the comment nor opens one, and has no trigraph."""
    escaped = "".join(c if " " <= c <= "~" else json.dumps(c)[1:-1] for c in text)
    return re.sub(r"\*(?=/)|(?<=/)\*|(?<=\?)\?", lambda found: f"\\u{ord(found[0]):04x}", escaped)


def c_string(text: str) -> str:
    """A C string literal with everything but plain printable characters escaped, so that nothing can end it early."""
    pieces = []
    for byte in text.encode():
        char = chr(byte)
        if char in '\\"':
            pieces.append("\\" + char)
        elif char == "?":
            pieces.append("\\?")  # no trigraphs
        elif char == "\n":
            pieces.append("\\n")
        elif 32 <= byte < 127:
            pieces.append(char)
        else:
            pieces.append(f"\\{byte:03o}")
    return '"' + "".join(pieces) + '"'
