"""What the rival scripts share: pictures out of class folders, and the one line of JSON at the end."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)


def listed(folder: str, split: str) -> list[tuple[Path, int]]:
    """Files and class numbers of folder/split/<class>/*, in the order of their names."""
    classes = sorted(path for path in (Path(folder) / split).iterdir() if path.is_dir())
    return [(file, number) for number, room in enumerate(classes) for file in sorted(room.iterdir())]


def opened(path: Path) -> np.ndarray:
    """One picture, uint8 (height, width, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


def load_all(folder: str, split: str) -> tuple[Tensor, Tensor]:
    """All pictures in memory, decoded by as many processes as there are cores: uint8 (N, 3, H, W), int64 (N,)."""
    files = listed(folder, split)
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        pictures = pool.map(opened, [path for path, _ in files], chunksize=500)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor([label for _, label in files])


class PictureFolder(Dataset):
    """The map-style data set that everyone writes: one file opened for one item."""

    def __init__(self, folder: str, split: str, mean=MEAN, deviation=DEVIATION, varied: bool = False) -> None:
        self.files, self.varied = listed(folder, split), varied
        self.mean, self.deviation = (torch.tensor(values).view(3, 1, 1) for values in (mean, deviation))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, label = self.files[number]
        picture = torch.from_numpy(opened(path).copy()).permute(2, 0, 1).float().div(255)
        picture = (picture - self.mean) / self.deviation
        if self.varied:  # padding by 4, a random crop, a mirror image every other time
            side = picture.shape[1]
            picture = torch.nn.functional.pad(picture, (4, 4, 4, 4))
            down, across = torch.randint(0, 9, (2,)).tolist()
            picture = picture[:, down : down + side, across : across + side]
            if torch.rand(()) < 0.5:
                picture = picture.flip(2)
        return picture, label


@torch.no_grad()
def share_right(network: torch.nn.Module, loader) -> float:
    """Accuracy over a loader of (pictures, labels)."""
    network.eval()
    right = count = 0
    for pictures, labels in loader:
        right += (network(pictures).argmax(1) == labels).sum().item()
        count += len(labels)
    return right / count


def tell(**figures: object) -> None:
    """The script's answer: its last line."""
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), **figures}), flush=True)
