"""Keras' part of ``clgen import --list-ops``, like :mod:`codegen.importers.onnx.supported` for ONNX."""

from __future__ import annotations

from collections.abc import Mapping

_NO_FORMAT = "in networks with channels last only, if the file says no data_format"
_TRANSPOSE = "without output_padding, in which Keras' backends differ"

_ADAPTIVE = "output_size divides the input's"
_ASPECT = "nearest, bilinear or bicubic (as TensorFlow and JAX have it)"

LIMITS: Mapping[str, str] = {
    "Activation": "activations by name but sparsemax, and ReLU, LeakyReLU, ELU and Softmax; none of the user's own",
    **{f"Adaptive{kind}Pooling{n}D": _ADAPTIVE for kind in ("Average", "Max") for n in (1, 2, 3)},
    "Attention": "score_mode is dot; no mask but the causal one, and no scores as a second output",
    "BatchNormalization": "no renorm",
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "Cropping1D": _NO_FORMAT,
    "EinsumDense": "of two operands whose axes are all in the result or in both",
    "Flatten": "data_format as in the other layers",
    "MultiHeadAttention": "of three axes; no mask but the causal one, no scores as a second output, no gate",
    "RandomCrop": "of Keras 3 only to the size of its input, as versions differ",
    "Rescaling": "lists of numbers only with channels last",
    "Resizing": _ASPECT,
    "UpSampling1D": _NO_FORMAT,
    "UpSampling2D": _ASPECT,
    "ZeroPadding1D": _NO_FORMAT,
}
