"""clgen bench: what is counted, what is measured, and what is written of it.  Nothing is said of how long it takes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from codegen.errors import Mismatch
from codegen.graph.ops import Activation, Conv, ConvTranspose, Dense, Fused, MatMul, Op, Pool, Shape, Stage
from codegen.runtime import bench as benches
from codegen.runtime.artefact import Artefact
from codegen.runtime.bench import Bench, bench, format_bench
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.peak import Peak
from codegen.runtime.picture import BARS, picture
from codegen.runtime.trace import trace
from tests.support.commands import clgen, clgen_here, tiny_spec
from tests.support.networks import Net, lower, weights_in

ODD = 'a<b&"c"'
SVG = "{http://www.w3.org/2000/svg}"


def conv(*weight: int, stride: int = 1, pad: int = 0, groups: int = 1) -> Conv:
    return Conv(np.ones(weight), np.zeros(weight[0]), (stride,) * 2, (1, 1), ((pad, pad),) * 2, groups)


@pytest.mark.parametrize(
    ("op", "inputs", "count"),
    [
        (conv(6, 4, 3, 3, pad=1), [(1, 4, 9, 9)], 6 * 81 * 4 * 9),
        (conv(6, 2, 3, 3, stride=2, pad=1, groups=2), [(2, 4, 9, 9)], 2 * 6 * 25 * 2 * 9),
        (conv(8, 1, 5, 1, groups=8), [(1, 8, 9, 7)], 8 * 5 * 7 * 5),
        (
            ConvTranspose(np.ones((4, 3, 3, 3)), np.zeros(6), (2, 2), (1, 1), ((1, 1), (1, 1)), (0, 0), 2),
            [(1, 4, 5, 6)],
            4 * 5 * 6 * 3 * 9,
        ),
        (Dense(np.ones((7, 12)), np.zeros(7)), [(2, 3, 4)], 2 * 7 * 12),
        (MatMul(), [(2, 3, 4), (1, 4, 5)], 2 * 3 * 5 * 4),
        (Pool("max", (2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)), False, False, 2.0), [(1, 3, 8, 8)], 0),
        (
            Fused(conv(6, 4, 1, 1), 1, (Stage(Activation.of("relu")),), (Stage(Activation.of("relu")),)),
            [(1, 4, 5, 5)],
            6 * 25 * 4,
        ),
    ],
    ids=["conv", "grouped", "depthwise", "transposed", "dense", "matmul", "pool", "fused"],
)
def test_multiply_adds(op: Op, inputs: list[Shape], count: int) -> None:
    assert op.multiply_adds(*inputs) == count


WIDE = 64 * 12 * 12 * 16 * 9
COUNTS = {"x/copy": 0, ODD: WIDE, "depthwise": 64 * 36 * 9, "pool": 0, "scores": 10 * 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Net]:
    """A network with its weights in one array, and one of its nodes named as XML would not have it."""
    net = Net((1, 16, 12, 12), name="net")
    wide = net.conv("x", 64, 3, pads=1, name=ODD)
    depthwise = net.conv(wide, 64, 3, stride=2, pads=1, groups=64, name="depthwise")
    net.dense(net.global_pool(depthwise, name="pool"), 10, name="scores")
    with weights_in("blob"):
        return lower(net.graph()).build(tmp_path_factory.mktemp("bench")), net


@pytest.fixture(scope="module")
def measured(made: tuple[Artefact, Net], find_device: Callable[[str], DeviceInfo]) -> Bench:
    artefact, net = made
    devices = [find_device("intel"), find_device("pocl")]
    return bench(artefact, lower(net.graph()).launches, devices, lambda step: None, seconds=0.02)


def test_every_node_has_a_row_of_what_it_does(made: tuple[Artefact, Net], measured: Bench) -> None:
    artefact, _ = made
    assert len(measured.devices) == 2
    for device in measured.devices:
        assert [n.node for n in device.nodes] == list(dict.fromkeys(launch["node"] for launch in artefact.launches))
        assert {n.node: n.multiply_adds for n in device.nodes} == COUNTS
        launches = [launch for node in device.nodes for launch in node.launches]
        assert [launch.kernel for launch in launches] == [launch["kernel"] for launch in artefact.launches]
        assert all(launch.microseconds > 0 for launch in launches)
        assert sum(n.share for n in device.nodes) == pytest.approx(1)
        assert sum(n.microseconds for n in device.nodes) == pytest.approx(device.launches_us)
        assert device.end_to_end_us > 0


def test_what_holds_a_node_up_follows_from_the_peak(measured: Bench) -> None:
    for device in measured.devices:
        peak = device.peak
        assert min(peak.gflops, peak.gbytes_per_s, peak.launch_us) > 0
        for node in device.nodes:
            assert node.multiply_adds is not None and node.gflops is not None and node.of_peak is not None
            arithmetic, memory = node.gflops / peak.gflops, node.gbytes_per_s / peak.gbytes_per_s
            assert node.gflops == pytest.approx(2e-3 * node.multiply_adds / node.microseconds)
            assert node.of_peak == pytest.approx(max(arithmetic, memory))
            if node.microseconds < 3 * len(node.launches) * peak.launch_us:
                assert node.bound == "launch"
            else:
                assert node.bound == ("arithmetic" if arithmetic > memory else "memory")


@pytest.mark.parametrize(
    ("peak", "bounds"),
    [
        (Peak(1e-6, 1e6, 1e-9), ["memory", "arithmetic", "arithmetic", "memory", "arithmetic"]),
        (Peak(1e6, 1e-6, 1e-9), ["memory"] * 5),
        (Peak(1e-6, 1e6, 1e9), ["launch"] * 5),
    ],
    ids=["arithmetic", "memory", "launches"],
)
def test_bounds_of_devices_that_are_slow_in_one_way(
    made: tuple[Artefact, Net],
    find_device: Callable[[str], DeviceInfo],
    monkeypatch: pytest.MonkeyPatch,
    peak: Peak,
    bounds: list[str],
) -> None:
    artefact, net = made
    monkeypatch.setattr(benches, "measure_peak", lambda device, seconds: peak)
    result = bench(artefact, lower(net.graph()).launches, [find_device("intel")], lambda step: None, seconds=0.02)
    assert [n.bound for n in result.devices[0].nodes] == bounds


def test_bytes_are_inputs_output_and_weights(measured: Bench) -> None:
    copy, wide, depthwise, pool, scores = measured.devices[0].nodes
    assert copy.bytes == 2 * 4 * 16 * 144
    image, weights = 4 * 64 * 36, 4 * (9 + 1) * 64
    # Filled up to the next aligned place.
    assert 0 <= depthwise.bytes - (4 * 64 * 144 + image + weights) < 256
    assert pool.bytes == image + 4 * 64
    assert 0 <= scores.bytes - 4 * (64 + 10 + 64 * 10 + 10) < 4 * 16 * 64
    assert wide.bytes == sum(launch.bytes for launch in wide.launches) > 4 * (16 * 144 + 64 * 144 + 64 * 16 * 9)


def test_several_launches_of_a_node_are_one_row(find_device: Callable[[str], DeviceInfo], tmp_path: Path) -> None:
    net = Net((1, 128, 28, 28))
    net.conv("x", 128, 3, pads=1, name="wide")
    stages = lower(net.graph())
    artefact = stages.build(tmp_path)
    (device,) = bench(artefact, stages.launches, [find_device("intel")], lambda step: None, seconds=0.02).devices
    (node,) = (n for n in device.nodes if n.node == "wide")
    writes = [launch["writes"] for launch in artefact.launches if launch["node"] == "wide"]
    assert len(writes) > 1, "computed otherwise by now: take a layer that takes several launches"
    assert [launch.writes for launch in node.launches] == writes
    assert node.multiply_adds == 128 * 28 * 28 * 128 * 9
    assert node.microseconds == pytest.approx(sum(launch.microseconds for launch in node.launches))
    # Transformed weights are larger than those of the network.
    assert node.bytes > 4 * (2 * 128 * 28 * 28 + 128 * 128 * 16)
    assert f" and {len(writes) - 1} more" in format_bench(Bench("net", "cpu", (device,)))


def test_json_holds_everything(measured: Bench) -> None:
    read = json.loads(json.dumps(measured.as_json(), allow_nan=False))
    assert read["name"] == "net" and read["target"] == "cpu"
    first = read["devices"][0]
    assert set(first["peak"]) == {"gflops", "gbytes_per_s", "launch_us"}
    assert [n["node"] for n in first["nodes"]] == list(COUNTS) and first["nodes"][1]["launches"][0]["kernel"]


def test_table_has_a_line_for_each_node(measured: Bench) -> None:
    text = format_bench(measured)
    first, heading, *rows = text.splitlines()
    assert first.startswith("net on ") and heading.split()[:4] == ["node", "kernel", "us", "share"]
    assert [row.split()[0] for row in rows[:6]] == [*COUNTS, "total"]
    assert f"{1e-6 * WIDE:.3f}" in rows[1]
    assert text.count("end to end: ") == len(measured.devices)


def test_trace_is_in_order_a_row_for_each_queue(measured: Bench) -> None:
    events = json.loads(json.dumps(trace(measured), allow_nan=False))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(names) == {0, 1} and names[0] != names[1]
    for row, device in enumerate(measured.devices):
        launches = [e for e in events if e["ph"] == "X" and e["tid"] == row]
        expected = [n.node for n in device.nodes for _ in n.launches]
        assert [e["name"] for e in launches] == expected
        assert launches[0]["ts"] == 0 and all(e["dur"] > 0 for e in launches)
        for before, after in itertools.pairwise(launches):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-3


def test_picture_is_xml_with_the_names_in_it(measured: Bench) -> None:
    root = ElementTree.fromstring(picture(measured))
    assert root.tag == f"{SVG}svg"
    words = [element.text for element in root.iter(f"{SVG}text")]
    for node in measured.devices[0].nodes:
        assert words.count(node.node) == 2
    assert ODD in words
    assert len(list(root.iter(f"{SVG}g"))) == 2 * len(measured.devices[0].nodes)


def test_picture_of_names_that_no_xml_can_hold(measured: Bench) -> None:
    device = measured.devices[0]
    worst = replace(device.nodes[0], node="bell\x07 " + "long" * 40)
    changed = Bench("net", "cpu", (replace(device, nodes=(worst, *device.nodes[1:])),))
    words = [element.text or "" for element in ElementTree.fromstring(picture(changed)).iter(f"{SVG}text")]
    assert any(word.startswith("bell\ufffd long") and word.endswith("\u2026") for word in words)


def test_bars_are_as_long_as_the_times(measured: Bench) -> None:
    device = measured.devices[0]
    root = ElementTree.fromstring(picture(Bench("net", "cpu", (device,))))
    bars = [float(r.get("width", "")) for group in root.iter(f"{SVG}g") for r in group.iter(f"{SVG}rect")]
    longest = max(n.microseconds for n in device.nodes)
    assert bars == pytest.approx([BARS * n.microseconds / longest for n in device.nodes], abs=0.6)


def test_without_its_network_an_artefact_is_timed_only(
    made: tuple[Artefact, Net], find_device: Callable[[str], DeviceInfo]
) -> None:
    artefact, _ = made
    result = bench(artefact, None, [find_device("intel")], lambda step: None, seconds=0.02)
    (device,) = result.devices
    assert len(device.nodes) == len(COUNTS)
    for node in device.nodes:
        assert node.microseconds > 0 and node.gbytes_per_s > 0 and node.bytes > 0
        assert node.multiply_adds is node.gflops is node.of_peak is None
        assert node.bound in (None, "launch")
    assert device.nodes[0].title and format_bench(result)
    ElementTree.fromstring(picture(result))
    json.dumps(trace(result))


def test_another_network_is_a_mismatch(made: tuple[Artefact, Net]) -> None:
    other = Net((1, 3))
    other.dense("x", 2)
    with pytest.raises(Mismatch, match="is not in the spec; build again"):
        bench(made[0], lower(other.graph()).launches, [], lambda step: None)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return tiny_spec(tmp_path)


@pytest.mark.usefixtures("has_device")
def test_bench_writes_what_it_is_asked_for(spec: Path) -> None:
    done = clgen("bench", spec.name, "--json", "-", "--trace", "t.json", "--picture", "p.svg", cwd=spec.parent)
    assert (done.returncode, done.stderr) == (0, "")
    (node,) = json.loads(done.stdout)["devices"][0]["nodes"]
    assert node["node"] == "stem" and node["multiply_adds"] == 5 * 6 * 7 * 27
    # The constants are tables in the kernel's source.
    assert node["bytes"] >= 4 * (3 * 42 + 5 * 42 + 5 * 27 + 5)
    assert any(e["name"] == "stem" for e in json.loads((spec.parent / "t.json").read_text())["traceEvents"])
    ElementTree.parse(spec.parent / "p.svg")


@pytest.mark.usefixtures("has_device")
def test_bench_of_a_folder_with_and_without_its_spec(spec: Path) -> None:
    folder = spec.parent
    clgen("build", spec.name, cwd=folder)
    done = clgen("bench", "generated/tiny", "--json", "r.json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("tiny on ")
    assert json.loads((folder / "r.json").read_text())["devices"][0]["nodes"][0]["gflops"] > 0
    (folder / "elsewhere").mkdir()
    spec.rename(folder / "elsewhere" / "moved.toml")
    done = clgen("bench", "generated/tiny", "--json", "r.json", cwd=folder)
    assert done.returncode == 0 and "its spec was not found; give it with --spec" in done.stderr
    assert json.loads((folder / "r.json").read_text())["devices"][0]["nodes"][0]["gflops"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bench", "tiny.toml", "--device", "no such device"], 4, "no such device"),
        (["bench", "absent.toml"], 2, "absent.toml"),
        (["bench", "absent"], 2, "absent"),
        (["bench", "empty"], 2, "empty"),
        (["bench"], 2, "SPEC"),
        (["bench", "tiny.toml", "--target", "abacus"], 2, "abacus"),
    ],
)
def test_exit_codes(spec: Path, arguments: list[str], code: int, said: str) -> None:
    (spec.parent / "empty").mkdir()
    done = clgen_here(*arguments, cwd=spec.parent)
    assert done.returncode == code and said in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.usefixtures("has_device")
def test_no_compiler_ends_with_4(spec: Path) -> None:
    program = shutil.which("clgen")
    assert program is not None
    environment = {**os.environ, "PATH": ""}
    environment.pop("CC", None)
    done = subprocess.run(
        [program, "bench", spec.name], capture_output=True, text=True, check=False, cwd=spec.parent, env=environment
    )
    assert done.returncode == 4 and "no C compiler found" in done.stderr
