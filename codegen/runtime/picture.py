"""A bench as a picture: a bar for each node, as long as its time, coloured by its bound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

from codegen.runtime.bench import Bench, DeviceBench, NodeTime

COLOURS = {"arithmetic": "#3f6fb0", "memory": "#d9822b", "launch": "#8c8c8c", "unknown": "#5d9e74"}
BAR, STEP, SIZE = 14, 20, 12  # heights of a bar, a row and a letter
LETTER = 7.3  # width of a letter in a monospaced font
BARS = 560  # width of the longest bar
EDGE = 16
LONGEST = 48  # longest shown name, in letters
NUMBERS = 27  # letters after a bar


def picture(result: Bench) -> str:
    """An SVG, with devices below each other."""
    names = [n.node for d in result.devices for n in d.nodes]
    left = EDGE + LETTER * min(LONGEST, max(map(len, names), default=0)) + 8
    body: list[str] = []
    y = EDGE
    for device in result.devices:
        body += _device(result.name, device, left, y)
        y += STEP * (len(device.nodes) + 4)
    width = max(
        left + BARS + LETTER * NUMBERS, EDGE + LETTER * max(len(_heading(result.name, d)) for d in result.devices)
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{y}" viewBox="0 0 {width:.0f} {y}" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{SIZE}">'
    )
    background = f'<rect width="{width:.0f}" height="{y}" fill="#ffffff"/>'
    return "\n".join((head, background, *body, "</svg>")) + "\n"


def _heading(name: str, device: DeviceBench) -> str:
    platform = device.platform.split("  ")[0]
    whole = device.threaded
    threads = "" if device.threads is None else " on 1 thread"
    return (
        f"{name} on {device.device}, {platform}: {device.launches_us:.1f} us in launches, "
        f"{device.end_to_end_us:.1f} us end to end{threads}"
        + (f", {whole.microseconds:.1f} us on {whole.threads}" if whole else "")
    )


def _device(name: str, device: DeviceBench, left: float, y: int) -> Iterator[str]:
    yield _words(EDGE, y + SIZE, _heading(name, device))
    x = float(EDGE)
    bounds = [n.bound or "unknown" for n in device.nodes]
    for bound, colour in COLOURS.items():
        if bound in bounds:
            share = sum(n.share for n in device.nodes if (n.bound or "unknown") == bound)
            label = f"{bound} {100 * share:.0f} %"
            yield f'<rect x="{x:.1f}" y="{y + STEP + 1}" width="{BAR}" height="{BAR}" fill="{colour}"/>'
            yield _words(x + BAR + 6, y + STEP + SIZE, label)
            x += BAR + 6 + LETTER * (len(label) + 3)
    longest = max((n.microseconds for n in device.nodes), default=1.0)
    for row, node in enumerate(device.nodes):
        yield from _bar(node, left, y + STEP * (row + 2) + STEP // 2, BARS * node.microseconds / longest)


def _bar(node: NodeTime, left: float, y: int, width: float) -> Iterator[str]:
    label = node.node if len(node.node) <= LONGEST else f"{node.node[: LONGEST - 1]}\u2026"
    kernels = ", ".join(launch.kernel for launch in node.launches)
    yield f"<g><title>{_text(f'{node.node}: {node.title}; {kernels}')}</title>"
    yield _words(left - 8, y + SIZE, label, "end")
    colour = COLOURS[node.bound or "unknown"]
    yield f'<rect x="{left:.1f}" y="{y + 1}" width="{max(width, 0.5):.1f}" height="{BAR}" fill="{colour}"/>'
    gflops = f", {node.gflops:.1f} GF/s" if node.gflops else ""
    yield _words(left + width + 6, y + SIZE, f"{node.microseconds:.1f} us{gflops}")
    yield "</g>"


def _words(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222">{_text(text)}</text>'


def _text(text: str) -> str:
    """Text escaped for XML, without the characters that XML cannot represent."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
