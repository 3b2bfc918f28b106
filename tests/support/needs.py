"""Requirements of tests on the machine, and the handling of missing ones.

With CLGEN_REQUIRE=all in the environment (as on CI) a missing runtime, compiler or tool is a failure; elsewhere the
test is skipped and says what to install.  Trained networks of others are not part of the repository: where there is no
folder of them, their tests are skipped even then; where there is one, it has to be whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUNTIMES = {
    "intel": ("Intel(R) OpenCL", 'pip install "clgen[opencl]"'),
    "pocl": ("Portable Computing Language", "sudo apt install pocl-opencl-icd"),
}

TOOLS = {
    "gcc": "sudo apt install gcc",
    "g++": "sudo apt install g++",
    "clang": "sudo apt install clang",
    "clang++": "sudo apt install clang",
    "cmake": "sudo apt install cmake",
    "valgrind": "sudo apt install valgrind",
    "oclgrind": "sudo apt install oclgrind",
    "x86_64-w64-mingw32-gcc": "sudo apt install gcc-mingw-w64-x86-64-win32",
    "ocloc": "sudo apt install intel-opencl-icd (Debian 12) or intel-ocloc (Ubuntu 24.04)",
}


def missing(what: str, remedy: str) -> None:
    """Fails where everything is required, skips elsewhere."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("CLGEN_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)


def trained(name: str) -> Path:
    """The folder of a trained network that others made, below $CLGEN_CASES or ../shared/cases."""
    told = os.environ.get("CLGEN_CASES")
    cases = Path(told or ROOT.parent / "shared" / "cases")
    if not told and not cases.is_dir():
        pytest.skip(f"the trained network {name} is not here: CLGEN_CASES names the folder that holds the cases")
    if not (cases / name).is_dir():
        pytest.fail(f"{cases} holds no {name}: it should hold all cases, or not be there")
    return cases / name
