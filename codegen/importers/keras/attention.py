"""Attention: softmax(query key') value, with one or several heads, and no mask but the causal one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from codegen.frontend.spec.place import show
from codegen.importers.keras.merging import contracted
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, Translation

_MASKED = -1e30  # far below all scores, so that its exponential is 0


def _attended(site: Site, query: str, key: str, value: str, factor: float, causal: bool, part: str = "") -> str:
    """Attention of values [batch, positions, heads, size]: the result is [batch, queries, heads, size of a value]."""
    scaled = query if factor == 1 else site.affine(query, factor, 0.0, "scaled")
    scores = contracted(site, "bthd", "bshd", "bhts", scaled, key, "scores")
    if causal:
        sizes = site.full_shape(scores)[-2:]
        scores = site.affine(scores, 1.0, np.triu(np.full(sizes, _MASKED), 1), "masked")
    weights = site.softmax(scores, -1, "weights")
    return contracted(site, "bhts", "bshd", "bthd", weights, value, part)


def _three(site: Site) -> tuple[str, str, str]:
    """Query, key and value tensors of three axes each; the key defaults to the value."""
    query, value, *rest = site.inputs if len(site.inputs) > 1 else (site.inputs[0], site.inputs[0])
    key = rest[0] if rest else value
    for operand in (query, value, key):
        if len(site.document.shape(operand)) != 3:
            raise Unsupported(f"tensors with {len(site.document.shape(operand))} axes")
    return query, key, value


def _attention(site: Site) -> str:
    o = site.options
    o.require("score_mode", "dot")
    o.require("return_attention_scores", False)
    o.pass_over("dropout")
    query, key, value = _three(site)
    factor = float(np.asarray(site.arrays(["scale"])["scale"])) if o.flag("use_scale", False) else 1.0
    one = [_with_heads(site, x, name) for x, name in ((query, "query"), (key, "key"), (value, "value"))]
    made = _attended(site, one[0], one[1], one[2], factor, o.flag("use_causal_mask", False), "heads")
    batch, places, _, size = site.full_shape(made)
    return site.reshape(made, [batch, places, size])


def _with_heads(site: Site, value: str, part: str) -> str:
    batch, places, size = site.full_shape(value)
    return site.reshape(value, [batch, places, 1, size], f"{part}_head")


_PARTS = {"query": "query_dense|query", "key": "key_dense|key", "value": "value_dense|value"}
_OUTPUT = "output_dense|attention_output"


def _multi_head(site: Site) -> str:
    o = site.options
    o.pass_over("num_heads", "value_dim", "output_shape", "dropout")  # known from the kernels' shapes
    o.require("use_gate", False)
    o.require("return_attention_scores", False)
    o.require("sliding_window", None)
    o.require("attention_axes", [1], [-2])
    bias = o.flag("use_bias", True)
    words = [f"{names}/{word}" for names in (*_PARTS.values(), _OUTPUT) for word in ("kernel", *["bias"] * bias)]
    arrays = site.arrays(words)
    query, key, value = _three(site)
    heads = {}
    for operand, part in ((query, "query"), (key, "key"), (value, "value")):
        name = _PARTS[part].split("|")[0]
        kernel = np.asarray(arrays[f"{name}/kernel"], np.float64)
        if kernel.ndim != 3:
            raise o.place.key(part).spec_error(f"has a kernel of shape {list(kernel.shape)}; it should have 3 axes")
        made = contracted(site, "btc", "chd", "bthd", operand, kernel, part)
        heads[part] = site.affine(made, 1.0, arrays[f"{name}/bias"], f"{part}_biased") if bias else made
    factor = 1 / math.sqrt(o.whole("key_dim"))
    made = _attended(
        site, heads["query"], heads["key"], heads["value"], factor, o.flag("use_causal_mask", False), "heads"
    )
    kernel = np.asarray(arrays["output_dense/kernel"], np.float64)
    if kernel.ndim != 3:
        raise Unsupported(f"output_shape = {show(o.get('output_shape'))}")
    out = contracted(site, "bthd", "hdc", "btc", made, kernel, "output" if bias else "")
    return site.affine(out, 1.0, arrays["output_dense/bias"]) if bias else out


def dot_product(site: Site) -> str:
    """The attention function of query, key and value [batch, positions, heads, size]."""
    query, key, value, *rest = site.operands
    if any(operand is not None for operand in rest[:2]):
        raise Unsupported("a mask")
    if not all(isinstance(x, str) and len(site.document.shape(x)) == 4 for x in (query, key, value)):
        raise Unsupported("operands that are not tensors with 4 axes")
    o = site.options
    o.require("attn_logits_soft_cap", None)
    o.pass_over("flash_attention")  # only chooses an implementation
    size = site.full_shape(str(query))[-1]
    factor: Any = rest[2] if rest[2] is not None else 1 / math.sqrt(size)
    if not isinstance(factor, (int, float)):
        raise Unsupported("a scale that is no number")
    return _attended(site, str(query), str(key), str(value), float(factor), o.flag("is_causal", False))


ATTENTION_LAYERS: Mapping[str, Translation] = {"Attention": _attention, "MultiHeadAttention": _multi_head}
