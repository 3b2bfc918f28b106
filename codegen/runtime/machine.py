"""Facts about the machine for the doctor: the files that they are read from, and the Linux distribution."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from codegen import interrupt
from codegen.runtime import devices, embedded, probe

_OCLOC_IN_DRIVER = {("ubuntu", "20.04"), ("ubuntu", "22.04"), ("debian", "11"), ("debian", "12")}


def _dlopen(library: str) -> str:
    """The reason why ``library`` cannot be loaded, "" if it can.  Tried in another process, as a driver may crash."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    try:
        done = interrupt.run([sys.executable, "-c", code, library], timeout=60)
    except subprocess.TimeoutExpired:
        return "loading it does not come to an end"
    if done.returncode < 0:
        return f"loading it crashes with signal {-done.returncode}"
    if done.returncode > 0:
        return (done.stderr.strip().splitlines() or ["for an unknown reason"])[-1].removeprefix("OSError: ")
    return ""


def _open(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR))


def _pyopencl_version() -> str:
    return str(devices.opencl().VERSION_TEXT)


def _activate() -> embedded.Environment:
    probe.forget_listings()  # a crashing library may have been replaced under the same name
    return embedded.activate()


def _trial(device: devices.DeviceInfo) -> str:
    return probe.verdict(device.identity, fresh=True)


@dataclass(frozen=True)
class System:
    """The machine as the doctor sees it; tests replace it."""

    root: Path = Path("/")  # the folder that contains etc, dev, proc and sys
    kind: str = sys.platform
    processor: str = platform.machine()
    which: Callable[[str], str | None] = which
    dlopen: Callable[[str], str] = _dlopen  # the reason of a failure, "" for success
    open: Callable[[Path], None] = _open  # opens for reading and writing; raises OSError
    activate: Callable[[], embedded.Environment] = _activate
    pyopencl_version: Callable[[], str] = _pyopencl_version  # raises DeviceError
    list_devices: Callable[[], list[devices.DeviceInfo]] = devices.list_devices  # raises DeviceError
    trial: Callable[[devices.DeviceInfo], str] = _trial  # the fault of a device, "" for none

    @property
    def vendors(self) -> Path:
        """The folder in which the distribution's packages register OpenCL runtimes."""
        return self.root / "etc/OpenCL/vendors"

    def read(self, path: str) -> str:
        """The text of a file below the root, "" if it does not exist."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def absolute(self, path: Path) -> str:
        """The path of a file below the root, as it is called on the machine itself."""
        return f"/{path.relative_to(self.root)}" if path.is_relative_to(self.root) else str(path)


@dataclass(frozen=True)
class Distribution:
    """The Linux distribution; ``wsl`` is 0 (not under WSL), 1 or 2."""

    id: str
    name: str
    version: str
    has_apt: bool
    wsl: int

    @classmethod
    def of(cls, system: System) -> Distribution:
        release = system.read("etc/os-release") or system.read("usr/lib/os-release")
        pairs = (line.split("=", 1) for line in release.splitlines() if "=" in line and not line.startswith("#"))
        values = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
        kernel = (system.read("proc/sys/kernel/osrelease") or system.read("proc/version")).casefold()
        # WSL1 has "4.4.0-19041-Microsoft", WSL2 "5.15.90.1-microsoft-standard-WSL2"; custom kernels keep the suffix.
        wsl = 2 if "wsl2" in kernel or "microsoft-standard" in kernel else 1 if "microsoft" in kernel else 0
        identity = values.get("ID", "linux")
        return cls(
            id=identity,
            name=values.get("PRETTY_NAME", "an unknown Linux"),
            version=values.get("VERSION_ID", ""),
            has_apt=bool({identity, *values.get("ID_LIKE", "").split()} & {"debian", "ubuntu"}),
            wsl=wsl,
        )

    def install(self, package: str, *, again: bool = False) -> str:
        """The command that installs a package, given by its name in Debian and Ubuntu."""
        if not self.has_apt:
            return f"# install what Debian calls {package} from your distribution"
        if package in ("intel-opencl-icd", "intel-ocloc") and (self.id, self.version) == ("debian", "13"):
            return "# not in Debian 13: install the .deb files of https://github.com/intel/compute-runtime/releases"
        return f"sudo apt install {'--reinstall ' if again else ''}{package}"

    @property
    def ocloc_package(self) -> str:
        """The package of Intel's offline compiler, which older releases have in the driver's package."""
        return "intel-opencl-icd" if (self.id, self.version) in _OCLOC_IN_DRIVER else "intel-ocloc"

    @property
    def nvidia_driver(self) -> str:
        """The command that installs NVIDIA's driver, which contains its own OpenCL."""
        return "sudo ubuntu-drivers install" if self.id == "ubuntu" else self.install("nvidia-opencl-icd")
