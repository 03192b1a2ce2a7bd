"""Made-up pictures with boxes, learnable in seconds."""

from __future__ import annotations

import numpy as np

from matinee.core.examples import Array

SIDE = 48


def pictures_with_boxes(count: int, seed: int) -> tuple[Array, list[Array], list[Array]]:
    """uint8 (count, 48, 48, 1); boxes (k, 4) float32 and labels (k,) of each: 1 a bright square, 2 a dark disc."""
    generator = np.random.default_rng(seed)
    pictures = generator.normal(120, 12, (count, SIDE, SIDE))
    down, across = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    boxes, labels = [], []
    for picture in pictures:
        corners = generator.permutation([(0, 0), (0, 1), (1, 0), (1, 1)])[: generator.integers(1, 4)]
        mine, kinds = [], []
        for row, column in corners * (SIDE // 2):
            side = int(generator.integers(12, 22))
            left, top = (int(generator.integers(0, SIDE // 2 - side + 1)) + start for start in (column, row))
            kind = int(generator.integers(1, 3))
            if kind == 1:
                picture[top : top + side, left : left + side] += 70
            else:
                far = np.hypot(across - left - side / 2, down - top - side / 2)
                picture[far <= side / 2] -= 70
            mine.append((left, top, left + side, top + side))
            kinds.append(kind)
        boxes.append(np.array(mine, np.float32))
        labels.append(np.array(kinds, np.int16))
    return pictures.clip(0, 255).astype(np.uint8)[..., None], boxes, labels
