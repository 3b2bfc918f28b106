"""Finds what prevents OpenCL from running on this machine, and the command that mends it.

Ubuntu and Debian are known, also under WSL2; on another Linux the doctor names the missing package by Debian's name.
A remedy is shell text: every line is a command, or a comment that starts with ``#``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codegen.errors import DeviceError
from codegen.runtime import embedded
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import Environment
from codegen.runtime.machine import Distribution, System

Level = Literal["ok", "warning", "problem"]
_LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")

# The beginning of an OpenCL runtime's library name, and the package of Debian and Ubuntu that has it.
_PACKAGES = {
    "libigdrcl": "intel-opencl-icd",
    "libpocl.so": "pocl-opencl-icd",
    "libMesaOpenCL": "mesa-opencl-icd",
    "libRusticlOpenCL": "mesa-opencl-icd",
    "liboclgrind": "oclgrind",
}
# The libraries of platforms.
_LIBRARIES = {"Portable Computing Language": "libpocl.so", "Intel(R) OpenCL Graphics": "libigdrcl"}
_FOR_C = """\
# clgen's commands use another device unless --device names this one; C programs do so after
eval "$(clgen devices --env)\""""
_C_COMPILERS = ("cc", "gcc", "clang")
_WSL_DRIVER = """\
# in Windows: install Intel's current graphics driver from https://www.intel.com/content/www/us/en/download-center
# then, in PowerShell: wsl --update; wsl --shutdown
# then, here:"""


@dataclass(frozen=True)
class Finding:
    """The result of one check.  ``remedy`` is "" if there is nothing to mend."""

    level: Level
    what: str
    detail: str
    remedy: str = ""


def diagnose(system: System | None = None) -> list[Finding]:
    """Findings about OpenCL on this machine, in the order in which they should be mended."""
    system = system or System()
    distribution = Distribution.of(system)
    environment = system.activate()
    devices, python = _python(system, distribution)
    works = any(finding.what == "device" and finding.level == "ok" for finding in python)
    if system.kind != "linux":
        return [Finding("ok", "system", f"{system.kind}; only Python's side is looked at"), *python]
    return [
        _system(distribution),
        _loader(system, distribution, environment),
        *_implementations(system, distribution, environment, works=works),
        *python,
        *_gpu(system, distribution, devices),
        _compiler(system, distribution),
        *_tools(system, distribution),
    ]


def worst(findings: Sequence[Finding]) -> Level:
    """The most severe level among the findings."""
    return max((finding.level for finding in findings), key=_LEVELS.index, default="ok")


