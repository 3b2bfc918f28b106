"""Layers that return their input in inference, each with its keys that only affect training."""

from __future__ import annotations

from collections.abc import Mapping

_RATE = ("rate", "noise_shape", "data_format")
NOTHING_TO_DO: Mapping[str, tuple[str, ...]] = {
    "ActivityRegularization": ("l1", "l2"),
    "AlphaDropout": _RATE,
    "Dropout": _RATE,
    "GaussianDropout": _RATE,
    "GaussianNoise": ("stddev",),
    "Identity": (),
    **{f"SpatialDropout{n}D": _RATE for n in (1, 2, 3)},
}

# Augmentations of images: Keras 3 writes their default "training": true into each call.
_ALL = ("data_format", "rng_type", "value_range", "factor")
_FILL = ("fill_mode", "fill_value", "interpolation")
AUGMENTATIONS: Mapping[str, tuple[str, ...]] = {
    "AugMix": (*_ALL, "num_chains", "chain_depth", "alpha", "all_ops", "interpolation"),
    "CutMix": _ALL,
    "Equalization": (*_ALL, "bins"),
    "MaxNumBoundingBoxes": (*_ALL, "max_number", "bounding_box_format"),
    "MixUp": (*_ALL, "alpha"),
    "RandAugment": (*_ALL, "num_ops", "interpolation"),
    "RandomBrightness": _ALL,
    "RandomColorDegeneration": _ALL,
    "RandomColorJitter": (*_ALL, "brightness_factor", "contrast_factor", "saturation_factor", "hue_factor"),
    "RandomContrast": _ALL,
    "RandomElasticTransform": (*_ALL, *_FILL, "scale"),
    "RandomErasing": (*_ALL, "scale", "fill_value"),
    "RandomFlip": (*_ALL, "mode"),
    "RandomGaussianBlur": (*_ALL, "kernel_size", "sigma"),
    "RandomGrayscale": _ALL,
    "RandomHeight": (*_ALL, "interpolation"),
    "RandomHue": _ALL,
    "RandomInvert": _ALL,
    "RandomPerspective": (*_ALL, *_FILL, "scale"),
    "RandomPosterization": _ALL,
    "RandomRotation": (*_ALL, *_FILL),
    "RandomSaturation": _ALL,
    "RandomSharpness": _ALL,
    "RandomShear": (*_ALL, *_FILL, "x_factor", "y_factor"),
    "RandomTranslation": (*_ALL, *_FILL, "height_factor", "width_factor"),
    "RandomWidth": (*_ALL, "interpolation"),
    "RandomZoom": (*_ALL, *_FILL, "height_factor", "width_factor"),
    "Solarization": (*_ALL, "addition_factor", "threshold_factor"),
}
