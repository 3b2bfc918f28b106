"""The JSON schema of a spec, for editors; ``python -m codegen.frontend.spec.schema`` writes it beside this module.

Operators that take the same keys share one definition, and so do keys that several tables describe alike.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from codegen.frontend.operators import batch_norm
from codegen.frontend.operators.activation import ACTIVATION_OPERATORS
from codegen.frontend.operators.layer import Operator
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.spec import naming
from codegen.frontend.spec.spec import CONSTANT_KEYS, EXAMPLE_KEYS, INPUT_KEYS, MODEL_KEYS, OUTPUT_KEYS, layer_keys
from codegen.frontend.spec.value_types import Key, Keys

FILE = Path(__file__).with_name("spec.schema.json")

Schema = dict[str, Any]
Tables = dict[str, Schema]
"""The schemas of tables by the names of their definitions."""

_IDENTIFIER = {"pattern": f"^{naming.IDENTIFIER}$", "maxLength": naming.MAX_IDENTIFIER}
_LAYER_NAME = {"pattern": f"^{naming.LAYER}$", "maxLength": naming.MAX_LAYER}


def schema() -> Schema:
    layers = _by_keys(OPERATORS, "layer", layer_keys, name=_LAYER_NAME)
    attached = _by_keys(ACTIVATION_OPERATORS, "activation", lambda operator: operator.keys)
    tables = {
        "model": _table(MODEL_KEYS, name=_IDENTIFIER),
        "input": _table(INPUT_KEYS, name=_IDENTIFIER),
        "constant": _table(CONSTANT_KEYS, name=_LAYER_NAME),
        "output": _table(OUTPUT_KEYS, name=_IDENTIFIER),
        "example": _table(EXAMPLE_KEYS),
        "attached_batch_norm": _table(batch_norm.KEYS),
        **layers,
        **attached,
    }
    shared = _share(tables)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "clgen spec",
        "description": "A trained network for clgen: layers in TOML, parameters in a .safetensors or .npz file.",
        **_object(
            {
                "model": _reference("model"),
                "input": _tables(_reference("input")),
                "constant": _tables(_reference("constant")),
                "layer": _tables({"oneOf": [_reference(name) for name in layers]}),
                "output": _tables(_reference("output")),
                "example": _reference("example"),
            },
            ["model", "input", "layer", "output"],
        ),
        "definitions": {
            **tables,
            "attached_activation": {
                "oneOf": [{"enum": list(ACTIVATION_OPERATORS)}, *(_reference(name) for name in attached)]
            },
            **shared,
        },
    }


def text() -> str:
    """The schema as JSON, with each object and list of single values on a line of its own."""
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", _on_one_line, json.dumps(schema(), indent=1)) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return re.sub(r"\n +", " ", found[0]).replace("{ ", "{").replace(" }", "}").replace("[ ", "[").replace(" ]", "]")


def _by_keys(
    operators: Mapping[str, Operator], prefix: str, keys: Callable[[Operator], Keys], **more: Mapping[str, Any]
) -> Tables:
    """One table for all operators that take the same keys, called after the first of them."""
    tables: Tables = {}
    for name, operator in operators.items():
        read = _table(keys(operator), **more)
        chosen = {"const": name, "description": operator.doc}
        rest = {key: value for key, value in read["properties"].items() if key != "op"}
        required = ["op", *(key for key in read.get("required", []) if key != "op")]
        like = next((t for t in tables.values() if _rest(t) == rest and t["required"] == required), None)
        if like is None:
            tables[f"{prefix}_{name}"] = _object({"op": {"oneOf": [chosen]}, **rest}, required)
        else:
            like["properties"]["op"]["oneOf"].append(chosen)
    return tables


def _rest(table: Schema) -> Schema:
    return {key: value for key, value in table["properties"].items() if key != "op"}


def _share(tables: Tables) -> Tables:
    """Replaces the keys that tables describe alike by references, and returns the definitions that these name."""
    every = [(key, _text(value)) for table in tables.values() for key, value in table["properties"].items()]
    several = [pair for pair, count in Counter(every).items() if count > 1]
    names = {}
    for key, value in several:
        alike = [other for other in several if other[0] == key]
        number = alike.index((key, value)) + 1
        names[key, value] = f"key_{key}" if len(alike) == 1 else f"key_{key}_{number}"
    for table in tables.values():
        for key, value in table["properties"].items():
            if (key, _text(value)) in names:
                table["properties"][key] = _reference(names[key, _text(value)])
    return {name: json.loads(value) for (_, value), name in names.items()}


def _text(value: Schema) -> str:
    return json.dumps(value)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _table(keys: Keys, **more: Mapping[str, Any]) -> Schema:
    """``more`` is what the schema of a key adds to that of its type."""
    properties = {name: {**_key(key), **more.get(name, {})} for name, key in keys.items()}
    return _object(properties, [name for name, key in keys.items() if key.required])


def _key(key: Key) -> Schema:
    if "$ref" in key.type.schema:
        # Draft 7 ignores what stands beside a reference.
        return {"description": key.doc, "allOf": [key.type.schema]}
    default = {} if key.default is None else {"default": key.default}
    return {"description": key.doc, **key.type.schema, **default}


def _object(properties: Mapping[str, Any], required: Iterable[str]) -> Schema:
    needs = {"required": list(required)} if required else {}
    return {"type": "object", "properties": dict(properties), **needs, "additionalProperties": False}


def _tables(item: Mapping[str, Any]) -> Schema:
    return {"type": "array", "items": dict(item), "minItems": 1}


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