def format_report(findings: Sequence[Finding]) -> str:
    """The findings as text, each remedy below its finding, ready to be pasted into a shell."""
    width = max((len(finding.what) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<7}  {finding.what:<{width}}  {finding.detail}")
        lines += [" " * (width + 11) + line for line in finding.remedy.splitlines()]
    return "\n".join(lines)


def _system(distribution: Distribution) -> Finding:
    if distribution.wsl == 1:
        remedy = "# in PowerShell, with the name that wsl --list shows: wsl --set-version NAME 2"
        return Finding("warning", "system", f"{distribution.name} on WSL1, which no GPU reaches", remedy)
    return Finding("ok", "system", distribution.name + (" on WSL2" if distribution.wsl else ""))


# ---- the loader and the runtimes that it loads ----


def _loader(system: System, distribution: Distribution, environment: Environment) -> Finding:
    what, remedy = "ICD loader", distribution.install("ocl-icd-libopencl1")
    own = environment.loader not in (None, embedded.SYSTEM_LOADER)  # set by the user, conda or pyopencl
    loader = environment.loader or embedded.SYSTEM_LOADER
    reason = system.dlopen(loader)
    if reason:
        remedy = f"unset {embedded.LIBRARY}\n{remedy}" if own else remedy
        return Finding("problem", what, f"{loader} cannot be loaded: {reason}", remedy)
    if own and system.dlopen(embedded.SYSTEM_LOADER):
        detail = (
            f"only {loader}; that is enough for clgen, but an application with generated code opens "
            f"{embedded.SYSTEM_LOADER} where {embedded.LIBRARY} is not set"
        )
        return Finding("warning", what, detail, remedy)
    return Finding("ok", what, loader)


def _implementations(
    system: System, distribution: Distribution, environment: Environment, *, works: bool
) -> list[Finding]:
    """One finding for every registered runtime.  A broken one is a problem only if no other works."""
    users = environment.vendors if environment.chosen_by_user else None
    folders = [] if users else [system.vendors]
    if environment.vendors and Path(environment.vendors).is_dir():
        folders.append(Path(environment.vendors))
    files = {file: embedded.read_icd(file) for folder in folders for file in sorted(folder.glob("*.icd"))}
    entries: dict[str, str] = {}  # library -> its .icd file; clgen's folder repeats the system's entries
    findings: list[Finding] = []
    crashing = {library for _, library, _ in environment.crashing}
    for name, library, reason in environment.crashing:
        remedy = f"{_update(distribution, Path(library).name)}\n{_FOR_C}"
        findings.append(Finding("warning" if works else "problem", f"ICD {name}", f"{library} {reason}", remedy))
    for file, library in files.items():
        if library in crashing:
            continue
        if library:
            entries.setdefault(library, system.absolute(file))
        else:
            remedy = f"sudo rm {shlex.quote(system.absolute(file))}"
            findings.append(Finding("warning", f"ICD {file.name}", "is empty or cannot be read", remedy))
    if users and not folders:
        entries[users] = embedded.VENDORS  # ocl-icd accepts a single library instead of a folder
    for library, source in entries.items():
        what = f"ICD {Path(source).name}"
        if library.startswith("/") and not (system.root / library[1:]).exists():
            reason = "there is no such file"
        else:
            reason = system.dlopen(library)
        if reason:
            remedy = _mend(distribution, environment, library, source, reason)
            detail = f"{library} cannot be loaded: {reason}"
            findings.append(Finding("warning" if works else "problem", what, detail, remedy))
        else:
            findings.append(Finding("ok", what, library))
    if not findings:
        where = users or "/etc/OpenCL/vendors"
        remedy = f"unset {embedded.VENDORS}" if users else _get_implementation(system, distribution)
        level: Level = "ok" if works else "problem"
        findings.append(Finding(level, "ICD", f"none is registered in {where}", "" if works else remedy))
    return findings


def _mend(distribution: Distribution, environment: Environment, library: str, source: str, reason: str) -> str:
    """The command that mends a runtime that cannot be loaded."""
    name = Path(library).name
    if library in environment.libraries:  # Intel's wheel, whose metadata lacks the compiler's libraries
        again = "intel-cmplr-lib-rt" if "svml" in reason else "intel-opencl-rt intel-cmplr-lib-rt"
        return f"pip install --force-reinstall {again}"
    if environment.chosen_by_user:
        return f"unset {embedded.VENDORS}"
    if name.startswith("libnvidia"):
        return distribution.nvidia_driver
    package = next((package for start, package in _PACKAGES.items() if name.startswith(start)), None)
    return distribution.install(package, again=True) if package else f"sudo rm {shlex.quote(source)}"


def _update(distribution: Distribution, library: str) -> str:
    """The remedy for a runtime that loads and then fails."""
    package = next((package for start, package in _PACKAGES.items() if library.startswith(start)), None)
    if package is None:
        return "# install another release of this implementation, or remove it"
    if not distribution.has_apt:
        return f"# install another release of what Debian calls {package}, or remove it"
    return f"# install another release of it, or remove it: sudo apt remove {package}"


def _get_implementation(system: System, distribution: Distribution) -> str:
    package = distribution.install("pocl-opencl-icd")
    if system.processor not in ("x86_64", "AMD64"):
        return package  # there are no wheels
    package = package.removeprefix("# ")
    return f'pip install "clgen[opencl]"\n# or, for the whole machine: {package}'


# ---- pyopencl ----


def _python(system: System, distribution: Distribution) -> tuple[list[DeviceInfo], list[Finding]]:
    """The devices that pyopencl sees, and findings about pyopencl."""
    try:
        findings = [Finding("ok", "pyopencl", system.pyopencl_version())]
    except DeviceError as error:
        # pyopencl built from source needs the system's loader; its wheel contains one.
        loader = embedded.SYSTEM_LOADER in str(error) and system.kind == "linux"
        remedy = distribution.install("ocl-icd-libopencl1") if loader else "pip install --force-reinstall pyopencl"
        return [], [Finding("problem", "pyopencl", str(error.__cause__ or error), remedy)]
    try:
        devices = system.list_devices()
    except DeviceError as error:
        detail, devices = str(error), []
    else:
        detail = "no OpenCL platform offers any"
    reasons = [system.trial(device) for device in devices]
    for device, reason in zip(devices, reasons, strict=True):
        shown = f"{device.type}: {device.name} ({device.platform}, {device.driver})"
        if reason:
            remedy = _update(distribution, _LIBRARIES.get(device.platform, ""))
            remedy += f"\n{_get_implementation(system, distribution) if all(reasons) else _FOR_C}"
            level: Level = "problem" if all(reasons) else "warning"
            findings.append(Finding(level, "device", f"{shown}: a small kernel {reason}", remedy))
        else:
            findings.append(Finding("ok", "device", shown))
    if not devices:
        findings.append(Finding("problem", "device", detail, _get_implementation(system, distribution)))
    return devices, findings


# ---- the GPU ----


def _gpu(system: System, distribution: Distribution, devices: Sequence[DeviceInfo]) -> list[Finding]:
    """Findings about the GPU, at most warnings, as a CPU runtime is enough."""
    sees_gpu = any(device.type == "GPU" for device in devices)
    if distribution.wsl:
        return [_wsl_gpu(system, distribution, sees_gpu)] if distribution.wsl == 2 else []
    nodes = sorted((system.root / "dev/dri").glob("renderD*"))
    if not nodes:
        return [Finding("ok", "GPU", "no /dev/dri/renderD*, so none that OpenCL could use; a CPU is enough")]
    return [_render_node(system, distribution, node, sees_gpu) for node in nodes]


def _wsl_gpu(system: System, distribution: Distribution, sees_gpu: bool) -> Finding:
    node = system.root / "dev/dxg"
    remedy = f"{_WSL_DRIVER}\n{distribution.install('intel-opencl-icd')}"
    if not node.exists():
        return Finding("warning", "GPU", "no /dev/dxg: Windows does not share its GPU; the CPU is enough", remedy)
    try:
        system.open(node)
    except OSError as error:
        return Finding("warning", "GPU", f"/dev/dxg cannot be opened: {error.strerror or error}", remedy)
    if not sees_gpu:
        return Finding("warning", "GPU", "/dev/dxg is there, but no OpenCL platform offers a GPU", remedy)
    return Finding("ok", "GPU", "/dev/dxg")


def _render_node(system: System, distribution: Distribution, node: Path, sees_gpu: bool) -> Finding:
    shown = system.absolute(node)
    try:
        system.open(node)
    except PermissionError:
        remedy = 'sudo usermod -aG render,video "$USER"\n# then log in again'
        return Finding("warning", "GPU", f"{shown} may not be opened by this user; the CPU is enough", remedy)
    except OSError as error:
        return Finding("warning", "GPU", f"{shown} cannot be opened: {error.strerror or error}")
    if sees_gpu:
        return Finding("ok", "GPU", shown)
    vendor = system.read(f"sys/class/drm/{node.name}/device/vendor").strip()
    remedies = {
        "0x8086": distribution.install("intel-opencl-icd"),
        "0x1002": distribution.install("mesa-opencl-icd"),
        "0x10de": distribution.nvidia_driver,
    }
    if vendor not in remedies:  # a virtual machine's display, or a board without OpenCL
        return Finding("ok", "GPU", f"{shown}, which no OpenCL platform offers as a device")
    return Finding("warning", "GPU", f"{shown} is there, but no OpenCL platform offers a GPU", remedies[vendor])


# ---- compilers and tools ----


def _compiler(system: System, distribution: Distribution) -> Finding:
    found = [path for name in _C_COMPILERS if (path := system.which(name))]
    if found:
        return Finding("ok", "C compiler", ", ".join(found))
    detail = f"none of {', '.join(_C_COMPILERS)}: the generated C host cannot be verified"
    return Finding("problem", "C compiler", detail, distribution.install("build-essential"))


def _tools(system: System, distribution: Distribution) -> list[Finding]:
    """Findings about optional tools, which are never problems."""
    purposes = {
        "ocloc": ("compiles kernels for an Intel GPU without one", distribution.ocloc_package),
        "oclgrind": ("finds out-of-bounds accesses in kernels", "oclgrind"),
    }
    findings = []
    for tool, (purpose, package) in purposes.items():
        path = system.which(tool)
        detail = path or f"not here; optional, it {purpose}"
        findings.append(Finding("ok", tool, detail, "" if path else distribution.install(package)))
    return findings
