"""Keras' part of ``clgen import --list-ops``, like :mod:`codegen.importers.onnx.supported` for ONNX."""

from __future__ import annotations

from collections.abc import Mapping

_NO_FORMAT = "only in channels-last networks, if the file has no data_format"
_TRANSPOSE = "no output_padding, for which Keras' backends differ"

_ADAPTIVE = "output_size divides the input's size"
_ASPECT = "nearest, bilinear or bicubic (as in TensorFlow and JAX)"

LIMITS: Mapping[str, str] = {
    "Activation": "activations by name except sparsemax, and ReLU, LeakyReLU, ELU and Softmax; no user-defined ones",
    **{f"Adaptive{kind}Pooling{n}D": _ADAPTIVE for kind in ("Average", "Max") for n in (1, 2, 3)},
    "Attention": "score_mode is dot; no mask except the causal one, and no second output (the scores)",
    "BatchNormalization": "no renorm",
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "Cropping1D": _NO_FORMAT,
    "EinsumDense": "two operands; each axis is in the result or in both operands",
    "Flatten": "the same data_format as in other layers",
    "MultiHeadAttention": "three axes; no mask except the causal one, no second output (the scores), no gate",
    "RandomCrop": "in Keras 3 only if the size does not change, as versions differ",
    "Rescaling": "lists of numbers only in channels-last networks",
    "Resizing": _ASPECT,
    "UpSampling1D": _NO_FORMAT,
    "UpSampling2D": _ASPECT,
    "ZeroPadding1D": _NO_FORMAT,
}
