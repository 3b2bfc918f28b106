"""The networks of the benchmark as ONNX files: definitions from libraries, random weights, calibrated batch norms.

A library is imported only when one of its networks is built.

    python zoo.py NETWORK BATCH PATH

converts a network to a file for LiteRT.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CALIBRATION = 4  # inputs that batch norms take their statistics from


@dataclass(frozen=True)
class Network:
    """``make`` returns the torch.nn.Module with random weights; ``shape`` is that of one input, without the batch."""

    shape: tuple[int, ...]
    make: Callable[[], Any]


def _pytorchcv(name: str, size: int = 224) -> Network:
    return Network((3, size, size), lambda: _imported("pytorchcv.model_provider").get_model(name))


def _quartznet(frames: int) -> Network:
    """One-dimensional convolutions over time, for speech: 64 features in each of ``frames`` frames of 10 ms.

    All frames belong to the utterance, so there is nothing to mask, and the output's length need not be returned.
    """

    def make() -> Any:
        torch = _imported("torch")
        net = _imported("pytorchcv.model_provider").get_model("quartznet5x5_en_ls", from_audio=False)
        for module in net.modules():
            if hasattr(module, "use_mask"):
                module.use_mask = False

        class WholeUtterance(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, x: Any) -> Any:
                return self.net([x, None])[0]

        return WholeUtterance()

    return Network((64, frames), make)


def _timm(name: str, size: int = 224) -> Network:
    return Network((3, size, size), lambda: _imported("timm").create_model(name, exportable=True))


def _unet(encoder: str, size: int) -> Network:
    smp = "segmentation_models_pytorch"
    return Network((3, size, size), lambda: _imported(smp).Unet(encoder, encoder_weights=None, classes=1))


def _yolo(name: str, size: int) -> Network:
    def make() -> Any:
        net = _imported("ultralytics.nn.tasks").DetectionModel(f"{name}.yaml", verbose=False)
        head = net.model[-1]
        head.export, head.format, head.dynamic = True, "onnx", False  # as the library's own exporter sets them
        return net

    return Network((3, size, size), make)


def _imported(module: str) -> Any:
    return importlib.import_module(module)


SETS: Mapping[str, Mapping[str, Network]] = {
    "classic": {
        "mobilenetv2_w1": _pytorchcv("mobilenetv2_w1"),
        "mobilenetv3_large_w1": _pytorchcv("mobilenetv3_large_w1"),
        "efficientnet_b0": _pytorchcv("efficientnet_b0"),
        "squeezenet_v1_1": _pytorchcv("squeezenet_v1_1"),
        "shufflenetv2_w1": _pytorchcv("shufflenetv2_w1"),
        "resnet18": _pytorchcv("resnet18"),
        "preresnet18": _pytorchcv("preresnet18"),
        "resnet50": _pytorchcv("resnet50"),
        "bninception": _pytorchcv("bninception"),
        "inceptionv3": _pytorchcv("inceptionv3", 299),
        "densenet121": _pytorchcv("densenet121"),
        "vgg16": _pytorchcv("vgg16"),
    },
    "today": {
        "convnext_atto": _timm("convnext_atto"),
        "convnext_tiny": _timm("convnext_tiny"),
        "resnet50_gn": _timm("resnet50_gn"),
        "swin_tiny": _timm("swin_tiny_patch4_window7_224"),
        "mobilevitv2_050": _timm("mobilevitv2_050", 256),
        "fastvit_t8": _timm("fastvit_t8", 256),
        "mobilenetv4_conv_small": _timm("mobilenetv4_conv_small"),
        "regnety_008": _timm("regnety_008"),
        "efficientnetv2_rw_t": _timm("efficientnetv2_rw_t"),
        "yolov8n": _yolo("yolov8n", 320),
        "unet_resnet18": _unet("resnet18", 256),
        "quartznet5x5": _quartznet(512),
    },
}
"""The networks of each set by their names in tables."""


def find(network: str) -> Network:
    """The network of that name in any of the sets; KeyError if there is none."""
    return {name: found for networks in SETS.values() for name, found in networks.items()}[network]


def input_of(network: str, batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, *find(network).shape), np.float32)


def onnx_file(network: str, batch: int, folder: Path) -> Path:
    """The network's ONNX file, batch norms visible, exported if it is missing."""
    path = folder / f"{network}_b{batch}.onnx"
    if path.exists():
        return path
    import torch

    net = _calibrated(network)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.onnx.export(
        net, (torch.zeros(batch, *find(network).shape),), str(part), opset_version=17, dynamo=False, input_names=["x"],
        output_names=["y"], training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    part.rename(path)
    return path


def litert_file(network: str, batch: int, path: Path) -> None:
    """The network as a file for LiteRT, whose converter reads PyTorch's modules, not ONNX files."""
    import litert_torch
    import torch

    net = _calibrated(network)
    part = path.with_suffix(".part")
    litert_torch.convert(net, (torch.zeros(batch, *find(network).shape),)).export(str(part))
    part.rename(path)


def _calibrated(network: str) -> Any:
    """The same torch.nn.Module each time, ready for inference."""
    import torch

    torch.manual_seed(0)
    net = find(network).make().eval()
    _vary(net)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.momentum = None  # the mean of all batches seen
            module.reset_running_stats()
    # The statistics are those of random inputs, as training would measure them.  With random statistics values grow
    # from layer to layer, and so do every engine's rounding errors.
    with torch.no_grad():
        net.train()(torch.randn(CALIBRATION, *find(network).shape))
    return net.eval()


def _vary(net: Any) -> None:
    """Random values for parameters that are initialised to one number, as norms, layer scales and biases are.

    A scale of 0 or 1e-6 would hide a whole residual branch from the comparison of outputs.
    """
    import torch

    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in net.named_parameters():
            if values.numel() > 1 and values.min() == values.max():
                if name.endswith("bias"):
                    values.normal_(std=0.1, generator=rng)
                else:
                    values.uniform_(0.5, 1.5, generator=rng)


if __name__ == "__main__":
    litert_file(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
