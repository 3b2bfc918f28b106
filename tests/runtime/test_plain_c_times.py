"""bench of plain C: the times and counts of each layer.  No test expects a certain time."""

from __future__ import annotations

import itertools
import json
import platform
import re
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from codegen.runtime import bench as benches
from codegen.runtime import native_peak, timed
from codegen.runtime.artefact import Artefact
from codegen.runtime.bench import Bench, bench, format_bench
from codegen.runtime.native import VARIANTS, native_devices
from codegen.runtime.peak import ACCUMULATORS, Peak
from codegen.runtime.picture import picture
from codegen.runtime.processor import instruction_sets, processor_name, processors
from codegen.runtime.timed import launch_timer
from codegen.runtime.trace import trace
from tests.support import artefacts
from tests.support.commands import clgen, clgen_here, plain_c, tiny_spec, without_opencl
from tests.support.generated_c import Tool, do
from tests.support.networks import Net, lower, weights_in

HERE = ["c", "c:portable", "c:scalar"]
"""The devices that every machine has."""


@pytest.fixture
def no_opencl(tmp_path: Path) -> dict[str, str]:
    return without_opencl(tmp_path)


# ---- bench ----------------------------------------------------------------------------------------------------------

WIDE = 64 * 12 * 12 * 16 * 9
COUNTS = {"x/copy": 0, "wide": WIDE, "depthwise": 64 * 36 * 9, "pool": 0, "scores": 10 * 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Net]:
    net = Net((1, 16, 12, 12), name="net")
    wide = net.conv("x", 64, 3, pads=1, name="wide")
    depthwise = net.conv(wide, 64, 3, stride=2, pads=1, groups=64, name="depthwise")
    net.dense(net.global_pool(depthwise, name="pool"), 10, name="scores")
    with weights_in("blob"):
        return lower(net.graph()).build(tmp_path_factory.mktemp("bench"), backend="c"), net


@pytest.fixture(scope="module")
def measured(made: tuple[Artefact, Net]) -> Bench:
    artefact, net = made
    return bench(artefact, lower(net.graph()).launches, native_devices(HERE), lambda step: None, seconds=0.02)


def test_every_layer_is_there_in_order(made: tuple[Artefact, Net], measured: Bench) -> None:
    artefact, _ = made
    assert [d.device for d in measured.devices] == HERE
    for device in measured.devices:
        assert {n.node: n.multiply_adds for n in device.nodes} == COUNTS
        assert [n.node for n in device.nodes] == list(COUNTS)
        launches = [launch for node in device.nodes for launch in node.launches]
        assert [launch.kernel for launch in launches] == [launch["kernel"] for launch in artefact.launches]
        assert all(launch.microseconds > 0 for launch in launches)
        assert sum(n.share for n in device.nodes) == pytest.approx(1)
        assert sum(n.microseconds for n in device.nodes) == pytest.approx(device.launches_us)
        for node in device.nodes:
            assert node.gflops == pytest.approx(2e-3 * (node.multiply_adds or 0) / node.microseconds)


def test_layers_follow_each_other_without_gaps(measured: Bench) -> None:
    for device in measured.devices:
        assert len(device.timeline) == sum(len(n.launches) for n in device.nodes)
        assert device.timeline[0][0] == 0
        for (_, end), (start, _) in itertools.pairwise(device.timeline):
            assert start <= end and end - start < 0.002, "a clock that is too coarse for a layer adds a nanosecond"


def test_threads_are_stated(measured: Bench) -> None:
    for device in measured.devices:
        assert device.threads == 1 and device.end_to_end_us > 0
        if processors() == 1:
            assert device.threaded is None
        else:
            assert device.threaded and device.threaded.threads == processors() and device.threaded.microseconds > 0
    text = format_bench(measured)
    assert text.count("us in all on 1 thread (medians of ") == text.count("through the C host on 1 thread") == len(HERE)
    assert text.count("  1 thread at its best: ") == len(HERE)
    if processors() > 1:
        assert text.count(f" us on {processors()} threads (median of ") == len(HERE)


def test_one_processor_is_measured_once(made: tuple[Artefact, Net], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "processors", lambda: 1)
    (device,) = bench(made[0], None, native_devices(["c"]), lambda step: None, seconds=0.01).devices
    assert (device.threads, device.threaded) == (1, None)


def test_more_processors_than_an_instance_takes(made: tuple[Artefact, Net], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "processors", lambda: 1000)
    (device,) = bench(made[0], None, native_devices(["c"]), lambda step: None, seconds=0.01).devices
    assert device.threaded and device.threaded.threads == 64


def test_the_compiler_the_processor_and_the_options_are_stated(measured: Bench) -> None:
    here, portable, scalar = measured.devices
    for device, options in ((here, "-march=native"), (portable, "no options"), (scalar, "-D<NAME>_SCALAR")):
        assert device.platform.startswith(f"plain C on {processor_name()} (")
        assert device.platform.endswith(f", {options})")


