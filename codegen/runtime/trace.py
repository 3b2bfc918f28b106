"""A bench as a Chrome trace, for chrome://tracing and Perfetto: each launch in one typical inference."""

from __future__ import annotations

from typing import Any

from codegen.runtime.bench import Bench


def trace(result: Bench) -> dict[str, Any]:
    """The trace's JSON: a row for each device's queue, times in microseconds."""
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": result.name}}
    ]
    for row, device in enumerate(result.devices):
        title = f"{device.device}, {device.platform}"
        events.append({"name": "thread_name", "ph": "M", "pid": 0, "tid": row, "args": {"name": title}})
        launches = [(node, launch) for node in device.nodes for launch in node.launches]
        for (node, launch), (start, end) in zip(launches, device.timeline, strict=True):
            details = {"kernel": launch.kernel, "writes": launch.writes, "operator": node.title, "bytes": launch.bytes}
            details |= {"multiply_adds": node.multiply_adds, "bound": node.bound}
            events.append(
                {"name": node.node, "cat": "launch", "ph": "X", "pid": 0, "tid": row}
                | {"ts": start, "dur": end - start, "args": details}
            )
    return {"displayTimeUnit": "ms", "traceEvents": events}
