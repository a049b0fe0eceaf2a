"""Export torchvision architectures to ONNX, with both of PyTorch's exporters.

usage: python benchmarks/zoo_models.py FOLDER [--exporter script|dynamo] [NAME ...]

Writes FOLDER/script/NAME.onnx and FOLDER/dynamo/NAME.onnx; files that exist are kept. Weights are random but seeded.
BatchNorm statistics and scales are random too: with the initial 0 and 1, mistakes in them would stay invisible.
The batch is symbolic where the exporter allows it. What cannot be exported is listed and skipped; detectors go through
the TorchScript exporter only, because torch.export does not follow their data-dependent sizes.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

CLASSIFIERS = (
    "alexnet convnext_tiny densenet121 densenet161 efficientnet_b0 efficientnet_b4 efficientnet_v2_s googlenet",
    "inception_v3 maxvit_t mnasnet1_0 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_400mf",
    "regnet_x_3_2gf regnet_y_400mf regnet_y_3_2gf resnet18 resnet34 resnet50 resnet101 resnext50_32x4d",
    "resnext101_32x8d shufflenet_v2_x0_5 shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t swin_s swin_v2_t",
    "vgg11 vgg16_bn vgg19_bn vit_b_16 vit_b_32 wide_resnet50_2",
)
SEGMENTERS = ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large")
VIDEO = {"r3d_18": 112, "mc3_18": 112, "r2plus1d_18": 112, "s3d": 224, "mvit_v2_s": 224, "swin3d_t": 224}
DETECTORS = ("ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")
FLOW = ("raft_small",)
NAMES = [*" ".join(CLASSIFIERS).split(), *SEGMENTERS, *VIDEO, *FLOW, *DETECTORS]


class Mask(nn.Module):  # type: ignore[misc, unused-ignore]
    """A segmentation model that gives its mask instead of a dictionary."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> Any:
        return self.inner(image)["out"]


def build(name: str) -> nn.Module:
    """The architecture with seeded random weights and statistics, in inference mode."""
    torch.manual_seed(0)
    options: dict[str, Any] = {}
    if name in SEGMENTERS or name in DETECTORS:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options.update(init_weights=False, aux_logits=True)
    model = models.get_model(name, weights=None, **options)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                values = module.state_dict()
                values["running_mean"].normal_(0, 0.1)
                values["running_var"].uniform_(0.5, 1.5)
                values["weight"].uniform_(0.5, 1.5)
                values["bias"].normal_(0, 0.1)
    return (Mask(model) if name in SEGMENTERS else model).eval()


def example(name: str) -> tuple[Any, ...]:
    """Inputs of the size the architecture was made for."""
    if name in VIDEO:
        return (torch.randn(1, 3, 16, VIDEO[name], VIDEO[name]),)
    if name in FLOW:
        return (torch.randn(1, 3, 128, 128), torch.randn(1, 3, 128, 128))
    if name in DETECTORS:
        return ([torch.randn(3, 320, 320)],)
    size = 299 if name == "inception_v3" else 224
    return (torch.randn(1, 3, size, size),)


def export_script(model: nn.Module, inputs: tuple[Any, ...], name: str, path: Path) -> None:
    """The exporter that records TorchScript."""
    options: dict[str, Any] = {}
    if name not in DETECTORS:
        options = {"input_names": ["input"], "dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(model, inputs, str(path), dynamo=False, opset_version=17, **options)


def export_dynamo(model: nn.Module, inputs: tuple[Any, ...], name: str, path: Path) -> None:
    """The exporter that uses torch.export: with a symbolic batch if it finds one, else as it is."""
    options: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False}
    batch = torch.export.Dim("batch", min=1, max=64)
    pairs = tuple(torch.cat([tensor, tensor]) for tensor in inputs)
    try:
        torch.onnx.export(model, pairs, str(path), dynamic_shapes=tuple({0: batch} for _ in pairs), **options)
        return
    except Exception:  # the trace fixed the batch: export it fixed
        pass
    torch.onnx.export(model, inputs, str(path), **options)


EXPORTERS = {"script": export_script, "dynamo": export_dynamo}


def export(name: str, exporter: str, path: Path) -> str:
    """Write one file, under its name only when it is complete; gives a line for the log."""
    start, partial = time.perf_counter(), path.with_suffix(".partial")
    try:
        EXPORTERS[exporter](build(name), example(name), name, partial)
    except Exception as error:
        partial.unlink(missing_ok=True)
        return f"not exportable: {type(error).__name__}: {str(error).strip().splitlines()[0][:150]}"
    partial.replace(path)
    return f"{path.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description="Export torchvision architectures to ONNX.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exporter", choices=sorted(EXPORTERS))
    parser.add_argument("names", nargs="*")
    given = parser.parse_intermixed_args()
    warnings.filterwarnings("ignore")
    for exporter in [given.exporter] if given.exporter else EXPORTERS:
        for name in given.names or NAMES:
            path = given.folder / exporter / f"{name}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() and not (exporter == "dynamo" and name in DETECTORS):
                print(f"{exporter:7} {name:32} {export(name, exporter, path)}", flush=True)
                gc.collect()


if __name__ == "__main__":
    main()
