"""What ``clgen import --list-ops`` says of Keras' layers; as :mod:`codegen.importers.onnx.supported` for ONNX."""

from __future__ import annotations

from collections.abc import Mapping

_NO_FORMAT = "in networks with channels last only, if the file says no data_format"
_TRANSPOSE = "without output_padding, in which Keras' backends differ"

LIMITS: Mapping[str, str] = {
    "Activation": "activations by name, and ReLU, LeakyReLU, ELU and Softmax; none of the user's own",
    "BatchNormalization": "axis is that of the channels; no renorm",
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "Cropping1D": _NO_FORMAT,
    "Dense": "on images with channels last only",
    "Flatten": "data_format as in the other layers",
    "Normalization": "axis is that of the channels, or none",
    "PReLU": "shared_axes are all those of space",
    "ReLU": "threshold is 0",
    "Rescaling": "numbers are one for all or one for each channel, by numpy's rules of shapes",
    "Resizing": "nearest to multiples, or bilinear; no antialias, crop_to_aspect_ratio or pad_to_aspect_ratio",
    "UpSampling1D": _NO_FORMAT,
    "UpSampling2D": "nearest or bilinear",
    "ZeroPadding1D": _NO_FORMAT,
}
