"""OpenCL on this machine and on simulated ones: the runtimes found, the device chosen, the messages."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codegen.errors import DeviceError
from codegen.runtime import devices, doctor, embedded, inventory, probe
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import Environment
from codegen.runtime.machine import Distribution, System
from tests.support.needs import ROOT

NO_OPENCL = 'no OpenCL implementation here: pip install "clgen[opencl]" or apt install pocl-opencl-icd'

linux = pytest.mark.skipif(sys.platform != "linux", reason="the folder of .icd files is made on Linux only")

INTEL = DeviceInfo("Intel(R) OpenCL", "Xeon(R) Processor", "CPU", "OpenCL 3.1 LINUX", "2026.1", 8, 2**34, 2**17, 128)
POCL = "Portable Computing Language"
OLD = DeviceInfo(
    POCL, "pthread-Intel Xeon", "CPU", "OpenCL 3.0 PoCL 3.0-rc2  Linux, Release", "3.0", 8, 2**33, 2**19, 128
)
NEW = replace(OLD, version="OpenCL 3.0 PoCL 3.1+debian  Linux", driver="3.1+debian")
XE = replace(
    INTEL, platform="Intel(R) OpenCL Graphics", name="Intel(R) Iris(R) Xe Graphics", type="GPU", version="OpenCL 3.0"
)


# ---- embedded: the folder ----


def icd(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def library(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_system_entries_come_along_and_dangling_ones_do_not(tmp_path: Path) -> None:
    there = library(tmp_path / "libthere.so")
    folder = icd(tmp_path / "vendors", "there.icd", str(there))
    icd(folder, "pocl.icd", "libpocl.so.2.10.0")
    icd(folder, "gone.icd", str(tmp_path / "libgone.so"))
    icd(folder, "empty.icd", "")
    icd(folder, "readme.txt", str(there))
    wheel = library(tmp_path / "wheel/libother.so")
    entries = embedded.collect([folder, tmp_path / "missing"], [("clgen-other.icd", wheel)])
    assert entries == {
        "there.icd": f"{there}\n",
        "pocl.icd": "libpocl.so.2.10.0\n",
        "clgen-other.icd": f"{wheel}\n",
    }


def test_the_same_library_is_registered_once(tmp_path: Path) -> None:
    target = library(tmp_path / "libthere.so.1")
    link = tmp_path / "libthere.so"
    link.symlink_to(target)
    first = icd(tmp_path / "a", "a.icd", str(target))
    second = icd(tmp_path / "b", "b.icd", str(link))
    assert embedded.collect([first, second], [("wheel.icd", link)]) == {"a.icd": f"{target}\n"}


def test_a_registered_intel_runtime_hides_the_wheels_unless_it_is_gone(tmp_path: Path) -> None:
    system = library(tmp_path / "oneapi/libintelocl.so")
    wheel = library(tmp_path / "venv/libintelocl.so")
    folder = icd(tmp_path / "vendors", "intel64.icd", str(system))
    assert embedded.collect([folder], [("clgen-intel.icd", wheel)]) == {"intel64.icd": f"{system}\n"}
    system.unlink()
    assert embedded.collect([folder], [("clgen-intel.icd", wheel)]) == {"clgen-intel.icd": f"{wheel}\n"}


def test_a_half_emptied_folder_is_mended(tmp_path: Path) -> None:
    entries = {"a.icd": "a\n", "b.icd": "b\n", "c.icd": "c\n"}
    embedded.write_entries(tmp_path / "icd", entries)
    (tmp_path / "icd/a.icd").unlink()
    (tmp_path / "icd/b.icd").write_text("")
    embedded.write_entries(tmp_path / "icd", entries)
    assert {path.name: path.read_text() for path in (tmp_path / "icd").iterdir()} == entries


# ---- embedded: in a process of its own, with a simulated wheel of Intel's ----

REPORT = """
import json, os
from codegen.runtime import embedded
before = dict(os.environ)
first = embedded.activate()
assert embedded.activate() is first
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
print(json.dumps({"changed": changed, "vendors": first.vendors, "user": first.chosen_by_user,
                  "libraries": first.libraries, "loader": first.loader, "exports": embedded.environment_exports()}))
