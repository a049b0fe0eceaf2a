"""Train the digits classifier of this folder and export it to ONNX.

Needs PyTorch and scikit-learn; neither is needed to use the exported files::

    python models/train_digits.py --out models

The number of epochs, the split and every random draw are fixed in advance:
the test split is read once, after training, to report the accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped, unused-ignore]
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor, nn

SEED = 20240607
FIRST_TEST_SAMPLE = 1287
CALIBRATION_SAMPLES = 500
OPSET = 17

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm and, unless switched off, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU() if relu else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in order."""
        x = self.bn(self.conv(x))
        return x if self.relu is None else self.relu(x)


class Residual(nn.Module):
    """Basic residual block; the shortcut is a projection where the shape changes, else the identity."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs, 3, stride=stride)
        self.conv2 = ConvBN(outputs, outputs, 3, relu=False)
        projected = stride != 1 or inputs != outputs
        self.shortcut = ConvBN(inputs, outputs, 1, stride=stride, relu=False) if projected else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the two convolutions' result."""
        y = self.conv2(self.conv1(x))
        y = y + (x if self.shortcut is None else self.shortcut(x))
        activated: Tensor = self.relu(y)
        return activated


class Inception(nn.Module):
    """Three parallel branches (1x1, 1x1-3x3, pool-1x1) joined by a channel concatenation."""

    def __init__(self, inputs: int, reduced: int, branch: int) -> None:
        super().__init__()
        self.point = ConvBN(inputs, branch, 1)
        self.reduce = ConvBN(inputs, reduced, 1)
        self.spatial = ConvBN(reduced, branch, 3)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pool_point = ConvBN(inputs, branch, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches along the channel axis."""
        return torch.cat([self.point(x), self.spatial(self.reduce(x)), self.pool_point(self.pool(x))], dim=1)


class DigitsNet(nn.Module):
    """Residual, inception and depthwise-separable stages over 8x8 grey images."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = ConvBN(1, width, 3)
        self.stage1 = Residual(width, width)
        self.stage2 = Residual(width, 2 * width, stride=2)
        self.mixed = Inception(2 * width, 32, width)
        self.depthwise = ConvBN(3 * width, 3 * width, 3, groups=3 * width)
        self.pointwise = ConvBN(3 * width, 160, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(160, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the ten classes."""
        x = self.mixed(self.stage2(self.stage1(self.stem(x))))
        x = self.pointwise(self.depthwise(x))
        logits: Tensor = self.classifier(self.flatten(self.pool(x)))
        return logits


def load_splits() -> tuple[Array, Labels, Array, Labels, Array]:
    """Return train images and labels, test images and labels, and the unlabelled calibration images."""
    digits = load_digits()
    images = (digits.images[:, None] / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    # The data set keeps its order: each writer's form starts with 0..9 twice. Cutting where a form starts
    # keeps the test split to writers of whom training has seen nothing.
    train_x, test_x = np.split(images, [FIRST_TEST_SAMPLE])
    train_y, test_y = np.split(labels, [FIRST_TEST_SAMPLE])
    if test_y[:20].tolist() != 2 * list(range(10)):
        raise RuntimeError("the test split does not start where a writer's form starts")
    calibration_x, _ = train_test_split(train_x, train_size=CALIBRATION_SAMPLES, random_state=SEED, stratify=train_y)
    return train_x, train_y, test_x, test_y, calibration_x


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by -1, 0 or 1 pixels along both axes, filling with background."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    rows = (offsets[:, :1] + torch.arange(8))[:, :, None]
    columns = (offsets[:, 1:] + torch.arange(8))[:, None, :]
    batch = torch.arange(len(images))[:, None, None]
    return padded[batch, 0, rows, columns][:, None]


def train(model: nn.Module, images: Array, labels: Labels, *, epochs: int, batch: int = 64) -> None:
    """Train with SGD, Nesterov momentum and a one-cycle learning rate, then switch to evaluation."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(SEED)
    steps = len(x) // batch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * steps)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            loss = loss_of(model(shift(x[chosen], generator)), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:3d}/{epochs}: training loss {total / steps:.4f}", flush=True)
    model.eval()


def count_macs(model: nn.Module) -> int:
    """Count the multiply-accumulates of convolutions and linear layers for one image."""
    macs = 0

    def add(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight = module.weight
        assert isinstance(weight, Tensor)
        macs += output[0].numel() * weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model(torch.zeros(1, 1, 8, 8))
    for hook in hooks:
        hook.remove()
    return macs


def unshare_initializers(model: onnx.ModelProto) -> None:
    """Give each parameter its own initializer; the exporter shares equal ones through Identity nodes."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    shared = {n.output[0]: initializers[n.input[0]] for n in model.graph.node if n.op_type == "Identity"}
    kept = [node for node in model.graph.node if node.op_type != "Identity"]
    roles = ("input", "weight", "bias", "running_mean", "running_var")
    for node in kept:
        for position, name in enumerate(node.input):
            if name in shared:
                own = onnx.TensorProto()
                own.CopyFrom(shared[name])
                own.name = f"{node.input[1].rpartition('.')[0]}.{roles[position]}"
                model.graph.initializer.append(own)
                node.input[position] = own.name
    del model.graph.node[:]
    model.graph.node.extend(kept)


def friendly_names(model: onnx.ModelProto, leaves: set[str]) -> None:
    """Name nodes after their module (``stage1.conv1.bn``), and each result after its node."""
    values: dict[str, str] = {}
    public = {v.name for v in [*model.graph.input, *model.graph.output, *model.graph.initializer]}
    for node in model.graph.node:
        *path, operation = node.name.strip("/").split("/")
        module = ".".join(path)
        node.name = module if module in leaves else f"{module}.{operation.lower()}"
        for value in node.output:
            values[value] = value if value in public else f"{node.name}.out"
    for node in model.graph.node:
        node.input[:] = [values.get(value, value) for value in node.input]
        node.output[:] = [values[value] for value in node.output]
    names = [node.name for node in model.graph.node]
    if len(set(names)) != len(names) or len(set(values.values())) != len(values):
        raise RuntimeError("two nodes or values would share one name")


def export(model: nn.Module, path: Path) -> None:
    """Export in inference form with BatchNormalization kept as nodes of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, 1, 8, 8),),
            str(path),
            dynamo=False,
            # EVAL would fuse BatchNorm into the convolutions; PRESERVE follows model.eval() and does not.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    exported = onnx.load(path)
    unshare_initializers(exported)
    friendly_names(exported, {name for name, module in model.named_modules() if not list(module.children())})
    exported.graph.name = "digits"
    exported.doc_string = "8x8 digits classifier of the onnxprune project; see models/README.md."
    del exported.graph.value_info[:]
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def accuracy(path: Path, images: Array, labels: Labels) -> tuple[float, Array]:
    """Return the accuracy in ONNX Runtime, and the logits."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(["logits"], {"image": images})[0], dtype=np.float32)
    return float((logits.argmax(axis=1) == labels).mean()), logits


def main() -> None:
    """Train, export, save the two data files and print the figures that the README states."""
    parser = argparse.ArgumentParser(description="Train and export the digits classifier.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=60, help="training epochs")
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)

    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)

    train_x, train_y, test_x, test_y, calibration_x = load_splits()
    model = DigitsNet()
    started = time.perf_counter()
    train(model, train_x, train_y, epochs=args.epochs)
    print(f"trained on {len(train_x)} images in {time.perf_counter() - started:.0f} s")

    np.savez_compressed(out / "digits_calib.npz", image=calibration_x)
    np.savez_compressed(out / "digits_test.npz", image=test_x, label=test_y)
    export(model, out / "digits.onnx")

    with torch.no_grad():
        expected = model(torch.from_numpy(test_x)).numpy()
    score, logits = accuracy(out / "digits.onnx", test_x, test_y)
    difference = float(np.abs(logits - expected).max())
    if difference > 1e-3:
        raise RuntimeError(f"ONNX Runtime and PyTorch differ by {difference}")
    wrong = int((logits.argmax(axis=1) != test_y).sum())
    print(f"test accuracy in ONNX Runtime: {score:.4f} ({wrong} of {len(test_y)} wrong)")
    print(f"largest difference of logits from PyTorch: {difference:.2e}")
    print(f"trainable parameters: {sum(p.numel() for p in model.parameters())}")
    print(f"multiply-accumulates per image: {count_macs(model)}")
    for name in ("digits.onnx", "digits_calib.npz", "digits_test.npz"):
        data = (out / name).read_bytes()
        print(f"| `{name}` | {len(data)} | `{hashlib.sha256(data).hexdigest()}` |")


if __name__ == "__main__":
    main()
