"""Valid names in a spec: they must be usable in generated C, in file names and in comments."""

from __future__ import annotations

import re
from collections.abc import Callable

from codegen.frontend.spec import c_names
from codegen.frontend.spec.place import show
from codegen.frontend.spec.reserved import HOST_NUMBERED, HOST_WORDS

MAX_IDENTIFIER = 40
MAX_LAYER = 120

# Only single underscores inside: with a prefix or suffix, a leading, trailing or double one would give names that C or
# C++ reserve.
IDENTIFIER = r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*"
LAYER = r"[A-Za-z_][A-Za-z0-9_.\-]*"


# Names of other arguments and variables of generated functions.
_LOCALS = frozenset(
    {
        *("model", "device", "context", "queue", "status", "event", "events", "num_events", "wait_list", "run_batch"),
        "enqueue_on_buffers",
    }
)

_FILES = frozenset({"example", "manifest"})
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))]
)


def model_fault(name: str) -> str | None:
    """The fault of a model's name, and a valid name; None if there is no fault.

    The name becomes file names, a type and a prefix of symbols.
    """
    return _with_remedy(_model_fault(name), legal_model(name))


def port_fault(name: str, model: str) -> str | None:
    """The fault of an input's or output's name in this model, and a valid name; None if there is no fault.

    The name becomes an argument.
    """
    fault = _with_remedy(_port_fault(name, model), legal_port(name, model))
    return None if fault is None else f"{fault}; with original = {show(name)} clgen run knows this name too"


def layer_fault(name: str) -> str | None:
    """The fault of a layer's name, and a valid name; None if there is no fault."""
    fault = None
    if not re.fullmatch(LAYER, name):
        fault = f"{show(name)} should be letters, digits, _ . and -, starting with a letter or _"
    elif len(name) > MAX_LAYER:
        fault = f"{show(name)} has {len(name)} characters; {MAX_LAYER} is the most"
    return _with_remedy(fault, legal_layer(name))


def legal_model(wanted: str) -> str:
    """The name itself if it is valid for a model, else a similar valid one."""
    return identifier(wanted, lambda name: _model_fault(name) is None, "net")


def legal_port(wanted: str, model: str) -> str:
    """The name itself if it is valid for an input or output of this model, else a similar valid one."""
    return identifier(wanted, lambda name: _port_fault(name, model) is None, "data")


def legal_layer(wanted: str) -> str:
    """The name itself if it is valid for a layer, else a similar valid one."""
    base = re.sub(r"[/:]+", ".", wanted)
    base = re.sub(r"[^A-Za-z0-9_.\-]+", "_", base).strip(".-_")
    if not base or not re.match(r"[A-Za-z_]", base):
        base = f"layer_{base}".rstrip("_")
    return base[: MAX_LAYER - 8]


def identifier(original: str, free: Callable[[str], bool], suffix: str) -> str:
    """The name if it is free, else a similar C identifier that is free."""
    if free(original):
        return original
    base = re.sub(r"[^A-Za-z0-9]+", "_", original).strip("_")
    base = re.sub(r"_+", "_", base)
    if not base or not base[0].isalpha():
        base = f"{suffix}_{base}".rstrip("_")
    # Some names are refused for their beginning; of two beginnings of our own one is always allowed.
    base = base[: MAX_IDENTIFIER - 12].rstrip("_")
    candidates = [base, f"{base}_{suffix}", f"{suffix}_{base}", f"of_{base}"]
    k = 1
    while not any(map(free, candidates)):
        k += 1
        candidates = [f"{base}_{k}", f"{suffix}_{base}_{k}", f"of_{base}_{k}"]
    return next(filter(free, candidates))


def _model_fault(name: str) -> str | None:
    fault = _identifier_fault(name)
    if fault is None and name in c_names.FUNCTIONS:
        fault = f"{show(name)} is a function of the C library"
    if fault is None and name in c_names.SYMBOL_PREFIXES:
        fault = f"{show(name)} begins functions of the C library, which the generated ones would replace"
    if fault is None and name in c_names.OPENCL_PREFIXES:
        fault = f"{show(name)} begins functions of OpenCL C"
    if fault is None and name.lower() in c_names.CMAKE_TARGETS:
        fault = f"{show(name)} is a target of CMake"
    if fault is None and name.lower() in c_names.HEADERS:
        fault = f"{show(name)} is a header of the system, in whose place {name}.h would be found"
    if fault is None and f"{name.upper()}_OK" in c_names.TYPES_AND_MACROS:
        fault = f"{show(name)} makes the status {name.upper()}_OK, which is a macro of a C header"
    if fault is None and name in c_names.LIBRARIES:
        fault = f"{show(name)} is a library or project that linkers or CMake know"
    if fault is None and name.lower() in _FILES:
        fault = f"{show(name)} is the name of another generated file"
    if fault is None and name.lower() in _WINDOWS_DEVICES:
        fault = f"{show(name)} is a device on Windows, which has no files of that name"
    if fault is None and (name in HOST_WORDS or HOST_NUMBERED.fullmatch(name)):
        fault = f"{show(name)} is used by the generated host"
    return fault


def _port_fault(name: str, model: str) -> str | None:
    fault = _identifier_fault(name)
    if fault is None and name.lower() in _LOCALS:
        fault = f"{show(name)} is the name of another argument of the generated functions"
    if fault is None and (name in HOST_WORDS and name.isupper()):
        fault = f"{show(name)} is a macro of the generated host"
    if fault is None and name.lower().startswith(f"{model.lower()}_"):
        fault = f"{show(name)} begins like the generated functions"
    if fault is None and name.lower() == model.lower():
        fault = f"{show(name)} is the name of the model"
    return fault


def file_fault(name: str) -> str | None:
    """The fault of a spec's file name, which appears in generated comments; None if there is none."""
    if not name.isprintable() or "\\" in name:
        return f"file name {show(name)} should have no control characters and no backslash"
    return None


def symbol(name: str) -> str:
    """The form in which names must differ: the name as part of a C macro."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _identifier_fault(name: str) -> str | None:
    if not re.fullmatch(IDENTIFIER, name):
        return (
            f"{show(name)} should be a C identifier: letters, digits and single underscores between, "
            "starting with a letter"
        )
    if len(name) > MAX_IDENTIFIER:
        return f"{show(name)} has {len(name)} characters; {MAX_IDENTIFIER} is the most"
    if name in c_names.KEYWORDS:
        return f"{show(name)} is a keyword of C or C++"
    if c_names.is_taken(name) or name.lower().startswith("cl_") or name == "cl":
        return f"{show(name)} is taken by a C, Windows or OpenCL header"
    return None


def _with_remedy(fault: str | None, legal: str) -> str | None:
    return None if fault is None else f"{fault}; take another, such as {show(legal)}"