"""


@dataclass
class Process:
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, code: str = REPORT) -> subprocess.Popen[str]:
        known = (embedded.VENDORS, embedded.LIBRARY, embedded.PYOPENCL_HOME, "OPENCL_VENDOR_PATH")
        environ = {name: value for name, value in os.environ.items() if name not in known}
        environ |= {"XDG_CACHE_HOME": str(self.folder / "cache"), "TMPDIR": str(self.folder)}
        environ |= {"PYTHONPATH": str(self.folder / "site")} | self.environ
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE)

    def report(self, code: str = REPORT) -> dict[str, Any]:
        process = self.start(code)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        result = json.loads(out)
        assert isinstance(result, dict)
        return result


@pytest.fixture
def process(tmp_path: Path) -> Process:
    library(tmp_path / "lib/libintelocl.so")
    information = tmp_path / "site/intel_opencl_rt-2099.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: intel-opencl-rt\nVersion: 2099.0\n")
    (information / "RECORD").write_text("../lib/libintelocl.so,,\nintel_opencl_rt-2099.0.dist-info/METADATA,,\n")
    vendors = tmp_path / "vendors"  # in the place of /etc/OpenCL/vendors, which may hold an Intel runtime
    return Process(tmp_path, {"OPENCL_VENDOR_PATH": str(icd(vendors, "other.icd", "libother.so"))})


@linux
def test_the_wheels_library_is_registered(process: Process, tmp_path: Path) -> None:
    report = process.report()
    folder = Path(report["changed"][embedded.VENDORS])
    assert folder.parent == tmp_path / "cache/clgen"
    assert report["vendors"] == str(folder) and not report["user"]
    assert (folder / "clgen-intel.icd").read_text() == f"{tmp_path}/lib/libintelocl.so\n"
    assert (folder / "other.icd").read_text() == "libother.so\n"
    assert f"{tmp_path}/lib/libintelocl.so" in report["libraries"]


@linux
def test_the_users_choice_is_respected(process: Process, tmp_path: Path) -> None:
    process.environ |= {embedded.VENDORS: "/somewhere", embedded.LIBRARY: "/lib/libmine.so"}
    report = process.report()
    assert report["changed"] == {}
    assert (report["vendors"], report["user"], report["loader"]) == ("/somewhere", True, "/lib/libmine.so")
    assert not (tmp_path / "cache").exists()
    assert f"export {embedded.VENDORS}='/somewhere'" in report["exports"]


@linux
def test_processes_that_start_at_once_agree(process: Process) -> None:
    running = [process.start() for _ in range(8)]
    reports = [json.loads(each.communicate(timeout=120)[0]) for each in running]
    assert [each.returncode for each in running] == [0] * 8
    (folder,) = {report["vendors"] for report in reports}
    names = {path.name for path in Path(folder).iterdir()}
    assert {"clgen-intel.icd", "other.icd"} <= names
    assert not [name for name in names if not name.endswith(".icd")]


@linux
def test_without_a_writable_cache_a_private_temporary_folder_serves(process: Process, tmp_path: Path) -> None:
    process.environ["XDG_CACHE_HOME"] = "/dev/null/cache"
    private = tmp_path / f"clgen-{os.getuid()}"
    first = process.report()
    assert Path(first["vendors"]).parent == private
    assert private.stat().st_mode & 0o077 == 0
    assert process.report() == first
    private.chmod(0o777)  # as if somebody else had laid it out
    other = Path(process.report()["vendors"])
    assert other.parent != private and (other / "clgen-intel.icd").is_file()


@linux
def test_exports_survive_a_shell(process: Process, tmp_path: Path) -> None:
    process.environ["XDG_CACHE_HOME"] = str(tmp_path / "it's $HOME here")
    report = process.report()
    script = "\n".join(report["exports"]) + f'\nprintf %s "${embedded.VENDORS}"'
    environ = {name: value for name, value in os.environ.items() if name != embedded.VENDORS}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == report["vendors"] == report["changed"][embedded.VENDORS]


@linux
def test_nothing_happens_on_another_system(process: Process) -> None:
    report = process.report("import sys; sys.platform = 'darwin'\n" + REPORT)
    assert report["changed"] == {} and report["vendors"] is None and report["exports"] == []


LIST_PLATFORMS = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
typedef int (*platforms_fn)(unsigned, void **, unsigned *);
typedef int (*info_fn)(void *, unsigned, size_t, void *, size_t *);
int main(void)
{
    const char *path = getenv("CLGEN_OPENCL_LIBRARY");
    void *loader = dlopen(path && *path ? path : "libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!loader) { fprintf(stderr, "%s\n", dlerror()); return 1; }
    platforms_fn platforms = (platforms_fn)dlsym(loader, "clGetPlatformIDs");
    info_fn info = (info_fn)dlsym(loader, "clGetPlatformInfo");
    void *ids[64];
    unsigned count = 0;
    if (platforms(64, ids, &count)) return 2;
    for (unsigned i = 0; i < count && i < 64; i++) {
        char version[512];
        if (info(ids[i], 0x0901, sizeof version, version, NULL)) return 3; /* CL_PLATFORM_VERSION */
        puts(version);
    }
    return 0;
}
"""

