"""Reads what an Intel GPU would issue in each kernel from the listings of Intel's graphics compiler.

The text says nothing of cache misses or of waiting: it is what the execution unit must issue at the least.  An
instruction takes as many clocks as its result has registers' worth of bytes, 32 each, and at least one: an execution
unit computes 8 lanes of float32 a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

REGISTER_BYTES = 32
_BYTES = {
    **dict.fromkeys(("b", "ub"), 1),
    **dict.fromkeys(("w", "uw", "hf", "bf"), 2),
    **dict.fromkeys(("d", "ud", "f"), 4),
    **dict.fromkeys(("q", "uq", "df"), 8),
}
_MULTIPLY_ADDS = ("mad", "mac", "madm")  # of floats; of integers they compute addresses
_DOT_PRODUCTS = ("dp4a", "dpas")
_FLOATS = ("f", "hf", "bf", "df")
_JUMPS = ("jmpi", "while", "goto", "brd", "brc")

# [(mask)] operation[.modifier] [(condition)flag] (lanes|place) operands
_INSTRUCTION = re.compile(
    r"\s*(?:\([^)]*\)\s+)?(?P<operation>[a-z]\w*)\S*\s+(?:\([a-z]+\)\S+\s+)?\((?P<lanes>\d+)\|M\d+\)(?P<operands>.*)"
)
_SCALAR_JUMP = re.compile(r"\s*(?:\([^)]*\)\s+)?(?P<operation>jmpi|goto|brc|brd)\b(?P<operands>.*)")
_LABEL = re.compile(r"(\w+):")
_TYPE = re.compile(rf":({'|'.join(_BYTES)})\b")
# The registers that a message reads: in the comment of a send, behind the first operand of a load.
_SENT = re.compile(r"\bwr:\d+h?\+\d+, rd:(\d+)")
_LOADED = re.compile(r"\s*r\d+:(\d+)")


@dataclass(frozen=True)
class Loop:
    """The innermost loop with the most multiply-adds.

    ``share`` is that of multiply-adds among instructions, ``weighted`` the same by clocks; ``read_bytes`` come from
    memory in one turn, by ``sends`` messages.
    """

    instructions: int
    multiply_adds: int
    share: float
    weighted: float
    moves: int
    sends: int
    read_bytes: int
    clocks: float

    @property
    def bytes_per_clock(self) -> float:
        return self.read_bytes / self.clocks


@dataclass(frozen=True)
class KernelIsa:
    """A kernel as it was compiled.  ``loop`` is None if the kernel has no multiply-add in a loop."""

    name: str
    instructions: int
    registers: int
    spilled_bytes: int
    loop: Loop | None


@dataclass(frozen=True)
class _Row:
    operation: str
    lanes: int
    operands: str


def read_kernels(listings: Iterable[str]) -> dict[str, KernelIsa]:
    """The kernels of these listings by name; where the compiler tried several times, the one that spills least."""
    kernels: dict[str, KernelIsa] = {}
    for text in listings:
        kernel = _kernel(text)
        if kernel.name not in kernels or kernel.spilled_bytes < kernels[kernel.name].spilled_bytes:
            kernels[kernel.name] = kernel
    return kernels


def _kernel(text: str) -> KernelIsa:
    name = re.search(r"^//\.kernel (\S+)", text, re.MULTILINE)
    assert name is not None, "every listing begins with the kernel's name"
    rows, labels = _rows(text)
    loops = [_loop(rows[first : last + 1]) for first, last in _innermost(rows, labels)]
    multiplying = [loop for loop in loops if loop.multiply_adds]
    return KernelIsa(
        name=name[1],
        instructions=_number(r"//\.instCount (\d+)", text),
        registers=_number(r"numGRF=(\d+)", text),
        spilled_bytes=_number(r"//\.spill size (\d+)", text),
        loop=max(multiplying, key=lambda loop: loop.multiply_adds, default=None),
    )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _rows(text: str) -> tuple[list[_Row], dict[str, int]]:
    """The instructions, and the index of the first one behind each label."""
    rows: list[_Row] = []
    labels: dict[str, int] = {}
    for line in text.split("\n"):
        code, _, comment = line.partition("//")
        if label := _LABEL.match(code):
            labels[label[1]] = len(rows)
        elif found := _INSTRUCTION.match(code):
            rows.append(_Row(found["operation"], int(found["lanes"]), found["operands"] + "//" + comment))
        elif found := _SCALAR_JUMP.match(code):
            rows.append(_Row(found["operation"], 1, found["operands"]))
    return rows, labels


def _innermost(rows: Sequence[_Row], labels: dict[str, int]) -> list[tuple[int, int]]:
    """The first and last row of each loop that contains no other: loops end with a jump back."""
    loops = {
        (labels[target], at)
        for at, row in enumerate(rows)
        if row.operation in _JUMPS
        for target in re.findall(r"\w+", row.operands.partition("//")[0])
        if labels.get(target, at + 1) <= at
    }
    return [
        (first, last)
        for first, last in sorted(loops)
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in loops)
    ]


def _loop(rows: Sequence[_Row]) -> Loop:
    multiply_adds = moves = sends = read = 0
    clocks = multiplying = 0.0
    count = 0
    for row in rows:
        if row.operation == "sync":
            continue
        count += 1
        if row.operation.startswith(("send", "load", "store")):
            sends += 1
            clocks += 1
            message = _LOADED.match(row.operands) if row.operation == "load" else _SENT.search(row.operands)
            read += REGISTER_BYTES * int(message[1]) if message else 0
            continue
        found = _TYPE.search(row.operands)
        kind = found[1] if found else "f"
        own = max(1.0, row.lanes * _BYTES[kind] / REGISTER_BYTES)
        clocks += own
        moves += row.operation == "mov"
        if row.operation in _DOT_PRODUCTS or (row.operation in _MULTIPLY_ADDS and kind in _FLOATS):
            multiply_adds += 1
            multiplying += own
    return Loop(count, multiply_adds, multiply_adds / count, multiplying / clocks, moves, sends, read, clocks)
