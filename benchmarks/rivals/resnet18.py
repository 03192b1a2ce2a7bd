"""ResNet-18 with the stem for small pictures, in fp32, as a plain PyTorch user trains it.

    python resnet18.py FOLDER [--epochs 8] [--steps N]

A data set over the folder, a DataLoader with 2 workers, crop and mirror, SGD 0.1 with momentum 0.9 and weight decay
5e-4, a cosine, batches of 128. With --steps it stops there, tells the rate, and says what `--epochs` would have taken.
"""
# ruff: noqa: E402

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import statistics

import torch
from pictures import PictureFolder, share_right, tell
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

BATCH = 128
UNTIMED = 3  # first steps, which pay for the workers' start


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """Four groups of two blocks behind a 3x3 convolution."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        blocks, inputs = [], 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks, self.linear = nn.Sequential(*blocks), nn.Linear(512, classes)

    def forward(self, x):
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        return self.linear(x.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=8, help="length of the schedule")
    parser.add_argument("--steps", type=int, default=None, help="stop after so many steps and extrapolate")
    asked = parser.parse_args()
    train, test = PictureFolder(asked.folder, "train", varied=True), PictureFolder(asked.folder, "test")
    loader = DataLoader(train, batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True)
    network, criterion = ResNet18(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    total = asked.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    began, times = time.perf_counter(), []

    def stepped() -> None:
        last = time.perf_counter()
        for _ in range(asked.epochs):
            network.train()
            for inputs, labels in loader:
                optimizer.zero_grad()
                criterion(network(inputs), labels).backward()
                optimizer.step()
                scheduler.step()
                times.append(time.perf_counter() - last)
                last = time.perf_counter()
                if len(times) == asked.steps:
                    return

    stepped()
    training = time.perf_counter() - began
    per_step = statistics.median(times[UNTIMED:] or times)
    whole = len(times) == total
    accuracy = share_right(network, DataLoader(test, batch_size=500, num_workers=2)) if whole else None
    tell(
        seconds_training=training,
        seconds_whole=time.perf_counter() - BEGAN,
        accuracy=accuracy,
        examples_per_second=BATCH / per_step,
        steps=len(times),
        extrapolated=not whole,
        seconds_of_all_epochs=training if whole else per_step * total,
        epochs=asked.epochs,
    )


if __name__ == "__main__":
    main()