# Which platforms pyopencl sees, and what a C program needs to see them as well.
PLATFORMS = """
import json, sys
from codegen.runtime import devices, embedded
if sys.argv[1:] == ["hidden"]:
    embedded.SYSTEM_LOADER = "libOpenCL.so.none"
versions = sorted({device.version for device in devices.list_devices()})
environment = embedded.activate()
print(json.dumps({"versions": versions, "loader": environment.loader, "variables": dict(environment.variables)}))
"""


@linux
@pytest.mark.parametrize("system", ["system loader", "hidden"])
def test_a_c_program_sees_the_platforms_that_pyopencl_sees(system: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler here: apt install build-essential")
    source = tmp_path / "platforms.c"
    source.write_text(LIST_PLATFORMS)
    subprocess.run([compiler, "-std=c99", source, "-o", tmp_path / "platforms", "-ldl"], check=True)
    ours = (embedded.VENDORS, embedded.LIBRARY, embedded.PYOPENCL_HOME)
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", PLATFORMS, system], cwd=ROOT, env=environ, text=True, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"pyopencl cannot be used here, pip install pyopencl: {done.stderr[-300:]}")
    report = json.loads(done.stdout)
    if not report["versions"]:
        pytest.skip(NO_OPENCL)
    if report["loader"] is None:
        pytest.skip("pyopencl brings no loader here: apt install ocl-icd-libopencl1")
    seen = subprocess.run(
        [tmp_path / "platforms"], env=environ | report["variables"], text=True, capture_output=True, check=True
    )
    assert set(report["versions"]) <= {line.strip() for line in seen.stdout.splitlines()}


# ---- devices ----


class FakeError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


@dataclass
class FakePlatform:
    name: str
    devices: list[Any] | FakeError
    version: str = "OpenCL 3.0 fake"

    def get_devices(self) -> list[Any]:
        if isinstance(self.devices, FakeError):
            raise self.devices
        return self.devices


class MuteDevice:
    int_ptr = 99
    available = compiler_available = True

    @property
    def name(self) -> str:
        raise FakeError(-33)


def fake_device(pointer: int, kind: int, name: str = "device") -> SimpleNamespace:
    return SimpleNamespace(
        int_ptr=pointer,
        available=True,
        compiler_available=True,
        name=f" {name} ",
        type=kind,
        driver_version="1",
        max_compute_units=4,
        global_mem_size=2**30,
        max_constant_buffer_size=2**16,
        mem_base_addr_align=1024,
    )


def pretend(monkeypatch: pytest.MonkeyPatch, platforms: list[FakePlatform] | FakeError) -> None:
    def get_platforms() -> list[FakePlatform]:
        if isinstance(platforms, FakeError):
            raise platforms
        return platforms

    codes = SimpleNamespace(PLATFORM_NOT_FOUND_KHR=-1001)
    module = SimpleNamespace(get_platforms=get_platforms, Error=FakeError, status_code=codes)
    monkeypatch.setattr(devices, "opencl", lambda: module)
    monkeypatch.setattr(probe, "verdict", lambda identity: "")


def test_a_broken_platform_hides_no_other(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    good = FakePlatform("good", [fake_device(1, 2, "cpu"), MuteDevice(), fake_device(2, 4, "gpu")])
    pretend(monkeypatch, [FakePlatform("broken", FakeError(-6)), good])
    assert [(device.name, device.type) for device in devices.list_devices()] == [("cpu", "CPU"), ("gpu", "GPU")]
    assert "'broken' lists no devices: code -6" in caplog.text
    assert "'good' does not answer: code -33" in caplog.text


def test_a_device_that_is_registered_twice_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [FakePlatform("pocl", [fake_device(1, 2)]), FakePlatform("pocl", [fake_device(1, 2)])])
    (device,) = devices.list_devices()
    assert device.alignment == 128  # bytes
    assert device.constant_buffer == 65536


def test_no_platform_is_no_error_but_real_failures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, FakeError(-1001))
    assert devices.list_devices() == []
    with pytest.raises(DeviceError, match=r'no OpenCL device.*pip install "clgen\[opencl\]"'):
        devices.select([])
    pretend(monkeypatch, FakeError(-6))
    with pytest.raises(DeviceError, match="lists no platforms: code -6"):
        devices.list_devices()
    pretend(monkeypatch, [FakePlatform("broken", FakeError(-6))])
    with pytest.raises(DeviceError, match="'broken' lists no devices"):
        devices.list_devices()


