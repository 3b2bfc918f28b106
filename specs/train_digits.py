"""Trains the network of digits.toml and writes the parameters that the spec names.

The network is a small Inception: a stem, two modules of four branches (1x1, 3x3, 5x5, pool) joined by concatenation,
and a classifier, with a BatchNorm behind every convolution.  It reads scikit-learn's handwritten digits as they are,
8x8 pixels from 0 to 16: scaling the input is the work of the first BatchNorm, so an application feeds raw pixels.

The parameters are saved as trained, un-folded; folding is what clgen is for.  Channel counts are multiples of 8, the
vector width of clgen's layout, so that its packing adds no padding, and few enough that the whole network still fits
in constant tables that a person can read.

    pip install 'clgen[train]'
    python specs/train_digits.py

Writes, beside this file:
    digits.safetensors          float32 parameters under PyTorch's names, convolutions OIHW
    digits_heldout.safetensors  image: float32 [360, 1, 8, 8], raw; label: int32 [360]; never seen in training

Settings are chosen on a validation part of the training images; the held-out images are scored once, at the end.
Seeds and splits are fixed: the same machine and library versions give the same bytes.  About four minutes on one core.
"""

import sys
from pathlib import Path
from typing import NamedTuple

try:
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from torch import Tensor, nn
    from torch.nn import functional
except ModuleNotFoundError as error:
    sys.exit(f"train_digits.py: no module {error.name!r}; install what training needs: pip install 'clgen[train]'")

HERE = Path(__file__).resolve().parent
HELD_OUT = 360
VALIDATION = 360
BATCH = 64


class Settings(NamedTuple):
    epochs: int
    learning_rate: float  # the peak of the one-cycle schedule
    weight_decay: float


CANDIDATES = (
    Settings(epochs=40, learning_rate=0.01, weight_decay=0.1),
    Settings(epochs=80, learning_rate=0.005, weight_decay=0.01),
    Settings(epochs=80, learning_rate=0.01, weight_decay=0.1),
)
SELECTION_SEEDS = (1, 2)
FINAL_SEED = 0


class Conv(nn.Conv2d):
    """Bias-free convolution, BatchNorm, ReLU.  The BatchNorm is a child, hence `<name>.weight`, `<name>.bn.weight`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, epsilon: float = 1e-5) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(super().forward(x)))


class Reduced(nn.Module):
    """A 1x1 convolution that narrows the input of the larger one behind it."""

    def __init__(self, inputs: int, narrow: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.reduce = Conv(inputs, narrow, 1)
        self.conv = Conv(narrow, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.reduce(x))


class Mix(nn.Module):
    """Four views of one neighbourhood, [N, inputs, H, W] -> [N, 40, H, W]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.b1 = Conv(inputs, 8, 1)
        self.b3 = Reduced(inputs, 8, 16, 3)
        self.b5 = Reduced(inputs, 8, 8, 5)
        self.project = Conv(inputs, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat((self.b1(x), self.b3(x), self.b5(x), self.project(pooled)), dim=1)


class Digits(nn.Module):
    """[N, 1, 8, 8] raw pixels -> [N, 10] logits; digits.toml adds the softmax, which training has in its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(1, 16, 3, epsilon=1e-3)
        self.mix1 = Mix(16)
        self.mix2 = Mix(40)
        self.classifier = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.mix1(self.stem(x)), 2)
        return self.classifier(self.mix2(x).mean(dim=(2, 3)))


class Samples(NamedTuple):
    image: Tensor  # float32 [N, 1, 8, 8], 0 to 16
    label: Tensor  # int64 [N]

    def split(self, second: int) -> tuple["Samples", "Samples"]:
        """Splits off `second` samples, with the classes in equal shares; always the same ones."""
        indices = np.arange(len(self.label))
        first, rest = train_test_split(indices, test_size=second, stratify=self.label.numpy(), random_state=0)
        return Samples(self.image[first], self.label[first]), Samples(self.image[rest], self.label[rest])


def load_samples() -> Samples:
    digits = load_digits()
    image = torch.from_numpy(digits.images.astype(np.float32)).unsqueeze(1)
    return Samples(image, torch.from_numpy(digits.target.astype(np.int64)))


def shift(image: Tensor) -> Tensor:
    """Moves each image by -1, 0 or 1 pixels along both axes; background comes in at the border."""
    count, _, height, width = image.shape
    dy, dx = torch.randint(0, 3, (2, count, 1))
    rows = (dy + torch.arange(height)).unsqueeze(2)
    columns = (dx + torch.arange(width)).unsqueeze(1)
    padded = functional.pad(image, (1, 1, 1, 1)).squeeze(1)
    return padded[torch.arange(count).view(-1, 1, 1), rows, columns].unsqueeze(1)


def train(samples: Samples, settings: Settings, seed: int) -> Digits:
    torch.manual_seed(seed)
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=settings.weight_decay)
    steps = len(samples.label) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, epochs=settings.epochs, steps_per_epoch=steps
    )
    model.train()
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        # What does not fill a batch waits for the next epoch's order: a tiny batch would disturb the statistics.
        for batch in torch.randperm(len(samples.label))[: steps * BATCH].split(BATCH):
            logits = model(shift(samples.image[batch]))
            loss = functional.cross_entropy(logits, samples.label[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 20 == 0:
            report(f"  epoch {epoch}/{settings.epochs}: loss {total / steps:.4f}")
    return model.eval()


@torch.no_grad()
def count_right(model: Digits, samples: Samples) -> int:
    return int((model(samples.image).argmax(dim=1) == samples.label).sum())


def choose_settings(samples: Samples) -> Settings:
    """The candidate with the most right answers on the validation part, summed over the seeds; ties: the first."""
    fit, validation = samples.split(VALIDATION)
    right = {}
    for settings in CANDIDATES:
        report(f"{settings}, {len(fit.label)} images")
        right[settings] = sum(count_right(train(fit, settings, seed), validation) for seed in SELECTION_SEEDS)
        report(f"  validation accuracy {right[settings] / (VALIDATION * len(SELECTION_SEEDS)):.2%}")
    return max(CANDIDATES, key=right.__getitem__)


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    # One thread, so that sums are formed in one order.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    training, held_out = load_samples().split(HELD_OUT)
    settings = choose_settings(training)
    report(f"final: {settings}, {len(training.label)} images")
    model = train(training, settings, FINAL_SEED)

    parameters = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(parameters, HERE / "digits.safetensors")
    save_file({"image": held_out.image, "label": held_out.label.to(torch.int32)}, HERE / "digits_heldout.safetensors")
    right = count_right(model, held_out)
    print(f"held-out accuracy {right / HELD_OUT:.2%} ({right} of {HELD_OUT})")


if __name__ == "__main__":
    main()
