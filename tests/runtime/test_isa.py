"""clgen isa: Intel's graphics compiler's listings of the kernels as they are read, and the estimates from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.errors import DeviceError
from codegen.runtime.gpu import GPUS, Gpu, read_isa
from codegen.runtime.isa import read_kernels
from codegen.runtime.ocloc import compile_offline
from tests.support import artefacts
from tests.support.commands import clgen, tiny_spec
from tests.support.generated_c import Tool
from tests.support.needs import ROOT

LISTING = """\
//.kernel twice
//.platform TGLLP
//.thread_config numGRF=128, numAcc=2, numSWSB=16
//.instCount 12
//.spill size {spilled}

// .declare r0
_main:
(W)     mov (8|M0)               r2.0<1>:ud    r0.0<1;1,0>:ud                   {{Compacted}} // $1
_0_001:
        mad (8|M0)               r30.0<1>:d    r30.0<8;1>:d      r5.0<8;1>:d       -6:w  // $2
_0_002:
        send.dc1 (16|M0)         r40  r8  null  0x0  0x044409FF  {{$6}} // wr:2+0, rd:4; a64 dword gathering read // $3
        sync.nop                             null                             {{Compacted,$6.dst}} // $4
        mad (8|M0)               r60.0<1>:f    r60.0<8;1>:f      r40.0<8;1>:f      r7.0<0;1>:f       {{Compacted}} // $4
        mad (16|M0)              r62.0<1>:f    r62.0<8;1>:f      r41.0<8;1>:f      r7.1<0;1>:f      // $5
        mad (8|M0)               r31.0<1>:d    r31.0<8;1>:d      r5.0<8;1>:d       4:w  // $6
        mov (16|M0)              r70.0<1>:hf   r71.0<1>:f       // $7
(W)     cmp (1|M0)   (lt)f0.0   null<1>:d     r3.1<0;1,0>:d     64:w             {{I@1}} // $8
(W&f0.0) jmpi                                _0_002                                 // $9
(W&f0.1) jmpi                                _0_001                                 // $10
        sends.dc1 (8|M0)         null  r8  r60  0x40  0x020F0000  {{@2,$0}} // wr:1h+1, rd:0; a64 write // $11
