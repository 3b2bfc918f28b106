"""Translations of Keras' layers, from the tables of all families.

:mod:`codegen.importers.keras.inert` has the layers that do nothing in inference,
:mod:`codegen.importers.keras.importer` the wrappers, which hold another layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from codegen.importers.keras import convolutions
from codegen.importers.keras.activations import ACTIVATION_LAYERS
from codegen.importers.keras.attention import ATTENTION_LAYERS
from codegen.importers.keras.images import IMAGE_LAYERS
from codegen.importers.keras.merging import MERGES, einsum_dense
from codegen.importers.keras.normalization import NORMALIZATIONS
from codegen.importers.keras.shapes import SHAPE_LAYERS
from codegen.importers.keras.site import Translation

LAYERS: Mapping[str, Translation] = {
    **{f"Conv{n}D": convolutions.conv(n) for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": convolutions.depthwise(n) for n in (1, 2)},
    **{f"SeparableConv{n}D": convolutions.separable(n) for n in (1, 2)},
    **{f"Conv{n}DTranspose": convolutions.conv_transpose(n) for n in (1, 2, 3)},
    "Dense": convolutions.dense,
    "EinsumDense": einsum_dense,
    **IMAGE_LAYERS,
    **NORMALIZATIONS,
    **ACTIVATION_LAYERS,
    **MERGES,
    **ATTENTION_LAYERS,
    **SHAPE_LAYERS,
}