def test_a_missing_pyopencl_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    monkeypatch.setattr(embedded, "activate", Environment)
    with pytest.raises(DeviceError, match="pyopencl cannot be imported"):
        devices.list_devices()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], [INTEL]),
        (["intel(r) opencl"], [INTEL, XE]),
        (["INTEL"], [INTEL, XE]),  # platforms only: OLD and NEW run on an Intel CPU too
        (["xeon"], [INTEL, NEW, OLD]),
        (["pocl"], [NEW, OLD]),
        (["3.1"], [NEW]),
        (["PoCL 3.0"], [OLD]),
        (["iris"], [XE]),
        (["gpu"], [XE]),
        (["iris", "portable", "3.0"], [XE, NEW, OLD]),
    ],
)
def test_patterns(patterns: list[str], expected: list[DeviceInfo]) -> None:
    assert devices.choose([OLD, XE, NEW, INTEL], patterns) == expected


def test_a_pattern_without_a_match_lists_what_is_there() -> None:
    with pytest.raises(DeviceError, match="'radeon'") as error:
        devices.choose([OLD, INTEL], ["intel", "radeon"])
    assert "Intel(R) OpenCL: Xeon(R) Processor" in str(error.value)
    assert "pip install" in str(error.value)


def test_the_default_device() -> None:
    oclgrind = replace(INTEL, platform="Oclgrind", name="Oclgrind Simulator")
    assert devices.choose([oclgrind, XE, NEW], []) == [NEW]
    assert devices.choose([oclgrind, XE, NEW], [], default_type="GPU") == [XE]
    assert devices.choose([XE], []) == [XE]


def test_two_equal_boards_are_two_devices() -> None:
    pair = [replace(XE, handle="first"), replace(XE, handle="second")]
    assert [device.handle for device in devices.choose(pair, ["iris", "xe"])] == ["first", "second"]


def test_the_table_is_aligned() -> None:
    head, *rows, fault = inventory.format_table([(INTEL, ""), (OLD, "crashes with SIGILL")]).splitlines()
    assert len(rows) == 2
    assert fault == f"{POCL}: pthread-Intel Xeon crashes with SIGILL; clgen doctor says what to do"
    column = head.index("version")
    assert rows[1][column:].startswith("OpenCL 3.0 PoCL 3.0-rc2  3.0 ")
    assert "16.0 GiB" in rows[0] and "128 KiB" in rows[0] and "128 B" in rows[0]
    assert "pip install" in inventory.format_table([])


