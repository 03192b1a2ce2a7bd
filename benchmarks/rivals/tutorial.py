"""PyTorch's CIFAR-10 tutorial: its net, its loop, its settings; a data set over the folder of JPEG files.

    python tutorial.py FOLDER [--epochs 2] [--steps N]

FOLDER has train/<class>/*.jpg and test/<class>/*.jpg. Two workers, batches of 4, SGD 0.001 with momentum 0.9, 2 epochs.
"""
# ruff: noqa: E402

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import itertools

import torch
from pictures import PictureFolder, share_right, tell
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader


class Net(nn.Module):
    """The tutorial's net, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(functional.relu(self.conv1(x)))
        x = self.pool(functional.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.fc3(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None, help="stop each epoch after so many steps")
    asked = parser.parse_args()
    half = (0.5, 0.5, 0.5)
    trainset = PictureFolder(asked.folder, "train", half, half)
    testset = PictureFolder(asked.folder, "test", half, half)
    trainloader = DataLoader(trainset, batch_size=4, shuffle=True, num_workers=2)
    testloader = DataLoader(testset, batch_size=4, shuffle=False, num_workers=2)
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    began, steps = time.perf_counter(), 0
    for epoch in range(asked.epochs):
        running_loss = 0.0
        for i, (inputs, labels) in enumerate(itertools.islice(trainloader, asked.steps)):
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            steps += 1
            if i % 2000 == 1999:
                print(f"[{epoch + 1}, {i + 1:5d}] loss: {running_loss / 2000:.3f}")
                running_loss = 0.0
    training = time.perf_counter() - began
    accuracy = share_right(net, testloader)
    tell(
        seconds_training=training,
        seconds_whole=time.perf_counter() - BEGAN,
        accuracy=accuracy,
        examples_per_second=4 * steps / training,
        steps=steps,
    )


if __name__ == "__main__":
    main()
