"""The JSON schema of a spec, for editors.

``python -m codegen.frontend.schema`` writes the file next to this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codegen.frontend import batch_norm, naming
from codegen.frontend.activation import ACTIVATION_OPERATORS
from codegen.frontend.kinds import Key, Keys
from codegen.frontend.layer import Operator
from codegen.frontend.operators import OPERATORS
from codegen.frontend.spec import CONSTANT_KEYS, EXAMPLE_KEYS, INPUT_KEYS, MODEL_KEYS, OUTPUT_KEYS, layer_keys

FILE = Path(__file__).with_name("spec.schema.json")

_IDENTIFIER = {"pattern": f"^{naming.IDENTIFIER}$", "maxLength": naming.MAX_IDENTIFIER}
_LAYER_NAME = {"pattern": f"^{naming.LAYER}$", "maxLength": naming.MAX_LAYER}


def schema() -> dict[str, Any]:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "clgen spec",
        "description": "A trained network for clgen: layers in TOML, parameters in a .safetensors or .npz file.",
        **_object(
            {
                "model": _table(MODEL_KEYS, name=_IDENTIFIER),
                "input": _tables(_table(INPUT_KEYS, name=_IDENTIFIER)),
                "constant": _tables(_table(CONSTANT_KEYS, name=_LAYER_NAME)),
                "layer": _tables({"oneOf": [{"$ref": f"#/definitions/{name}"} for name in OPERATORS]}),
                "output": _tables(_table(OUTPUT_KEYS, name=_IDENTIFIER)),
                "example": _table(EXAMPLE_KEYS),
            },
            ["model", "input", "layer", "output"],
        ),
        "definitions": {
            **{name: _layer(name, operator) for name, operator in OPERATORS.items()},
            "attached_batch_norm": _table(batch_norm.KEYS),
            "attached_activation": {
                "oneOf": [
                    {"enum": list(ACTIVATION_OPERATORS)},
                    *(_attached(name, operator) for name, operator in ACTIVATION_OPERATORS.items()),
                ]
            },
        },
    }


def text() -> str:
    return json.dumps(schema(), indent=1) + "\n"


def _layer(name: str, operator: Operator) -> dict[str, Any]:
    read = _table(layer_keys(operator), name=_LAYER_NAME, op={"const": name})
    return {"description": operator.doc, **read}


def _attached(name: str, operator: Operator) -> dict[str, Any]:
    op = {"op": {"const": name, "description": operator.doc}}
    keys = _table(operator.keys)
    return _object({**op, **keys["properties"]}, ["op", *keys.get("required", [])])


def _table(keys: Keys, **more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a table; ``more`` is added to the schemas of its keys."""
    properties = {name: {**_key(key), **more.get(name, {})} for name, key in keys.items()}
    return _object(properties, [name for name, key in keys.items() if key.required])


def _key(key: Key) -> dict[str, Any]:
    if "$ref" in key.kind.schema:
        # Draft 7 ignores keywords next to a reference.
        return {"description": key.doc, "allOf": [key.kind.schema]}
    default = {} if key.default is None else {"default": key.default}
    return {"description": key.doc, **key.kind.schema, **default}


def _object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    needs = {"required": required} if required else {}
    return {"type": "object", "properties": dict(properties), **needs, "additionalProperties": False}


def _tables(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(item), "minItems": 1}


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
