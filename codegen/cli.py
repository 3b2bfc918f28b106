"""The commands.  They contain no logic: each parses its arguments, calls the stage that does the work, and prints."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from codegen import __version__, build, interrupt, opening, options, tuning
from codegen.emit.output import EXAMPLE, MANIFEST
from codegen.emit.packaging import BOTH, OPENCL, PLAIN_C, has
from codegen.emit.single_file import write_file
from codegen.errors import CheckFailed, ClgenError, Mismatch, SpecError
from codegen.options import SHOW, SPEC, Pairs
from codegen.passes.explain import format_report
from codegen.plan.excess import describe_excess, parameters
from codegen.plan.target import DEFAULT_TARGET, TARGETS
from codegen.runtime import artefact as artefacts

if TYPE_CHECKING:
    from codegen.runtime.devices import DeviceInfo
    from codegen.runtime.native import NativeDevice

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE)


class _Commands(click.Group):
    """Ends a command that raised an error of clgen with the error's exit code and message, without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with interrupt.handled():
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _errors_told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_told():
            return super().invoke(ctx)


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        interrupt.end()
    except ClgenError as error:
        _end(f"clgen: error: {error}", error.exit_code)
    except MemoryError:
        _end_without_memory()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            _end_without_memory()
        if error.errno not in _UNWRITABLE:
            raise
        _give_up(sys.stdout)
        _give_up(sys.stderr)
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
            _end("", 0)
        where = error.filename or "standard output or a temporary file"
        _end(f"clgen: error: {where}: cannot write: {error.strerror}", 1)


def _give_up(stream: TextIO | None) -> None:
    """Discards a stream's unwritten output, which Python would otherwise try to write again at exit."""
    if stream is not None:  # None if it was closed before clgen started
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end_without_memory() -> NoReturn:
    """Ends the process at once: Python's own exit needs memory, and a driver's threads may wait for each other."""
    os.write(2, b"clgen: error: memory is used up; see ulimit -v\n")
    os._exit(4)


def _end(message: str, code: int) -> NoReturn:
    if message:
        with suppress(OSError):
            click.echo(message, err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="clgen")
def main() -> None:
    """Compiles trained convolutional networks to standalone OpenCL C, and proves the numbers.

    \b
    SPEC   a network in TOML (docs/spec.md)
    MODEL  a trained model: .onnx, .keras, .h5
    DIR    a folder that build wrote

    Exit codes: 0 fine, 1 check failed, 2 spec or usage, 3 parameters, 4 device or compiler, 5 wrong numbers.
    """


def _backend_of(devices: tuple[str, ...]) -> str | None:
    """The backend that --device asks for, None if it leaves that open."""
    from codegen.runtime.native import is_native

    native = {is_native(device) for device in devices}
    return BOTH if len(native) > 1 else PLAIN_C if True in native else OPENCL if native else None


def _devices(backend: str, device_type: str, texts: tuple[str, ...]) -> Sequence[DeviceInfo | NativeDevice]:
    """The devices with these names, or the default one, for a backend and the type of device that it is planned for."""
    from codegen.runtime.devices import select
    from codegen.runtime.native import is_native, native_devices

    native, others = [t for t in texts if is_native(t)], tuple(t for t in texts if not is_native(t))
    chosen: list[DeviceInfo | NativeDevice] = []
    if others or (has(backend, OPENCL) and not texts):
        chosen += select(others, default_type=device_type)
    if native or (has(backend, PLAIN_C) and not texts):
        chosen += native_devices(native)
    return chosen


_LIST_OPS = "Print the operators of ONNX and layers of Keras that are supported, with their limits."


def _list_ops(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from codegen.importers.listing import operators_table

        click.echo(operators_table(), nl=False)
        ctx.exit()


@main.command("import")
@click.argument("model", type=SPEC)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder. Default: here."
)
@click.option("--name", help="Name of spec and model. Default: that of MODEL.")
@options.shape_option
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="Layout of the application's arrays (Keras models only). Default: the model's.",
)
@click.option("--no-check", is_flag=True, help="Do not compare the import with the model's own operators.")
@options.force_option
@click.option("--list-ops", is_flag=True, is_eager=True, expose_value=False, callback=_list_ops, help=_LIST_OPS)
def import_command(
    model: Path, output: Path, name: str | None, shapes: Pairs, layout: str | None, no_check: bool, force: bool
) -> None:
    """Write a model file as a spec and its parameters.

    The files are NAME.toml and NAME.safetensors; prints the path of the first.  Before they are written, the spec is
    compared with the model's own operators on random inputs; exit 5 if they differ.
    """
    with _progress(f"importing {model}") as say:
        order = (layout or "").upper()
        spec, checked = build.imported(model, output, name, dict(shapes), order, say, not no_check, force)
    if checked is not None:
        click.echo(checked, err=True)
    click.echo(spec)


