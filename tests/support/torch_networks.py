"""The networks of programs/sweep_torch.py, as timm, torchvision, segmentation_models_pytorch and ultralytics have them.

Weights are random, and batch norms have statistics of their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CLASSES = 100
SEED = 0


@dataclass(frozen=True)
class Network:
    """``build`` makes the torch.nn.Module for an image of ``size`` x ``size`` pixels with 3 channels."""

    name: str
    library: str
    size: int
    build: Callable[[], Any]


def _timm(name: str, size: int) -> Network:
    def build() -> Any:
        timm, smaller = importlib.import_module("timm"), _SMALLER.get(name, {})
        try:
            return timm.create_model(name, num_classes=CLASSES, img_size=size, **smaller)
        except TypeError:  # the definition takes images of any size
            return timm.create_model(name, num_classes=CLASSES, **smaller)

    return Network(name, "timm", size, build)


def _torchvision(name: str, size: int) -> Network:
    def build() -> Any:
        models = importlib.import_module("torchvision.models")
        more: dict[str, bool | None] = {"init_weights": False} if name == "googlenet" else {}
        more |= {"weights_backbone": None} if name.startswith(("deeplab", "fcn", "lraspp", "ssd")) else {}
        return models.get_model(name, weights=None, num_classes=CLASSES, **more)

    return Network(name, "torchvision", size, build)


def _smp(name: str, encoder: str, size: int) -> Network:
    def build() -> Any:
        smp = importlib.import_module("segmentation_models_pytorch")
        return getattr(smp, name)(encoder, encoder_weights=None, classes=5)

    return Network(f"{name}-{encoder}", "segmentation_models_pytorch", size, build)


def _ultralytics(name: str, kind: str, size: int) -> Network:
    def build() -> Any:
        tasks = importlib.import_module("ultralytics.nn.tasks")
        model = getattr(tasks, kind)(f"{name}.yaml", verbose=False)
        for module in model.modules():
            if hasattr(module, "export"):  # as ultralytics' own exporter prepares its heads
                module.export, module.format, module.dynamic = True, "onnx", False
        return model

    return Network(name, "ultralytics", size, build)


# Fewer and narrower layers of the same kinds, so that a network is a matter of seconds.
_SMALLER: Mapping[str, Mapping[str, Any]] = {
    "swin_tiny_patch4_window7_224": {"depths": (1, 2, 1, 1), "embed_dim": 32, "num_heads": (1, 2, 4, 8)},
    "volo_d1_224": {"layers": (1, 1, 1, 1)},
    "mixer_s32_224": {"num_blocks": 2},
    "sequencer2d_s": {"layers": (1, 1, 1, 1)},
    "focalnet_tiny_srf": {"depths": (1, 1, 1, 1), "embed_dim": 32},
}

_TIMM: Mapping[str, int] = {
    # Residual networks and their many variants
    "resnet18": 64, "seresnet18": 64, "skresnet18": 64, "resnest14d": 64, "bat_resnext26ts": 256, "test_resnet": 64,
    "test_byobnet": 64, "resnetv2_18": 64, "test_nfnet": 64, "regnetx_002": 64, "regnety_002": 64, "repvgg_a0": 64,
    "densenet121": 64, "ese_vovnet19b_slim": 64,
    # Networks for small machines
    "mobilenetv2_050": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small_035": 64, "mobileone_s0": 64,
    "fbnetc_100": 64, "efficientnet_b0": 64, "test_efficientnet": 64, "test_efficientnet_gn": 64, "lcnet_035": 64,
    "efficientnet_cc_b0_4e": 64, "mixnet_s": 64, "ghostnet_050": 64, "ghostnetv3_050": 64, "rexnet_100": 64,
    "hgnetv2_b0": 64, "starnet_s050": 64, "fasternet_t0": 64, "repvit_m0_9": 64,
    # Convolutions with norms and shapes of transformers
    "inception_next_atto": 64, "test_convnext": 64, "test_convnext2": 64, "test_mambaout": 64, "focalnet_tiny_srf": 64,
    # Convolutions and attention
    "mobilevit_xxs": 64, "mobilevitv2_050": 64, "edgenext_xx_small": 64, "fastvit_t8": 64, "efficientvit_b0": 64,
    "efficientvit_m0": 64, "levit_128s": 64, "botnet26t_256": 64, "lambda_resnet26t": 64, "halonet26t": 64,
    "test_coatnet": 64, "test_maxvit": 64,
    # Transformers
    "test_vit": 64, "pit_ti_224": 64, "xcit_nano_12_p16_224": 64, "crossvit_9_240": 64, "pvt_v2_b0": 64,
    "swin_tiny_patch4_window7_224": 56, "volo_d1_224": 64, "mixer_s32_224": 64, "sequencer2d_s": 64,
}  # fmt: skip

_TORCHVISION: Mapping[str, int] = {
    "squeezenet1_1": 64, "googlenet": 64, "shufflenet_v2_x0_5": 64, "mnasnet0_5": 64, "resnet18": 64,
    "mobilenet_v3_small": 64, "lraspp_mobilenet_v3_large": 64,
    "deeplabv3_mobilenet_v3_large": 64, "ssdlite320_mobilenet_v3_large": 320,
}  # fmt: skip

_SMP = {
    ("Unet", "resnet18"): 64, ("UnetPlusPlus", "mobilenet_v2"): 64, ("FPN", "mobilenet_v2"): 64,
    ("PAN", "resnet18"): 64,
    ("Linknet", "resnet18"): 64, ("PSPNet", "resnet18"): 64, ("DeepLabV3Plus", "mobilenet_v2"): 64,
    ("MAnet", "mobilenet_v2"): 64, ("Segformer", "mit_b0"): 64, ("UPerNet", "resnet18"): 64,
}  # fmt: skip

_ULTRALYTICS = {
    "yolov5n": "DetectionModel", "yolov8n": "DetectionModel", "yolov9t": "DetectionModel", "yolov10n": "DetectionModel",
    "yolo11n": "DetectionModel", "yolo12n": "DetectionModel", "yolov8n-seg": "SegmentationModel",
    "yolov8n-pose": "PoseModel", "yolo11n-obb": "OBBModel", "yolov8n-cls": "ClassificationModel",
}  # fmt: skip

NETWORKS: Mapping[str, Network] = {
    f"{network.library}:{network.name}": network
    for network in (
        *(_timm(name, size) for name, size in _TIMM.items()),
        *(_torchvision(name, size) for name, size in _TORCHVISION.items()),
        *(_smp(name, encoder, size) for (name, encoder), size in _SMP.items()),
        *(_ultralytics(name, kind, 64) for name, kind in _ULTRALYTICS.items()),
    )
}


def ready(network: Network) -> Any:
    """The network in inference mode, returning a tuple of tensors, each BatchNorm with random gamma and beta and the
    statistics of random inputs."""
    torch = importlib.import_module("torch")
    tree_leaves = importlib.import_module("torch.utils._pytree").tree_leaves
    torch.manual_seed(SEED)
    net = network.build().eval()
    # With random statistics values grow from layer to layer, and so do every engine's rounding errors.
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for module in norms:
        if module.affine:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
        if module.track_running_stats:
            module.momentum = None  # the mean of all batches seen
            module.reset_running_stats()
            module.train()
    with torch.no_grad():
        net(torch.randn(4, 3, network.size, network.size))
    for module in norms:
        module.momentum = 0.1
    net.eval()

    class Leaves(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return tuple(leaf for leaf in tree_leaves(self.net(x)) if isinstance(leaf, torch.Tensor))

    return Leaves().eval()