def test_a_device_that_fails_its_trial_is_listed_last_and_never_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        monkeypatch,
        [
            FakePlatform("broken", [fake_device(1, 2, "first")]),
            FakePlatform("sound", [fake_device(2, 2, "second"), fake_device(3, 4, "third")]),
        ],
    )
    monkeypatch.setattr(probe, "verdict", lambda identity: "crashes with SIGILL" if identity[0] == "broken" else "")
    monkeypatch.delenv("CLGEN_DEVICE", raising=False)
    report = inventory.as_json(inventory.tried_devices())
    assert [(d["name"], d["default"], d["fault"]) for d in report["devices"]] == [
        ("second", True, None),
        ("third", False, None),
        ("first", False, "crashes with SIGILL"),
    ]
    assert report["devices"][1] == {
        "platform": "sound",
        "name": "third",
        "type": "GPU",
        "version": "OpenCL 3.0 fake",
        "driver": "1",
        "compute_units": 4,
        "global_memory_bytes": 2**30,
        "constant_buffer_bytes": 2**16,
        "alignment_bytes": 128,
        "default": False,
        "fault": None,
    }


@pytest.mark.parametrize(("wanted", "default"), [("third", ["third"]), ("no such device", [])])
def test_the_environment_s_device_is_listed_as_the_default(
    wanted: str, default: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [FakePlatform("sound", [fake_device(2, 2, "second"), fake_device(3, 4, "third")])])
    monkeypatch.setenv("CLGEN_DEVICE", wanted)
    report = inventory.as_json(inventory.tried_devices())
    assert [device["name"] for device in report["devices"] if device["default"]] == default


def test_no_device_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, FakeError(-1001))
    assert inventory.as_json(inventory.tried_devices()) == {"devices": []}


def test_the_devices_of_this_machine() -> None:
    try:
        here = devices.list_devices()
    except DeviceError as error:
        pytest.skip(f"OpenCL does not work here, clgen doctor says why: {error}")
    if not here:
        pytest.skip(NO_OPENCL)
    assert devices.select([]) == here[:1] or here[0].type != "CPU"
    for device in here:
        assert device in devices.select([device.platform])
        assert device.handle.name.strip() == device.name
        assert device.compute_units > 0 and device.alignment > 0 and device.global_memory > 0
    pointers = [device.handle.int_ptr for device in here]
    assert len(set(pointers)) == len(pointers)


# ---- doctor ----

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
DEBIAN = '# a comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
FEDORA = "NAME=Fedora\nID=fedora\nVERSION_ID=41\n"
NOT_FOUND = "cannot open shared object file: No such file or directory"


