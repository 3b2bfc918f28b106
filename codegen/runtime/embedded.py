"""Makes OpenCL implementations that came from PyPI visible to pyopencl and to C programs.

pip cannot register an OpenCL implementation: ``/etc/OpenCL/vendors`` belongs to root, and the ``.icd`` file inside
Intel's wheel names a path of the machine it was packed on.  So :func:`activate` collects every implementation in a
folder of ``.icd`` files and points ``OCL_ICD_VENDORS`` to it.  All loaders that matter (ocl-icd from a distribution,
the ocl-icd inside pyopencl's wheel, Khronos') read that variable when the first platform is asked for, so this has to
happen before that, and an import of pyopencl before it does no harm.

Which loader a C program can open is a separate question:

- the system's ``libOpenCL.so.1`` is always right, and found by name;
- the one of a conda environment is right too, but only Python's own RPATH finds it by name;
- the one inside pyopencl's wheel also reads ``$PYOPENCL_HOME/.libs/*.icd``, and crashes without that variable;
- the one inside Intel's wheel is never taken: its own libraries are found only with a LD_LIBRARY_PATH.
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
LIBRARY = "CLGEN_OPENCL_LIBRARY"  # read by the generated C host; without it the host opens SYSTEM_LOADER
PYOPENCL_HOME = "PYOPENCL_HOME"
POCL_CACHE = "POCL_CACHE_DIR"
SYSTEM_LOADER = "libOpenCL.so.1"
SYSTEM_VENDORS = "/etc/OpenCL/vendors"

# What the wheels hold: distribution, name of the .icd file to write, pattern of the library.
_WHEELS = (("intel-opencl-rt", "clgen-intel.icd", "libintelocl.so"),)


@dataclass(frozen=True)
class Environment:
    """What OpenCL looks like from this process and from a C program that gets ``variables``.

    ``vendors`` is the value of OCL_ICD_VENDORS, None for the loader's default; ``chosen_by_user`` says that it was set
    before we came.  ``libraries`` are the implementations found in wheels.  ``crashing`` are registered implementations
    that ``vendors`` leaves out, as they take a process with them: (name of the .icd file, library, what it does).
    ``loader`` is what a C program has to dlopen: a name, a path, or None if there is no loader at all.
    """

    vendors: str | None = None
    chosen_by_user: bool = False
    libraries: tuple[str, ...] = ()
    crashing: tuple[tuple[str, str, str], ...] = ()
    loader: str | None = None
    variables: tuple[tuple[str, str], ...] = ()


@functools.cache
def activate() -> Environment:
    """Set up ``os.environ`` so that the OpenCL implementations from PyPI are seen.  Does nothing but on Linux."""
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
    """Shell lines after which a C program sees the same OpenCL as this process."""
    return [export(name, value) for name, value in activate().variables]


def export(name: str, value: str) -> str:
    """The shell line that sets a variable for all programs that are started from there."""
    return f"export {name}=" + "'" + value.replace("'", "'\\''") + "'"


# ---- implementations ----


def collect(folders: Iterable[Path], wheels: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """{name of .icd file: text} of everything registered in ``folders``, then of the wheels' libraries.

    An entry whose library is gone is left out, and so is a library that is there already.  A registered libintelocl
    hides the one in the wheel: two versions of it in one process would share libraries of the first that is loaded.
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
    """Files of an installed distribution.  Its own list is right in a venv, with --user and for a system's Python."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    paths = [Path(str(file.locate())).resolve() for file in files if fnmatch.fnmatch(file.name, pattern)]
    return [path for path in paths if path.is_file()]


# ---- the folder ----


def _register(entries: Mapping[str, str]) -> None:
    """Points the loader to a folder with these entries and no others, if it can be written."""
    folder = _publish(entries)
    if folder is not None:
        os.environ[VENDORS] = str(folder)


def _publish(entries: Mapping[str, str]) -> Path | None:
    """Write the entries to the user's cache, or to a private temporary folder; None if neither can be written."""
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(entries.items())).encode())
    name = f"icd-{digest.hexdigest()[:12]}"
    try:
        folder = (cache.folder() or _private_temporary_folder()) / name
        write_entries(folder, entries)
    except OSError:
        return None
    return folder


def write_entries(folder: Path, entries: Mapping[str, str]) -> None:
    """Bring ``folder`` to hold the entries; safe when several processes do it at once.

    Every file appears whole, by a rename, and as the folder's name is a hash of the contents, all processes write the
    same: whichever comes last changes nothing.  A folder that was half emptied since is mended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in entries.items():
        target = folder / name
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        cache.write(target, text)


def _private_temporary_folder() -> Path:
    # The files name libraries that will be loaded, so a folder that somebody else could have made is not trusted.
    folder = Path(tempfile.gettempdir(), f"clgen-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="clgen-"))


def _give_pocl_a_folder() -> list[str]:
    """PoCL shows no device where it cannot keep kernels.  The names of the variables that tell it where it can."""
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
            # pyopencl sets this itself when it is imported, to its own folder; a C program gets it from us.
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