"""
"""Two loops, one in the other.  The inner one has eight instructions, of which two are multiply-adds of floats."""


def test_the_hottest_loop_is_the_innermost() -> None:
    kernel = read_kernels([LISTING.format(spilled=64)])["twice"]
    assert (kernel.instructions, kernel.registers, kernel.spilled_bytes) == (12, 128, 64)
    loop = kernel.loop
    assert loop is not None
    # The synchronisation is no instruction of the execution unit; jumps and the comparison take a clock.
    assert (loop.instructions, loop.multiply_adds, loop.sends, loop.moves) == (7 + 1 - 1, 2, 1, 1)
    assert loop.read_bytes == 4 * 32
    clocks = 1 + 1 + 2 + 1 + 1 + 1 + 1  # send, mad of 8, mad of 16, integers, halves, comparison, jump
    assert loop.clocks == clocks
    assert loop.share == pytest.approx(2 / 7) and loop.weighted == pytest.approx(3 / clocks)
    assert loop.bytes_per_clock == pytest.approx(128 / clocks)


def test_of_several_attempts_the_one_that_spills_least_counts() -> None:
    attempts = [LISTING.format(spilled=spilled) for spilled in (640, 64, 128)]
    assert read_kernels(attempts)["twice"].spilled_bytes == 64


def test_a_kernel_without_loops_has_no_loop() -> None:
    text = LISTING.format(spilled=0).replace("jmpi", "mov (1|M0) ")
    assert read_kernels([text])["twice"].loop is None


MULTIPLY = """
__attribute__((intel_reqd_sub_group_size(16), reqd_work_group_size(16, 1, 1)))
kernel void multiply(global const float *x, global float *y, int count)
{
    float sum = 0.0f;
    for (int i = 0; i < count; ++i)
        sum = fma(x[i * 16 + get_global_id(0)], 0.5f, sum);
    y[get_global_id(0)] = sum;
}
"""


@pytest.mark.parametrize("device", ["0x9a49", "skl", "dg2-g10"])
def test_a_real_kernel(device: str, tool: Tool, tmp_path: Path) -> None:
    tool("ocloc")
    offline = compile_offline(MULTIPLY, device, ["-cl-std=CL1.2"], tmp_path)
    kernel = read_kernels(offline.assembly)["multiply"]
    assert offline.threads["multiply"].lanes == 16 and offline.threads["multiply"].scratch_bytes == 0
    assert kernel.loop is not None and kernel.spilled_bytes == 0
    # One float for each lane and multiply-add, however often the loop is unrolled.
    assert kernel.loop.read_bytes == 16 * 4 * kernel.loop.multiply_adds
    assert kernel.loop.share < kernel.loop.weighted < 1


def test_refusals_of_the_compiler_are_told(tool: Tool, tmp_path: Path) -> None:
    tool("ocloc")
    for device, source, said in (("nonesuch", MULTIPLY, "nonesuch"), ("0x9a49", "kernel void broken( {", "error")):
        folder = tmp_path / device
        folder.mkdir()
        with pytest.raises(DeviceError, match=said):
            compile_offline(source, device, [], folder)


def test_the_report_of_digits(tool: Tool, tmp_path: Path) -> None:
    tool("ocloc")
    done = clgen("isa", ROOT / "specs" / "digits.toml", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    launches = {launch["node"]: launch for launch in report["launches"]}
    kernels = {kernel["name"]: kernel for kernel in report["kernels"]}
    assert {launch["kernel"] for launch in launches.values()} == kernels.keys() == set(report["threads"])
    stem = launches["stem"]
    assert stem["multiply_adds"] == 9 * 16 * 8 * 8
    # The estimate, by hand: 96 units with 8 lanes each at 1.3 GHz, one of 8 lanes of a thread in use.
    rate = 96 * 8 * 1.3e3 * kernels[stem["kernel"]]["loop"]["weighted"] * stem["live_lanes"]
    assert stem["live_lanes"] == 1 / report["threads"][stem["kernel"]]["lanes"]
    assert stem["microseconds"] == pytest.approx(stem["multiply_adds"] / rate / stem["occupancy"])
    pool = launches["mix1.pool"]
    assert pool["bound"] == "memory" and pool["bytes"] == 2 * 4 * 16 * 8 * 8
    assert pool["microseconds"] == pytest.approx(pool["bytes"] / 68.3e3 / pool["occupancy"])
    assert report["microseconds"] == pytest.approx(sum(launch["microseconds"] for launch in launches.values()))
    count = sum(launch["multiply_adds"] for launch in launches.values())
    assert report["of_peak"] == pytest.approx(2 * count / report["microseconds"] / (2 * 8 * 96 * 1.3e3))


def test_the_command_on_a_folder_and_another_device(tool: Tool, tmp_path: Path) -> None:
    tool("ocloc")
    tiny_spec(tmp_path)
    assert clgen("build", "tiny.toml", cwd=tmp_path).returncode == 0
    known = clgen("isa", "generated/tiny", "--json", "r.json", cwd=tmp_path)
    assert known.returncode == 0 and "Iris Xe" in known.stdout and "by this estimate" in known.stdout
    assert json.loads((tmp_path / "r.json").read_text())["gpu"]["units"] == 96
    other = clgen("isa", "tiny.toml", "--device", "adl-s", cwd=tmp_path)
    assert other.returncode == 0 and "no estimate: the clock and memory of adl-s are not known" in other.stdout
    unknown = clgen("isa", "tiny.toml", "--device", "nonesuch", cwd=tmp_path)
    assert unknown.returncode == 4 and "does not compile the kernels for nonesuch" in unknown.stderr
    (tmp_path / "tiny.toml").unlink()
    lost = clgen("isa", "generated/tiny", cwd=tmp_path)
    assert lost.returncode == 2 and "--spec" in lost.stderr


def test_the_page_has_the_facts_of_the_code() -> None:
    text = (ROOT / "docs/isa.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (.*?) \| (\d+) \| (\d) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    told = {name: Gpu(title, int(eus), int(each), float(ghz), float(gb)) for name, title, eus, each, ghz, gb in rows}
    assert told == GPUS


def test_without_the_compiler_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_spec(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, ["isa", str(tmp_path / "tiny.toml")])
    assert done.exit_code == 4 and "ocloc, Intel's offline compiler, is missing; install it" in done.output


def test_winograds_algorithm_needs_fewer_multiply_adds(tool: Tool, tmp_path: Path) -> None:
    tool("ocloc")
    built = artefacts.build("winograd")
    artefact = built.read(tmp_path)
    folder = tmp_path / "isa"
    folder.mkdir()
    isa = read_isa(artefact, built.launches, "0x9a49", folder)
    tiles = {launch["node"]: launch["winograd"] for launch in artefact.launches if "winograd" in launch}
    assert {2, 4} <= set(tiles.values())
    for name, tile in tiles.items():
        (x,) = built.launches.by_name[name].inputs[:1]
        (n, channels, *_), (_, filters, rows, columns) = built.launches.shapes[x], built.launches.shapes[name]
        whole = n * channels * filters * rows * columns * 9
        (counted,) = {launch.multiply_adds for launch in isa.launches if launch.node == name} - {0}
        assert counted == round(whole * {2: 16 / 36, 4: 36 / 144}[tile])