@main.command("build")
@click.argument("spec", metavar="SPEC|MODEL", type=SPEC)
@options.output_option
@options.packaging_options
@options.target_option
@options.tuned_option
@options.shape_option
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@options.force_option
def build_command(
    spec: Path,
    output: Path,
    backend: str | None,
    multiversion: bool,
    with_check: bool,
    target: str,
    tuned_for: str,
    shapes: Pairs,
    check: bool,
    force: bool,
) -> None:
    """Fold, plan and write the artefact of SPEC; prints its folder."""
    with _progress(f"building {spec}") as say:
        lowered = build.lower(
            spec,
            dict(shapes),
            say,
            tuned_for,
            check=True,
            backend=backend,
            multiversion=multiversion,
            with_check=with_check,
        )
        folder, changes = build.build(lowered, output, target, check, say, force)
    if lowered.imported is not None:
        click.echo(lowered.imported, err=True)
    for tensor in lowered.model.unused:
        click.echo(f"warning: {spec}: tensor {tensor!r} is used by no layer", err=True)
    if check and changes.any:
        names = ", ".join((*changes.written, *changes.removed))
        command = ["clgen", "build", str(spec), "-o", str(output), "--target", target]
        command += ["--backend", backend] if backend else []
        command += ["--multiversion"] if multiversion else []
        command += ["--with-check"] if with_check else []
        command += ["--tuned-for", tuned_for] if tuned_for else []
        command += [word for name, shape in shapes for word in ("--shape", f"{name}={','.join(map(str, shape))}")]
        command += ["--force"] if changes.foreign else []
        raise CheckFailed(f"{folder}: would change: {names}; run {shlex.join(command)}")
    if changes.kept:
        click.echo(f"note: {folder / EXAMPLE} was edited, and stays as it is", err=True)
    click.echo(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    memory = manifest["memory"]
    click.echo(
        f"{len(manifest['launches'])} launches of {len(manifest['kernels'])} kernels; "
        f"arena {memory['arena_bytes']} bytes at peak, {memory['without_reuse_bytes']} without reuse; "
        f"weights {memory['weights_bytes']} bytes; {len(changes.written)} files written",
        err=True,
    )
    if memory["weights_bytes"] > 4 * parameters(lowered.model.graph):
        _warn_of_excess(lowered, target, 1)


def _warn_of_excess(lowered: build.Lowered, target: str, most: int) -> None:
    """Warns of up to ``most`` layers that make the weights much larger than the network's parameters."""
    excess = describe_excess(build.planned(lowered, target), lowered.model.graph, most)
    if excess:
        click.echo(f"warning: {excess}", err=True)


@main.command("list")
@click.argument("spec", metavar="SPEC|MODEL", type=SPEC)
@options.output_option
@options.packaging_options
@options.target_option
@options.tuned_option
@options.shape_option
def list_command(
    spec: Path,
    output: Path,
    backend: str | None,
    multiversion: bool,
    with_check: bool,
    target: str,
    tuned_for: str,
    shapes: Pairs,
) -> None:
    """Print the paths that build writes, one a line."""
    lowered = build.lower(
        spec, dict(shapes), tuned_for=tuned_for, backend=backend, multiversion=multiversion, with_check=with_check
    )
    for path in build.outputs(lowered, output, target):
        click.echo(path)


@main.command("tune")
@click.argument("spec", metavar="SPEC|MODEL", type=SPEC)
@options.device_option
@options.target_option
@options.shape_option
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="About how long to measure on a device, compiling included.",
)
def tune_command(spec: Path, devices: tuple[str, ...], target: str, shapes: Pairs, budget: float) -> None:
    """Measure which schedules are fastest on devices.

    Writes them to SPEC's .tune.toml, which build reads, and prints its path.
    """
    with _progress(f"tuning {spec}") as say:
        lowered = build.lower(spec, dict(shapes), say, backend=_backend_of(devices))
    for device in _devices(lowered.packaging.backend, TARGETS[target].device_type, devices):
        with interrupt.scratch() as scratch, _progress(f"tuning {spec}") as say:
            file, measured = tuning.tune_schedules(lowered, target, device, budget, scratch, say)
        click.echo(f"{device.name}: {measured}", err=True)
    click.echo(file)


