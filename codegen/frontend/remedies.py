"""Remedies for a network that cannot be built: a few common mistakes, each undone and tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from codegen.errors import ClgenError, ParameterError
from codegen.frontend.network import Stopped, build_graph
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.operators.weights import MODEL_LAYOUTS
from codegen.frontend.parameters.parameters import Parameters
from codegen.frontend.spec.place import show
from codegen.frontend.spec.reader import Document
from codegen.frontend.spec.spec import read_spec
from codegen.graph.ops import ShapeError

Tables = Mapping[str, Any]


def remedy(document: Document, parameters: Parameters, stop: Stopped) -> str:
    """``; ...`` with a change after which the failing layer can be built; "" if none is found.

    The changes are other layouts of the weights, and inputs whose shape includes the batch or has channels last.
    """
    trial = _Trial(document, parameters, stop.layer)
    misfit = isinstance(stop.error, ParameterError)  # between a tensor and a computed value
    if misfit or isinstance(stop.error.__cause__, ShapeError):
        advice = trial.layout(document.tables)
        if advice:
            return f"; {advice}"
    for advice, tables in _inputs(document.tables, misfit):
        also = "" if trial.passes(tables) else trial.layout(tables)
        if also or trial.passes(tables):
            return f"; {advice}{also and '; '}{also}"
    return ""


@dataclass(frozen=True)
class _Trial:
    """Tries to build a layer after changes of the spec's tables."""

    document: Document
    parameters: Parameters
    layer: str

    def passes(self, tables: Tables) -> bool:
        try:
            build_graph(read_spec(replace(self.document, tables=tables)), self.parameters)
        except Stopped as stop:
            return self.layer in stop.built
        except ClgenError:
            return False
        return True

    def layout(self, tables: Tables) -> str:
        """The weight layouts, of this layer or of all, that work; "" if none does."""
        k, table = next((k, t) for k, t in enumerate(tables["layer"]) if t["name"] == self.layer)
        (every,) = set(MODEL_LAYOUTS) - {tables["model"].get("weight_layout", MODEL_LAYOUTS[0])}
        own = [n for n in _layouts(table) if self.passes(_with(tables, "layer", k, weight_layout=n))]
        all_pass = self.passes({**tables, "model": {**tables["model"], "weight_layout": every}})
        if own:
            again = "here or" if own[0] == every else f'or weight_layout = "{every}"'
            more = f", {again} in [model] for all layers" if all_pass else ""
            return f'the weight looks like {own[0]}: write weight_layout = "{own[0]}"{more}'
        return f'the weights look like {every}: write weight_layout = "{every}" in [model]' if all_pass else ""


def _layouts(table: Tables) -> list[str]:
    """Other weight layouts that the layer could have."""
    key = OPERATORS[table["op"]].keys.get("weight_layout")
    layouts = [] if key is None else [n for n in key.type.schema["enum"] if n != table.get("weight_layout")]
    # Many weights of other layers would fit a depthwise layer with one filter per channel.
    return [n for n in layouts if n != "HWCM" or table["op"] == "depthwise_conv" or "groups" in table]


def _inputs(tables: Tables, misfit: bool) -> Iterator[tuple[str, Tables]]:
    """Possible faults in the shape of each input, each with the corrected tables.

    ``misfit`` is true if a tensor contradicts the shape; otherwise only a leading batch axis is suspected.
    """
    batch = tables["model"].get("batch", 1)
    for i, table in enumerate(tables.get("input", [])):
        name, layout = show(table["name"]), table.get("layout", "NCHW")
        key = "full_shape" if table.get("shape") is None else "shape"
        shape = table[key]
        other, order = ("NHWC", "last") if layout == "NCHW" else ("NCHW", "first")
        if misfit:
            advice = f'input {name}: {key} {shape} looks like channels {order}: write layout = "{other}"'
            yield advice, _with(tables, "input", i, layout=other)
        if key == "shape" and len(shape) > 1 and (misfit or (shape[0] in (1, batch) and len(shape) > 3)):
            advice = f"input {name}: shape {shape} seems to include the batch: write full_shape = {shape}, "
            advice += f"or shape = {shape[1:]} and batch = {shape[0]} in [model]"
            whole = _with(tables, "input", i, shape=None, full_shape=shape)
            yield advice, whole
            yield (
                f'{advice}; it also looks like channels {order}: write layout = "{other}"',
                _with(whole, "input", i, layout=other),
            )


def _with(tables: Tables, kind: str, k: int, **keys: Any) -> Tables:
    """The tables with changed keys in one of them; None removes a key."""
    old = tables[kind]
    changed = {name: value for name, value in {**old[k], **keys}.items() if value is not None}
    return {**tables, kind: [*old[:k], changed, *old[k + 1 :]]}