@dataclass
class Machine:
    """A machine under a folder: files in it, and what programs, libraries and device nodes do."""

    root: Path
    programs: tuple[str, ...] = ("cc", "gcc", "ocloc", "oclgrind")
    libraries: tuple[str, ...] = ("libOpenCL.so.1",)  # what dlopen finds
    devices: list[DeviceInfo] | DeviceError = field(default_factory=lambda: [INTEL])
    pyopencl: str | DeviceError = "2026.1"
    verdicts: dict[str, str] = field(default_factory=dict)  # what is wrong with the devices of a platform
    environment: Environment = field(default_factory=lambda: Environment(loader="libOpenCL.so.1"))
    forbidden: tuple[str, ...] = ()

    def write(self, path: str, text: str = "") -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def system(self) -> System:
        return System(
            root=self.root,
            kind="linux",
            processor="x86_64",
            which=lambda name: f"/usr/bin/{name}" if name in self.programs else None,
            dlopen=lambda name: "" if name in self.libraries else f"{name}: {NOT_FOUND}",
            open=self._open,
            activate=lambda: self.environment,
            pyopencl_version=lambda: str(self._give(self.pyopencl)),
            list_devices=lambda: list(self._give(self.devices)),
            trial=lambda device: self.verdicts.get(device.platform, ""),
        )

    def findings(self, what: str = "") -> list[doctor.Finding]:
        return [finding for finding in doctor.diagnose(self.system()) if finding.what.startswith(what)]

    def finding(self, what: str) -> doctor.Finding:
        (finding,) = self.findings(what)
        return finding

    def _open(self, path: Path) -> None:
        if path.name in self.forbidden:
            raise PermissionError(13, "Permission denied")

    @staticmethod
    def _give(result: Any) -> Any:
        if isinstance(result, DeviceError):
            raise result
        return result


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Ubuntu with a PoCL of its own, where everything is fine."""
    machine = Machine(tmp_path, libraries=("libOpenCL.so.1", "libpocl.so.2"), devices=[NEW])
    machine.write("etc/os-release", UBUNTU)
    machine.write("proc/sys/kernel/osrelease", "6.8.0-31-generic\n")
    machine.write("etc/OpenCL/vendors/pocl.icd", "libpocl.so.2\n")
    return machine


def test_everything_fine(machine: Machine) -> None:
    findings = machine.findings()
    assert doctor.worst(findings) == "ok"
    assert not [finding for finding in findings if finding.remedy]
    assert machine.finding("system").detail == "Ubuntu 24.04.1 LTS"
    assert machine.finding("ICD pocl").detail == "libpocl.so.2"
    assert NEW.name in machine.finding("device").detail


def test_a_bare_ubuntu(tmp_path: Path) -> None:
    machine = Machine(tmp_path, programs=(), libraries=(), devices=[], environment=Environment())
    machine.write("etc/os-release", UBUNTU)
    remedies = {finding.what: finding.remedy for finding in machine.findings() if finding.level == "problem"}
    assert remedies["ICD loader"] == "sudo apt install ocl-icd-libopencl1"
    assert remedies["C compiler"] == "sudo apt install build-essential"
    assert remedies["device"].splitlines()[0] == 'pip install "clgen[opencl]"'
    assert "sudo apt install pocl-opencl-icd" in remedies["device"]
    assert remedies["ICD"] == remedies["device"]
    assert machine.finding("ocloc") == doctor.Finding(
        "ok",
        "ocloc",
        "not here; optional, it compiles kernels for an Intel GPU without one",
        "sudo apt install intel-ocloc",
    )


def test_a_loader_that_only_pyopencl_brings(machine: Machine) -> None:
    bundled = "/venv/pyopencl/.libs/libOpenCL-1.so.1"
    machine.libraries = (bundled, "libpocl.so.2")
    machine.environment = Environment(loader=bundled)
    finding = machine.finding("ICD loader")
    assert (finding.level, finding.remedy) == ("warning", "sudo apt install ocl-icd-libopencl1")
    machine.libraries = ()
    assert machine.finding("ICD loader").level == "problem"
    assert machine.finding("ICD loader").remedy.startswith(f"unset {embedded.LIBRARY}\n")


def test_debian_with_a_dangling_icd(tmp_path: Path) -> None:
    machine = Machine(tmp_path, devices=[])
    machine.write("usr/lib/os-release", DEBIAN)
    machine.write("etc/OpenCL/vendors/intel.icd", "/usr/lib/intel-opencl/libigdrcl.so\n")
    finding = machine.finding("ICD intel.icd")
    assert finding.level == "problem"
    assert finding.detail == "/usr/lib/intel-opencl/libigdrcl.so cannot be loaded: there is no such file"
    assert finding.remedy == "sudo apt install --reinstall intel-opencl-icd"
    machine.devices = [INTEL]  # where another implementation works it is a blemish
    assert machine.finding("ICD intel.icd").level == "warning"


def test_icds_of_nobody_we_know(machine: Machine) -> None:
    machine.write("opt/vendor/libvendor.so")
    machine.write("etc/OpenCL/vendors/a vendor.icd", "/opt/vendor/libvendor.so")
    machine.write("etc/OpenCL/vendors/empty.icd", "\n")
    broken, empty = machine.findings("ICD a vendor") + machine.findings("ICD empty")
    assert NOT_FOUND in broken.detail
    assert broken.remedy == "sudo rm '/etc/OpenCL/vendors/a vendor.icd'"
    assert empty.remedy == "sudo rm /etc/OpenCL/vendors/empty.icd"


def test_a_device_that_fails_its_trial(machine: Machine) -> None:
    machine.devices = [INTEL, OLD]
    machine.verdicts = {POCL: "crashes with SIGABRT: LLVM ERROR: Cannot select"}
    good, bad = machine.findings("device")
    assert (good.level, bad.level) == ("ok", "warning")
    assert "a small kernel crashes with SIGABRT: LLVM ERROR" in bad.detail and OLD.name in bad.detail
    assert "sudo apt remove pocl-opencl-icd" in bad.remedy
    assert bad.remedy.splitlines()[-1] == 'eval "$(clgen devices --env)"'
    machine.devices = [OLD]
    (bad,) = machine.findings("device")
    assert bad.level == "problem" and 'pip install "clgen[opencl]"' in bad.remedy


def test_an_implementation_that_crashes_when_its_devices_are_listed(machine: Machine) -> None:
    crashing = (("bad.icd", "/usr/lib/libbad.so", "crashes with SIGSEGV"),)
    machine.write("usr/lib/libbad.so")
    machine.write("etc/OpenCL/vendors/bad.icd", "/usr/lib/libbad.so")
    machine.environment = Environment(str(machine.root / "cache"), crashing=crashing, loader="libOpenCL.so.1")
    finding = machine.finding("ICD bad.icd")
    assert (finding.level, finding.detail) == ("warning", "/usr/lib/libbad.so crashes with SIGSEGV")
    assert 'eval "$(clgen devices --env)"' in finding.remedy


def test_intels_wheel_without_its_libraries(machine: Machine) -> None:
    wheel = "/venv/lib/libintelocl.so"
    machine.write(wheel[1:])
    machine.write("cache/clgen-intel.icd", wheel)
    machine.write("cache/pocl.icd", "libpocl.so.2")  # the copy of the system's entry is not told twice
    system = replace(machine.system(), dlopen=lambda name: f"libsvml.so: {NOT_FOUND}" if name == wheel else "")
    environment = Environment(str(machine.root / "cache"), libraries=(wheel,), loader="libOpenCL.so.1")
    findings = doctor.diagnose(replace(system, activate=lambda: environment))
    assert [finding.what for finding in findings].count("ICD pocl.icd") == 1
    (finding,) = [finding for finding in findings if finding.what == "ICD clgen-intel.icd"]
    assert finding.remedy == "pip install --force-reinstall intel-cmplr-lib-rt"


def test_a_stale_choice_of_the_users(machine: Machine) -> None:
    machine.devices = []
    machine.environment = Environment("/gone", chosen_by_user=True, loader="libOpenCL.so.1")
    finding = machine.finding("ICD OCL_ICD_VENDORS")
    assert (finding.level, finding.remedy) == ("problem", "unset OCL_ICD_VENDORS")
    (machine.root / "empty").mkdir()
    machine.environment = replace(machine.environment, vendors=str(machine.root / "empty"))
    assert [finding.remedy for finding in machine.findings("ICD")] == ["", "unset OCL_ICD_VENDORS"]


def test_pyopencl_without_its_loader(machine: Machine) -> None:
    machine.pyopencl = DeviceError(f"pyopencl cannot be imported: libOpenCL.so.1: {NOT_FOUND}")
    assert machine.finding("pyopencl").remedy == "sudo apt install ocl-icd-libopencl1"
    machine.pyopencl = DeviceError("pyopencl cannot be imported: No module named 'pyopencl'")
    assert machine.finding("pyopencl").remedy == "pip install --force-reinstall pyopencl"
    assert machine.finding("pyopencl").level == "problem"


def test_a_failing_platform_is_reported(machine: Machine) -> None:
    machine.devices = DeviceError("OpenCL platform 'broken' lists no devices")
    assert machine.finding("device").detail == "OpenCL platform 'broken' lists no devices"


def test_a_render_node_without_permission(machine: Machine) -> None:
    machine.write("dev/dri/renderD128")
    machine.forbidden = ("renderD128",)
    finding = machine.finding("GPU")
    assert finding.level == "warning"
    assert finding.detail.startswith("/dev/dri/renderD128 may not be opened")
    assert finding.remedy == 'sudo usermod -aG render,video "$USER"\n# then log in again'


@pytest.mark.parametrize(
    ("release", "vendor", "remedy"),
    [
        (UBUNTU, "0x8086", "sudo apt install intel-opencl-icd"),
        (UBUNTU, "0x1002", "sudo apt install mesa-opencl-icd"),
        (UBUNTU, "0x10de", "sudo ubuntu-drivers install"),
        (DEBIAN, "0x10de", "sudo apt install nvidia-opencl-icd"),
        (DEBIAN.replace("12", "13"), "0x8086", "# not in Debian 13"),
        (FEDORA, "0x8086", "# install what Debian calls intel-opencl-icd"),
        (UBUNTU, "0x1af4", ""),
    ],
)
def test_a_gpu_that_opencl_does_not_offer(machine: Machine, release: str, vendor: str, remedy: str) -> None:
    machine.write("etc/os-release", release)
    machine.write("dev/dri/renderD128")
    machine.write("sys/class/drm/renderD128/device/vendor", vendor + "\n")
    finding = machine.finding("GPU")
    assert finding.level == ("warning" if remedy else "ok")
    assert finding.remedy.startswith(remedy)
    machine.devices = [XE]
    assert machine.finding("GPU") == doctor.Finding("ok", "GPU", "/dev/dri/renderD128")


def test_wsl2(machine: Machine) -> None:
    machine.write("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")
    assert machine.finding("system").detail == "Ubuntu 24.04.1 LTS on WSL2"
    missing = machine.finding("GPU")
    assert missing.level == "warning" and missing.detail.startswith("no /dev/dxg")
    assert "in Windows: install Intel's current graphics driver" in missing.remedy
    assert missing.remedy.splitlines()[-1] == "sudo apt install intel-opencl-icd"
    machine.write("dev/dxg")
    assert "no OpenCL platform offers a GPU" in machine.finding("GPU").detail
    machine.forbidden = ("dxg",)
    assert "Permission denied" in machine.finding("GPU").detail
    machine.forbidden = ()
    machine.devices = [XE]
    assert machine.finding("GPU").level == "ok"


def test_wsl1(machine: Machine) -> None:
    (machine.root / "proc/sys/kernel/osrelease").unlink()
    machine.write("proc/version", "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)")
    finding = machine.finding("system")
    assert finding.level == "warning" and "wsl --set-version" in finding.remedy
    assert machine.findings("GPU") == []


def test_which_package_brings_ocloc() -> None:
    def package(identity: str, version: str) -> str:
        return Distribution(identity, "", version, has_apt=True, wsl=0).ocloc_package

    assert package("ubuntu", "22.04") == package("debian", "12") == "intel-opencl-icd"
    assert package("ubuntu", "24.04") == package("debian", "") == "intel-ocloc"


def test_another_system_than_linux(machine: Machine) -> None:
    findings = doctor.diagnose(replace(machine.system(), kind="darwin"))
    assert [finding.what for finding in findings] == ["system", "pyopencl", "device"]


def test_the_report(machine: Machine) -> None:
    machine.write("dev/dri/renderD128")
    machine.forbidden = ("renderD128",)
    lines = doctor.format_report(machine.findings()).splitlines()
    assert lines[0].split() == ["ok", "system", "Ubuntu", "24.04.1", "LTS"]
    at = next(number for number, line in enumerate(lines) if "usermod" in line)
    assert lines[at - 1].startswith("warning  GPU ")
    # What is printed can be pasted.
    assert shlex.split(lines[at]) == ["sudo", "usermod", "-aG", "render,video", "$USER"]
    assert doctor.format_report([]) == "" and doctor.worst([]) == "ok"


def test_every_problem_names_its_remedy(tmp_path: Path) -> None:
    for release in (UBUNTU, DEBIAN, FEDORA):
        machine = Machine(tmp_path, programs=(), libraries=(), devices=[], environment=Environment())
        machine.write("etc/os-release", release)
        machine.write("etc/OpenCL/vendors/pocl.icd", "libpocl.so.2")
        problems = [finding for finding in machine.findings() if finding.level == "problem"]
        assert len(problems) == 4
        assert all(finding.remedy for finding in problems)


def test_this_machine() -> None:
    findings = doctor.diagnose()
    assert findings[0].what == "system"
    assert doctor.worst(findings) in ("ok", "warning", "problem")
    assert doctor.format_report(findings)