def test_a_layer_that_does_nearly_all_the_work_takes_the_most_time(tmp_path: Path) -> None:
    """Each time belongs to its own layer, wherever that stands."""
    for position in range(3):
        net = Net((1, 8, 24, 24), name=f"net{position}")
        x = "x"
        for k in range(3):
            x = net.conv(x, 8, 9 if k == position else 1, pads=4 if k == position else 0, name=f"layer{k}")
        stages = lower(net.graph())
        artefact = stages.build(tmp_path, backend="c")
        (device,) = bench(artefact, stages.launches, native_devices(["c:scalar"]), lambda s: None, seconds=0.02).devices
        assert max(device.nodes, key=lambda node: node.microseconds).node == f"layer{position}"


@pytest.mark.parametrize(
    ("peak", "bounds"),
    [
        (Peak(1e-6, 1e6, 1e-9), ["memory", "arithmetic", "arithmetic", "memory", "arithmetic"]),
        (Peak(1e6, 1e-6, 1e-9), ["memory"] * 5),
        (Peak(1e-6, 1e6, 1e9), ["launch"] * 5),
    ],
    ids=["arithmetic", "memory", "launches"],
)
def test_bounds_of_processors_that_are_slow_in_one_way(
    made: tuple[Artefact, Net], monkeypatch: pytest.MonkeyPatch, peak: Peak, bounds: list[str]
) -> None:
    artefact, net = made
    monkeypatch.setattr(benches, "measure_native_peak", lambda device, folder, seconds: peak)
    result = bench(artefact, lower(net.graph()).launches, native_devices(["c"]), lambda step: None, seconds=0.01)
    assert [n.bound for n in result.devices[0].nodes] == bounds


def test_peaks_are_measured(measured: Bench) -> None:
    for device in measured.devices:
        assert min(device.peak.gflops, device.peak.gbytes_per_s, device.peak.launch_us) > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for the instructions of x86")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    ("variant", "instruction"),
    [
        ("avx512", r"vfmadd\w+ps\s+[^\n]*%zmm"),
        ("avx2", r"vfmadd\w+ps\s+[^\n]*%ymm"),
        ("portable", r"mulps\s+[^\n]*%xmm"),
    ],
)
def test_the_peak_s_loop_is_of_multiply_adds_in_registers(
    variant: str, instruction: str, compiler: str, tool: Tool, tmp_path: Path
) -> None:
    """Loads, or fewer multiply-adds in flight than there are accumulators, would make the peak too low."""
    (tmp_path / "peak.c").write_text(native_peak.SOURCE)
    options = ["-std=c99", "-O2", "-ffp-contract=fast", "-fno-asynchronous-unwind-tables", *VARIANTS[variant]]
    do([tool(compiler), *options, "-S", "-fPIC", "-o", tmp_path / "peak.s", tmp_path / "peak.c"])
    text = (tmp_path / "peak.s").read_text()
    function = text[text.index("clgen_peak_arithmetic:") : text.index(".size\tclgen_peak_arithmetic")]
    loops = [part for part in re.split(r"\n\.L\w+:", function) if re.search(instruction, part)]
    assert loops
    for loop in loops:
        body = re.split(r"\n\s+j\w+\s", loop)[0]
        assert len(re.findall(instruction, body)) % ACCUMULATORS == 0
        assert not re.search(r"\(%r\w+\)", body)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["tables", "winograd", "types"])
