"""Makes OpenCL runtimes that were installed from PyPI visible to pyopencl and to C programs.

pip cannot register an OpenCL runtime: ``/etc/OpenCL/vendors`` belongs to root, and the ``.icd`` file inside Intel's
wheel names a path of the machine it was packed on.  So :func:`activate` collects every runtime in a folder of ``.icd``
files and points ``OCL_ICD_VENDORS`` to it.  All relevant loaders (ocl-icd from a distribution, the ocl-icd inside
pyopencl's wheel, Khronos') read that variable when platforms are first listed, so it must be set before; pyopencl may
be imported earlier.

Which loader a C program can open is a separate question:

- the system's ``libOpenCL.so.1`` always works, and is found by name;
- the loader of a conda environment works too, but only Python's own RPATH finds it by name;
- the loader inside pyopencl's wheel also reads ``$PYOPENCL_HOME/.libs/*.icd``, and crashes without that variable;
- the loader inside Intel's wheel is never used: its own libraries are found only with a LD_LIBRARY_PATH.
"""

from __future__ import annotations

import ctypes
import fnmatch
import functools
import hashlib
import importlib.metadata
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.runtime import cache, probe

_log = logging.getLogger(__name__)

VENDORS = "OCL_ICD_VENDORS"
LIBRARY = "CLGEN_OPENCL_LIBRARY"  # read by the generated C host, which otherwise opens SYSTEM_LOADER
PYOPENCL_HOME = "PYOPENCL_HOME"
POCL_CACHE = "POCL_CACHE_DIR"
SYSTEM_LOADER = "libOpenCL.so.1"
SYSTEM_VENDORS = "/etc/OpenCL/vendors"

# Runtimes in wheels: distribution, name of the .icd file to write, pattern of the library.
_WHEELS = (("intel-opencl-rt", "clgen-intel.icd", "libintelocl.so"),)


@dataclass(frozen=True)
class Environment:
    """OpenCL as seen from this process and from a C program that is started with ``variables``.

    ``vendors`` is the value of OCL_ICD_VENDORS, None for the loader's default; ``chosen_by_user`` is true if the user
    had set it.  ``libraries`` are the runtimes found in wheels.  ``crashing`` are registered runtimes that ``vendors``
    leaves out because they crash the process: (name of the .icd file, library, symptom).  ``loader`` is the library
    that a C program has to open: a name, a path, or None if there is no loader.
    """

    vendors: str | None = None
    chosen_by_user: bool = False
    libraries: tuple[str, ...] = ()
    crashing: tuple[tuple[str, str, str], ...] = ()
    loader: str | None = None
    variables: tuple[tuple[str, str], ...] = ()


@functools.cache
def activate() -> Environment:
    """Sets up ``os.environ`` so that OpenCL runtimes from PyPI are found.  Does nothing except on Linux."""
    if sys.platform != "linux":
        return Environment()
    users = os.environ.get(VENDORS)
    libraries = [] if users else _wheel_libraries()
    entries = collect([Path(users)] if users else _vendor_folders(), libraries)
    if libraries:
        _register(entries)
    loader = _activate_loader()
    pocl_cache = _give_pocl_a_folder() if any("libpocl" in text for text in entries.values()) else []
    crashing = probe.crashing(entries, VENDORS) if entries else {}
    if crashing:
        _register({name: text for name, text in entries.items() if name not in crashing})
        for name, reason in crashing.items():
            _log.warning("OpenCL implementation %s (%s) %s; it is left out", entries[name].strip(), name, reason)
    names = (VENDORS, LIBRARY, *([PYOPENCL_HOME] if loader != SYSTEM_LOADER else []), *pocl_cache)
    return Environment(
        vendors=os.environ.get(VENDORS) or None,
        chosen_by_user=bool(users),
        libraries=tuple(str(library) for _, library in libraries),
        crashing=tuple((name, entries[name].strip(), reason) for name, reason in crashing.items()),
        loader=loader,
        variables=tuple((name, os.environ[name]) for name in names if os.environ.get(name)),
    )


def environment_exports() -> list[str]:
    """Shell lines that give a C program the same OpenCL as this process."""
    return [export(name, value) for name, value in activate().variables]


def export(name: str, value: str) -> str:
    """The shell line that sets an environment variable."""
    return f"export {name}=" + "'" + value.replace("'", "'\\''") + "'"


# ---- runtimes ----