@main.command("explain")
@click.argument("spec", metavar="SPEC|MODEL", type=SPEC)
@options.shape_option
@options.json_option
def explain_command(spec: Path, shapes: Pairs, json_file: Path | None) -> None:
    """Say for every BatchNorm where it was folded, or why not."""
    lowered = build.lower(spec, dict(shapes))
    report = lowered.report
    _warn_of_excess(lowered, DEFAULT_TARGET, 10)
    if _json_only(json_file):
        click.echo(json.dumps(report.as_json(), indent=1))
        return
    click.echo(format_report(report))
    _write_json(json_file, report.as_json())


@main.command("verify")
@click.argument("path", metavar="SPEC|MODEL|DIR", type=SPEC)
@options.made_from_option
@click.option("--inputs", type=SPEC, help="Your own samples: an .npz with the inputs by name, one or several stacked.")
@options.device_option
@options.target_or_own_option
@options.tuned_option
@options.shape_option
@options.json_option
def verify_command(
    path: Path,
    spec: Path | None,
    inputs: Path | None,
    devices: tuple[str, ...],
    target: str | None,
    tuned_for: str,
    shapes: Pairs,
    json_file: Path | None,
) -> None:
    """Check an artefact on devices against the float64 reference.

    Each layer is checked by itself, then the whole network and its C host; exit 5 if anything is wrong.
    """
    from codegen.runtime.samples import read_samples
    from codegen.runtime.verify import format_verification, verify

    with interrupt.scratch() as scratch, _progress(f"verifying {path}") as say:
        backend = _backend_of(devices)
        artefact, lowered = opening.verifiable(path, spec, target, scratch, dict(shapes), tuned_for, say, backend)
        samples = read_samples(artefact, inputs) if inputs else ()
        chosen = _devices(artefact.backend, artefact.device_type, devices)
        result = verify(artefact, lowered.model.graph, lowered.launches, chosen, samples)
    checked = lowered.imported
    report = {**result.as_json(), **({} if checked is None else {"import": checked.as_json()})}
    if _json_only(json_file):
        click.echo(json.dumps(report, indent=1))
    else:
        click.echo("\n".join([*([] if checked is None else [str(checked)]), format_verification(result)]))
        _write_json(json_file, report)
    if not result.passed:
        raise Mismatch(f"{artefact.name}: the generated code does not compute the network; see WRONG above")


@main.command("bench")
@click.argument("path", metavar="SPEC|MODEL|DIR", type=SPEC)
@options.made_from_option
@options.device_option
@options.target_or_own_option
@options.shape_option
@options.json_option
@click.option("--trace", "trace_file", type=SHOW, metavar="F", help="Write one inference as a Chrome trace to F.")
@click.option("--picture", "picture_file", type=SHOW, metavar="F", help="Write the nodes' times as an SVG to F.")
def bench_command(
    path: Path,
    spec: Path | None,
    devices: tuple[str, ...],
    target: str | None,
    shapes: Pairs,
    json_file: Path | None,
    trace_file: Path | None,
    picture_file: Path | None,
) -> None:
    """Time an artefact on devices, as a whole and launch by launch.

    Each time is compared with the device's measured limits.
    """
    from codegen.runtime.bench import bench, format_bench
    from codegen.runtime.picture import picture
    from codegen.runtime.trace import trace

    with interrupt.scratch() as scratch, _progress(f"measuring {path}") as say:
        artefact, lowered = opening.measurable(path, spec, target, scratch, dict(shapes), _backend_of(devices))
        chosen = _devices(artefact.backend, artefact.device_type, devices)
        result = bench(artefact, lowered.launches if lowered else None, chosen, say)
    if lowered is None:
        click.echo(f"warning: {path}: its spec was not found; give it with --spec for GF/s", err=True)
    if _json_only(json_file):
        click.echo(json.dumps(result.as_json(), indent=1))
    else:
        click.echo(format_bench(result))
        _write_json(json_file, result.as_json())
    _write_json(trace_file, trace(result))
    if picture_file is not None:
        write_file(picture_file, picture(result).encode())