def test_networks_of_all_kinds(
    name: str, compiler: str, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several launches of a layer, inputs and outputs of all types; warnings are errors."""
    monkeypatch.setenv("CC", str(tool(compiler)))
    built = artefacts.build(name, backend="c")
    artefact = built.read(tmp_path)
    (device,) = bench(artefact, built.launches, native_devices(["c"]), lambda step: None, seconds=0.01).devices
    assert compiler in device.platform
    launches = [launch.writes for node in device.nodes for launch in node.launches]
    assert launches == [launch["writes"] for launch in artefact.launches]
    assert format_bench(Bench(name, "cpu", (device,)))
    json.dumps(trace(Bench(name, "cpu", (device,))), allow_nan=False)
    ElementTree.fromstring(picture(Bench(name, "cpu", (device,))))


def test_each_timer_runs_its_own_library(tmp_path: Path) -> None:
    """Libraries of one path, or of one name, could be taken for each other."""
    net = Net((1, 16, 16, 16))
    net.conv("x", 16, 3, pads=1, name="wide")
    stages = lower(net.graph())
    (device,) = native_devices(["c"])
    timers = []
    for schedule in ("direct", "winograd4"):
        artefact = stages.build(tmp_path, choices={"wide": schedule}, backend="c")
        timers.append(launch_timer(artefact, device, tmp_path))
    counts = [len(timer.run()) for timer in timers]
    assert counts == [len(timer.artefact.launches) for timer in timers] and counts[0] + 2 == counts[1]
    for timer in timers:
        timer.close()


def test_a_model_named_like_what_times_it(tmp_path: Path) -> None:
    for name in ("times", "record", "arrays", "t"):
        net = Net((1, 4, 6, 6), name=name)
        net.conv("x", 4, 1, name="y")
        artefact = lower(net.graph()).build(tmp_path, backend="c")
        with closing(launch_timer(artefact, native_devices(["c"])[0], tmp_path)) as timer:
            assert len(timer.run()) == len(artefact.launches)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_bench_without_any_opencl(tmp_path: Path, no_opencl: dict[str, str]) -> None:
    spec = tiny_spec(tmp_path)
    arguments = ["--json", "-", "--trace", "t.json", "--picture", "p.svg"]
    done = clgen("bench", spec.name, "--device", "c", *arguments, cwd=tmp_path, **no_opencl)
    assert (done.returncode, done.stderr) == (0, "")
    (device,) = json.loads(done.stdout)["devices"]
    (node,) = device["nodes"]
    assert node["node"] == "stem" and node["multiply_adds"] == 5 * 6 * 7 * 27
    assert (device["device"], device["threads"]) == ("c", 1)
    assert set(device["peak"]) == {"gflops", "gbytes_per_s", "launch_us"}
    assert any(e["name"] == "stem" for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"])
    ElementTree.parse(tmp_path / "p.svg")


def test_bench_takes_the_backend_of_the_spec_or_the_folder(tmp_path: Path, no_opencl: dict[str, str]) -> None:
    spec = plain_c(tiny_spec(tmp_path))
    done = clgen("bench", spec.name, cwd=tmp_path, **no_opencl)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("tiny on c, plain C on ")
    clgen_here("build", spec.name, cwd=tmp_path)
    done = clgen("bench", "generated/tiny", cwd=tmp_path, **no_opencl)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("tiny on c, plain C on ")
    assert "stem" in done.stdout and "0.006" in done.stdout  # 10^6 multiply-adds
    (tmp_path / "elsewhere").mkdir()
    spec.rename(tmp_path / "elsewhere" / "moved.toml")
    done = clgen_here("bench", "generated/tiny", "--device", "c:scalar", "--json", "r.json", cwd=tmp_path)
    assert done.returncode == 0 and "its spec was not found; give it with --spec" in done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["devices"][0]["nodes"][0]["gflops"] is None


def test_a_folder_without_plain_c_is_refused(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path)
    clgen_here("build", spec.name, cwd=tmp_path)
    done = clgen_here("bench", "generated/tiny", "--device", "c", cwd=tmp_path)
    assert done.returncode == 2 and "generated for backend opencl; build it with --backend c" in done.stderr
    clgen_here("build", spec.name, "--backend", "c", cwd=tmp_path)
    done = clgen_here("bench", "generated/tiny", "--device", "CPU", cwd=tmp_path)
    assert done.returncode == 2 and "was generated for backend c; build it with --backend opencl" in done.stderr
    done = clgen_here("bench", "generated/tiny", "--device", "c", "--device", "CPU", cwd=tmp_path)
    assert done.returncode == 2 and "build it with --backend opencl,c" in done.stderr


def test_no_compiler_ends_with_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_spec(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    for command in ("bench", "tune"):
        done = clgen_here(command, spec.name, "--device", "c", cwd=tmp_path)
        assert done.returncode == 4 and "no C compiler found" in done.stderr


def test_explain_of_a_spec_in_plain_c(tmp_path: Path, no_opencl: dict[str, str]) -> None:
    spec = tiny_spec(tmp_path)
    by_opencl = clgen_here("explain", spec.name, "--json", "-", cwd=tmp_path)
    done = clgen("explain", plain_c(spec).name, "--json", "-", cwd=tmp_path, **no_opencl)
    assert (done.returncode, done.stdout, done.stderr) == (0, by_opencl.stdout, "") and "stem" in done.stdout


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) CPU\nflags\t: fpu avx2\n", "Intel(R) Xeon(R) CPU"),
        ("processor : 0\nhart : 1\nuarch\t\t: sifive,u74-mc\n", "sifive,u74-mc"),
        ("processor : 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
    ],
)
def test_the_processor_is_named_as_the_system_names_it(text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert processor_name(path) == name
    assert instruction_sets(path) == ({"fpu", "avx2"} if "avx2" in text else set())


def test_an_unnamed_processor_has_at_least_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processor_name(tmp_path / "absent") and not instruction_sets(tmp_path / "absent")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert processor_name(tmp_path / "absent") == "aarch64"
    monkeypatch.setattr("platform.machine", lambda: "")
    assert processor_name(tmp_path / "absent") == "an unknown processor"