def collect(folders: Iterable[Path], wheels: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """{name of .icd file: text} of everything registered in ``folders``, followed by the wheels' libraries.

    Entries whose library is missing, and repeated libraries, are left out.  A registered libintelocl hides the wheel's
    one, as two versions in one process would share the libraries of the one that is loaded first.
    """
    entries: dict[str, str] = {}
    seen: set[str] = set()
    for folder in folders:
        for file in sorted(folder.glob("*.icd")):
            library = read_icd(file)
            if not library or (library.startswith("/") and not Path(library).exists()):
                continue
            identity = os.path.realpath(library) if library.startswith("/") else library
            if identity not in seen:
                seen |= {identity, _stem(library)}
                entries.setdefault(file.name, library + "\n")
    for name, path in wheels:
        if os.path.realpath(path) not in seen and _stem(str(path)) not in seen:
            entries[name] = f"{path}\n"
    return entries


def read_icd(file: Path) -> str:
    """The library that an ``.icd`` file names; "" if the file is empty or cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""


def _stem(library: str) -> str:
    return Path(library).name.split(".so")[0]


def _vendor_folders() -> list[Path]:
    # OPENCL_VENDOR_PATH is ocl-icd's older variable; the folder in sys.prefix is what a conda loader reads.
    system = os.environ.get("OPENCL_VENDOR_PATH") or SYSTEM_VENDORS
    return [Path(system), Path(sys.prefix, "etc/OpenCL/vendors")]


def _wheel_libraries() -> list[tuple[str, Path]]:
    found = [(icd, _installed(distribution, pattern)) for distribution, icd, pattern in _WHEELS]
    return [(icd, paths[0]) for icd, paths in found if paths]


def _installed(distribution: str, pattern: str) -> list[Path]:
    """Files of an installed distribution, from its own list, which is right in a venv, with --user and system-wide."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    paths = [Path(str(file.locate())).resolve() for file in files if fnmatch.fnmatch(file.name, pattern)]
    return [path for path in paths if path.is_file()]


# ---- the folder ----


def _register(entries: Mapping[str, str]) -> None:
    """Points the loader to a folder with exactly these entries, if one can be written."""
    folder = _publish(entries)
    if folder is not None:
        os.environ[VENDORS] = str(folder)


def _publish(entries: Mapping[str, str]) -> Path | None:
    """Writes the entries to the user's cache, or to a private temporary folder; None if neither can be written."""
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(entries.items())).encode())
    name = f"icd-{digest.hexdigest()[:12]}"
    try:
        folder = (cache.folder() or _private_temporary_folder()) / name
        write_entries(folder, entries)
    except OSError:
        return None
    return folder


def write_entries(folder: Path, entries: Mapping[str, str]) -> None:
    """Writes the entries to ``folder``; several processes may do so at once.

    Every file appears whole, by a rename.  The folder's name is a hash of the contents, so all processes write the
    same files.  Missing files of an existing folder are written again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in entries.items():
        target = folder / name
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        cache.write(target, text)


def _private_temporary_folder() -> Path:
    # The files name libraries that will be loaded, so a folder that another user could have created is not trusted.
    folder = Path(tempfile.gettempdir(), f"clgen-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="clgen-"))


def _give_pocl_a_folder() -> list[str]:
    """Gives PoCL a folder for kernels, without which it shows no device; returns the variables that it set."""
    if not os.environ.get(POCL_CACHE) and cache.folder("pocl") is None:
        try:
            os.environ[POCL_CACHE] = str(_private_temporary_folder() / "pocl")
        except OSError:
            return []
        return [POCL_CACHE]
    return []


# ---- the loader ----


def _activate_loader() -> str | None:
    users = os.environ.get(LIBRARY)
    if users:
        return users
    conda = Path(sys.prefix, "lib", SYSTEM_LOADER)
    if Path(sys.prefix, "conda-meta").is_dir() and _opens(str(conda)):
        os.environ[LIBRARY] = str(conda)
        return str(conda)
    if _opens(SYSTEM_LOADER):
        return SYSTEM_LOADER
    for path in _installed("pyopencl", "libOpenCL-*.so*"):
        if _opens(str(path)):
            os.environ[LIBRARY] = str(path)
            # pyopencl sets this to its own folder on import; a C program needs it to be exported.
            beside = path.parent.parent
            os.environ[PYOPENCL_HOME] = str(beside if beside.name == "pyopencl" else beside / "pyopencl")
            return str(path)
    return None


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
