"""Reads Python's pickles as plain data: nothing that a file names is imported, called or constructed.

A pickle is a program for a stack machine.  This machine implements the instructions that data needs, and calls only
functions from a given table; the result of any other call is a :class:`Foreign`.

A small pickle can describe an exponentially large value: a tuple that holds another one twice, which holds a third one
twice, and so on.  So values are never printed, compared or hashed, and instructions and arguments are counted.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any


@dataclass(frozen=True)
class Symbol:
    """A function or class by name, "collections.OrderedDict"."""

    name: str


@dataclass(frozen=True)
class Foreign:
    """Stands for the result of calling ``name``."""

    name: str


MOST_INSTRUCTIONS = 5_000_000  # a checkpoint of 10,000 tensors with its optimizer has about 2,000,000
MOST_GIVEN = 5_000_000  # items in all arguments of all functions
MOST_KEY = 2**63  # keys that are larger numbers are refused, as they cannot be printed

_MARK = object()
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {
        "BINBYTES",
        "BINBYTES8",
        "BINFLOAT",
        "BININT",
        "BININT1",
        "BININT2",
        "BINSTRING",
        "BINUNICODE",
        "BINUNICODE8",
        "FLOAT",
        "INT",
        "LONG",
        "LONG1",
        "LONG4",
        "SHORT_BINBYTES",
        "SHORT_BINSTRING",
        "SHORT_BINUNICODE",
        "STRING",
        "UNICODE",
    }
)


def unpickle(stream: IO[bytes], functions: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]) -> Any:
    """The value of the stream's next pickle.

    ``functions`` replace those that the file names; ``persistent`` returns the value of a persistent id.  A damaged
    pickle raises exceptions of any kind.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    given = 0

    def marked() -> list[Any]:
        k = len(stack) - 1
        while stack[k] is not _MARK:
            k -= 1
            if k < 0:
                raise ValueError("a pickle without its mark")
        items = stack[k + 1 :]
        del stack[k:]
        return items

    for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
        name = code.name
        if count > MOST_INSTRUCTIONS:
            raise ValueError(f"a pickle of more than {MOST_INSTRUCTIONS} instructions")
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
            stack.append({"D": {}, "L": [], "T": (), "S": []}[name[6]])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(marked()))
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else marked()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            if name == "SETITEM":
                items = stack[-2:]
                del stack[-2:]
            else:
                items = marked()
            _set(stack[-1], items)
        elif name in ("LIST", "DICT"):
            items = marked()
            stack.append(items if name == "LIST" else {})
            if name == "DICT":
                _set(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(Symbol(str(argument).replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            word, module = stack.pop(), stack.pop()
            if not isinstance(word, str) or not isinstance(module, str):
                raise ValueError("a pickle that names a function by something else than texts")
            stack.append(Symbol(f"{module}.{word}"))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            options = stack.pop() if name == "NEWOBJ_EX" else None
            arguments, called = stack.pop(), stack.pop()
            known = functions.get(called.name) if isinstance(called, Symbol) and not options else None
            if known is None:
                made = Foreign(called.name if isinstance(called, Symbol | Foreign) else "?")
            else:
                given += len(arguments) + sum(len(a) for a in arguments if isinstance(a, (tuple, list, dict, str)))
                if given > MOST_GIVEN:
                    raise ValueError(f"a pickle whose functions are given more than {MOST_GIVEN} items")
                made = known(*arguments)
            stack.append(made)
        elif name == "BUILD":
            stack.pop()  # attributes, which are irrelevant for data
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument or 0)])
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP_MARK":
            marked()
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"a pickle with the instruction {name}")
    raise ValueError("a pickle without an end")


def ordered_dict(*arguments: Any) -> dict[Any, Any]:
    """Stands for collections.OrderedDict, empty or from a list of pairs."""
    made: dict[Any, Any] = {}
    for key, value in arguments[0] if arguments else ():
        _set(made, [key, value])
    return made


def _set(table: Any, items: list[Any]) -> None:
    """Sets items; keys other than texts and numbers are left out, as hashing nested tuples can take for ever."""
    if not isinstance(table, dict):
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < MOST_KEY):
            table[key] = value
