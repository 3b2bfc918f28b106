"""The networks of the benchmark as ONNX files: definitions from pytorchcv, random weights."""

from __future__ import annotations

from pathlib import Path

SIZES = {
    "mobilenetv2_w1": 224,
    "mobilenetv3_large_w1": 224,
    "efficientnet_b0": 224,
    "squeezenet_v1_1": 224,
    "shufflenetv2_w1": 224,
    "resnet18": 224,
    "preresnet18": 224,
    "resnet50": 224,
    "bninception": 224,
    "inceptionv3": 299,
    "densenet121": 224,
    "vgg16": 224,
}
"""Height and width of the input by the network's name."""


def onnx_file(network: str, batch: int, folder: Path) -> Path:
    """The network with its batch norms visible, made at the first time."""
    path = folder / f"{network}_b{batch}.onnx"
    if path.exists():
        return path
    import torch
    from pytorchcv.model_provider import get_model

    torch.manual_seed(0)
    net = get_model(network).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.momentum = None  # the mean of all batches seen
            module.reset_running_stats()
    # Statistics of what really comes along, as training would give: with made-up ones signals explode, and every
    # engine's rounding errors with them.
    with torch.no_grad():
        net.train()(torch.randn(4, 3, SIZES[network], SIZES[network]))
    net.eval()
    folder.mkdir(parents=True, exist_ok=True)
    x = torch.zeros(batch, 3, SIZES[network], SIZES[network])
    part = path.with_suffix(".part")
    torch.onnx.export(
        net, (x,), str(part), opset_version=17, dynamo=False, input_names=["x"], output_names=["y"],
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    part.rename(path)
    return path