@main.command("isa")
@click.argument("path", metavar="SPEC|MODEL|DIR", type=SPEC)
@options.made_from_option
@click.option(
    "--device",
    "device",
    default="0x9a49",
    show_default=True,
    metavar="D",
    help="An Intel GPU as ocloc calls it: a device's id, or a name such as skl or dg2-g10.",
)
@options.target_or_own_option
@options.shape_option
@options.json_option
def isa_command(
    path: Path, spec: Path | None, device: str, target: str | None, shapes: Pairs, json_file: Path | None
) -> None:
    """Say what an Intel GPU would issue in each kernel.

    Also estimates each launch.  No GPU is needed: kernels are compiled by Intel's offline compiler, ocloc.  A SPEC is
    built for target gpu.
    """
    from codegen.runtime.gpu import format_isa, read_isa

    with interrupt.scratch() as scratch, _progress(f"compiling {path}") as say:
        wanted = target if path.is_dir() else target or "gpu"
        artefact, lowered = opening.measurable(path, spec, wanted, scratch, dict(shapes), OPENCL)
        if lowered is None:
            raise SpecError(
                f"{path}: its spec is not found around it, and has the operators' sizes; give it with --spec"
            )
        say(f"for {device}")
        folder = scratch / "isa"
        folder.mkdir()
        isa = read_isa(artefact, lowered.launches, device, folder)
    if _json_only(json_file):
        click.echo(json.dumps(isa.as_json(), indent=1))
        return
    click.echo(format_isa(isa))
    _write_json(json_file, isa.as_json())


@main.command("run")
@click.argument("folder", metavar="DIR", type=SPEC)
@click.option("--inputs", type=SPEC, required=True, help="An .npz with the inputs by the model's own names.")
@click.option("--outputs", type=SPEC, required=True, help="The .npz to write, with the outputs by the model's names.")
@options.device_option
def run_command(folder: Path, inputs: Path, outputs: Path, devices: tuple[str, ...]) -> None:
    """Run an artefact on arrays from a file."""
    from codegen.runtime.arrays import fits_member, npz
    from codegen.runtime.execute import Session
    from codegen.runtime.native import NativeDevice, NativeHost, compile_native
    from codegen.runtime.samples import read_sample

    artefact = artefacts.read_unchanged(folder)
    given = read_sample(artefact, inputs)
    device = _devices(artefact.backend, artefact.device_type, devices)[0]
    if isinstance(device, NativeDevice):
        with interrupt.scratch() as scratch:
            library = compile_native(artefact, device, scratch / f"lib{artefact.name}.so")
            with NativeHost(artefact, library, device) as host:
                results = host.run(given)
    else:
        results = Session(artefact, device).run(given)
    # If an archive cannot hold the models' names, the names in C are used.
    key = "original" if all(fits_member(o["original"]) for o in artefact.outputs) else "name"
    write_file(outputs, npz({o[key]: results[o["name"]] for o in artefact.outputs}))
    click.echo(outputs)


@main.command("devices")
@click.option("--env", "environment", is_flag=True, help="Print what a C program needs in its environment, for eval.")
@options.json_option
def devices_command(environment: bool, json_file: Path | None) -> None:
    """Show the OpenCL devices of this machine, best first.

    Each is tried with a small kernel, unless an earlier trial is on record; those that fail come last.
    """
    from codegen.runtime.devices import environment_exports
    from codegen.runtime.inventory import as_json, format_table, tried_devices

    if environment:
        if json_file is not None:
            raise click.UsageError("--env and --json exclude each other")
        click.echo("\n".join(environment_exports()))
        return
    tried = tried_devices()
    if _json_only(json_file):
        click.echo(json.dumps(as_json(tried), indent=1))
        return
    click.echo(format_table(tried))
    _write_json(json_file, as_json(tried))


@main.command("doctor")
def doctor_command() -> None:
    """Say what OpenCL lacks here, and the command that installs it."""
    from codegen.runtime.doctor import diagnose, format_report, worst

    findings = diagnose()
    click.echo(format_report(findings))
    if worst(findings) == "problem":
        sys.exit(4)


@contextmanager
def _progress(what: str) -> Iterator[build.Progress]:
    """Shows a line of progress on a terminal until the end; yields a function that sets the current step."""
    shown = sys.stderr is not None and sys.stderr.isatty()

    def say(step: str) -> None:
        if shown:
            line = f"{what}: {step} ..." if step else f"{what} ..."
            click.echo(f"\r\x1b[K{_last_columns(line)}", err=True, nl=False)

    say("")
    try:
        yield say
    finally:
        if shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _last_columns(line: str) -> str:
    """The end of the line that fits into a row of the terminal: of a wrapped line only the last row could be erased."""
    columns = os.get_terminal_size(sys.stderr.fileno()).columns or len(line) + 1  # 0: it does not know
    return line if len(line) < columns else f"...{line[len(line) - max(columns - 4, 0) :]}"


def _json_only(path: Path | None) -> bool:
    return path is not None and str(path) == "-"


def _write_json(path: Path | None, report: Any) -> None:
    if path is not None:
        write_file(path, (json.dumps(report, indent=1) + "\n").encode())
