"""Find things in a picture and say where they are: vehicles, people, faces, cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Column, Examples, Ragged
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.pieces import Gallery, Piece
from matinee.core.progress import Progress
from matinee.core.settings import answering, setting
from matinee.core.task import Batch, Data, Task
from matinee.media import boxes_table
from matinee.media.boxes import usual_boxes
from matinee.media.boxes_toy import pictures_with_boxes
from matinee.media.thumbnails import knows_up, thumbnail_prints

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.choices import PictureShape
    from matinee.nets.detector_recipes import DetectorRecipe

NEAR = 0.99  # cosine of two thumbnails; docs/decisions/near-duplicates.md has the figures behind it
LOOK = 1024  # training pictures that statistics are computed from
AT_ONCE = 2**22  # pixels that are answered for at once: features of whole batches of photographs take gigabytes


@dataclass(frozen=True, kw_only=True)
class ObjectDetection(Task):
    """Boxes around things of the classes seen in training, each with how likely it is right."""

    exacting: ClassVar[int] = 1
    rivals: ClassVar[tuple[str, str]] = ("the same boxes for every picture", "linear network")
    layout: ClassVar[str] = (
        "  JPEGImages/1.jpg, Annotations/1.xml       boxes as PASCAL VOC, YOLO, KITTI or CSV write them,\n"
        "  images/1.jpg, labels/1.txt, data.yaml     beside their pictures,\n"
        "  annotations.json with images, categories  or as COCO does"
    )

    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    pictures: int = 0
    height: int = 0
    width: int = 0
    channels: int = 0

    network: str = setting("auto", "network", choices=("auto", "constant", "linear", "pyramid", "residual"))
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    picture_size: int = setting(
        0, "longer side in pixels at which pictures are learned (0: by the smallest things)", low=0, high=2048,
        reading=True,
    )  # fmt: skip
    mirror: str = setting(
        "auto", "how pictures are mirrored (auto: by whether a test knows which side is up)",
        choices=("auto", "none", "sideways", "both"),
    )  # fmt: skip
    mosaic: float = setting(0.0, "share of the pictures that are made of four", low=0, high=1)
    zoom: float | None = setting(None, "share by which pictures are enlarged or shrunk", low=0, high=3)
    shift: float | None = setting(None, "share of their sides by which pictures are moved", low=0, high=0.5)
    colour: float | None = setting(None, "share by which brightness, contrast and colour vary", low=0, high=0.9)
    threshold: float = answering(setting(0.5, "least probability of a box that is told", low=0.001, high=0.999))
    overlap: float = answering(
        setting(0.6, "share of both together from which on two boxes are one", low=0.05, high=0.95)
    )
    most: int = answering(setting(100, "most boxes told of a picture", low=1, high=300))
    pixel_limit: float = setting(
        100.0, "megapixels beyond which a picture is refused", low=0.001, high=2000, reading=True
    )

    def __post_init__(self) -> None:
        if max(self.height, self.width) > 4096 or min(self.height, self.width, self.channels, self.pictures) < 0:
            raise SettingsError(f"pictures of {self.width} x {self.height} pixels: learned are at most 4096 x 4096.")
        if len(self.counts) not in (0, len(self.classes)):
            raise SettingsError(f"{len(self.counts)} numbers of boxes for {len(self.classes)} classes.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Files that tell boxes, beside their pictures."""
        return boxes_table.fits(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The pictures of a source, decoded once, and their boxes, with its splits or with new ones."""
        shape, limit = (self.height, self.width, self.channels), int(self.pixel_limit * 1e6)
        request = boxes_table.BoxRequest(shape, self.picture_size, limit)
        with progress.bar("reading", "pictures") as bar:
            table = boxes_table.read_boxes(source, request, bar)
        within = boxes_table.seen_of(table.image, table.size)
        classes = self.classes or table.classes
        columns, strangers = table.numbered(classes)
        shares = (self.valid_share, self.test_share, self.split_seed)

        def prints(rows: Array) -> tuple[Array, float]:
            return thumbnail_prints(table.image, rows, within), NEAR

        splits = boxes_table.divided(table, columns, prints, shares)
        height, width, channels = table.image.shape[1:]
        task = dataclasses.replace(self, classes=classes, height=height, width=width, channels=channels)
        parts = {name: Examples(columns, rows) for name, rows in splits.items()}
        if not self.counts:
            task = dataclasses.replace(task, **task._numbers(parts["train"]))
        return Data(task, parts["train"], parts["valid"], parts["test"], table.origin(source, classes, strangers))

    def _numbers(self, train: Examples) -> dict[str, Any]:
        """How many boxes of each class there are to learn from, and on how many pictures."""
        column = train.ragged("label")
        kinds = np.concatenate([column[int(row)] for row in train.rows]) if len(train) else np.zeros(0, np.int64)
        counts = np.bincount(kinds[kinds > 0].astype(np.int64), minlength=len(self.classes) + 1)[1:]
        return {"counts": tuple(counts.tolist()), "pictures": len(train)}

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Pictures whose bytes or boxes are no longer what they were."""
        return boxes_table.changed_since(source, manifest)

    def toy(self, seed: int = 0) -> Data:
        """Bright squares and dark discs, one to three on a noisy grey picture."""
        image, boxes, labels = pictures_with_boxes(480, seed)
        columns: dict[str, Column] = {
            "image": image, "size": np.full((len(image), 2), image.shape[1], np.int32),
            "boxes": Ragged.of(boxes, np.float32), "label": Ragged.of(labels, np.int16),
        }  # fmt: skip
        examples = Examples.of(columns)
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        height, width, channels = image.shape[1:]
        task = dataclasses.replace(
            self, classes=("square", "disc"), height=height, width=width, channels=channels,
            size="s" if self.network == "auto" else self.size, most=min(self.most, 20),
        )  # fmt: skip
        return Data(dataclasses.replace(task, **task._numbers(train)), train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> PictureShape:
        """What goes into the network and comes out."""
        from matinee.nets.choices import PictureShape

        return PictureShape(self.channels, self.height, self.width, len(self.classes))

    def choose(self, data: Data, minutes: float | None) -> ObjectDetection:
        """Network and size by the pictures; augmentation by the network's recipe and by which way is up."""
        from matinee.nets.detector_recipes import SMALL_SIDE

        small = max(self.height, self.width) <= SMALL_SIDE
        name = "pyramid" if self.network == "auto" else self.network
        size = ("s" if small else "m") if self.size == "auto" else self.size
        task = dataclasses.replace(self, network=name, size=size)
        recipe = task._recipe(len(data.train))
        mirror = self.mirror
        if mirror == "auto":
            turned = len(data.train) > 0 and not knows_up(*boxes_table.seen(data.train))
            mirror = "none" if small else "both" if turned else "sideways"
        open_ = {f: getattr(recipe, f) for f in ("zoom", "shift", "colour") if getattr(self, f) is None}
        return dataclasses.replace(task, mirror=mirror, **open_)

    def _recipe(self, examples: int) -> DetectorRecipe:
        from matinee.nets.detector_recipes import recommend

        return recommend(self.network, max(self.height, self.width), self.channels == 3, examples)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        return dataclasses.asdict(self._recipe(examples))

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.detectors import build

        network = "pyramid" if self.network == "auto" else self.network
        return build(network, self.shape, size="m" if self.size == "auto" else self.size)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Brightness and contrast of the training pictures."""
        import torch

        from matinee.nets.detectors import Detector

        if not isinstance(network, Detector):
            return
        affordable = max(16, 2**28 // (4 * self.height * self.width * self.channels))  # a quarter of a GiB
        chosen = np.random.default_rng(0).permutation(len(examples))[: min(LOOK, affordable)]
        pixels = self.collate(examples.gather(np.sort(chosen))).inputs[:, :-1]
        with torch.no_grad():
            network.normalise.mean.copy_(pixels.mean((0, 2, 3))[:, None, None])
            network.normalise.deviation.copy_(pixels.std((0, 2, 3)).clamp(min=1e-3)[:, None, None])

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Platt scaling (1999): of the boxes told with a probability of .7, seven in ten are to be right."""
        import torch

        from matinee.nets.detector_confidence import honest
        from matinee.nets.detectors import Detector

        if isinstance(network, Detector):
            told, right, passed = self._judged(outputs, targets, torch.tensor([0.5], device=outputs.device))
            slope, shift = honest(told, right[0, ..., 0], passed[0, ..., 0], len(self.classes))
            with torch.no_grad():
                network.head.get_buffer("slope").mul_(slope)
                network.head.get_buffer("shift").mul_(slope).add_(shift)

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Pixels from 0 to 1 and a plane of scale (batch, channels + 1, height, width); boxes in the pictures' pixels.

        The plane says how many pixels of the picture itself one pixel here stands for, and 0 where there is none: only
        so can an answer be told in the picture's own pixels.
        """
        import torch

        image, size = columns["image"], columns["size"].float()
        count, height, width, channels = image.shape
        # Plane by plane: what is varied and what is measured afterwards runs along rows.
        whole = image.new_empty((count, channels + 1, height, width), dtype=size.dtype)
        torch.mul(image.permute(0, 3, 1, 2), 1 / 255, out=whole[:, :-1])
        factor = (size.new_tensor([width, height]) / size).amin(1, keepdim=True)
        inside = (size * factor).round()
        across, down = (
            size.new_tensor(range(length))[None] < inside[:, axis, None] for axis, length in enumerate((width, height))
        )
        whole[:, -1] = (down[:, :, None] & across[:, None]) / factor[:, :, None]
        targets = {"boxes": columns["boxes"].float(), "label": columns["label"].long()}
        return Batch(whole, targets)

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """Zooms, shifts, mirrors, joins and recolours pictures; boxes move along."""
        from matinee.media.boxes_augment import BoxPolicy, vary

        targets = batch.targets
        inputs, boxes, labels = vary(batch.inputs, targets["boxes"], targets["label"], BoxPolicy.of(self), moment)
        return Batch(inputs, {"boxes": boxes, "label": labels}, batch.rows)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """(batch, places, 4 + classes): the likeliest boxes, in pixels of the pictures themselves, and their logits."""
        import torch

        from matinee.nets.boxes import likeliest
        from matinee.nets.detectors import within

        some = max(1, AT_ONCE // (self.height * self.width))
        return torch.cat([within(likeliest(network(part)), part) for part in torch.split(inputs, some)])

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The answers of all places."""
        return network(batch.inputs)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Which class is where, and how far its box is from the true one."""
        from matinee.nets.detector_loss import loss_of

        usual = sum(self.counts) / max(1, self.pictures)
        return loss_of(outputs.float(), batch.inputs, batch.targets["boxes"], batch.targets["label"], usual)

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """Outputs one after the other; targets too, padded to the most boxes of a picture."""
        import torch
        from torch.nn.functional import pad

        if not isinstance(outputs[0], Mapping):
            return torch.cat(list(outputs))
        most = max(each["label"].shape[1] for each in outputs)
        rooms = [most - each["label"].shape[1] for each in outputs]
        return {
            "boxes": torch.cat([pad(e["boxes"], (0, 0, 0, r)) for e, r in zip(outputs, rooms, strict=True)]),
            "label": torch.cat([pad(e["label"], (0, r)) for e, r in zip(outputs, rooms, strict=True)]),
        }

    def merge(self, outputs: Sequence[Any]) -> Any:
        """All boxes of all networks: those that repeat each other become one when they are told."""
        import torch

        return torch.cat(list(outputs), 1)

    def logits(self, outputs: Any) -> Tensor:
        """(batch, places, classes)."""
        logits: Tensor = outputs[..., 4:]
        return logits

    # -- scores and answers

    def _found(self, outputs: Any) -> Tensor:
        from matinee.nets.boxes import found

        return found(outputs, self.most, self.overlap)

    def _judged(
        self, outputs: Any, targets: Any, thresholds: Tensor, spans: Sequence[tuple[float, float]] = ((0.0, np.inf),)
    ) -> tuple[Tensor, Tensor, Tensor]:
        from matinee.nets.boxes import judged

        told = self._found(outputs)
        return told, *judged(told, targets["boxes"], targets["label"], thresholds, spans)

    def meter(self) -> Meter:
        """COCO's average precision first."""
        from matinee.media.boxes_scores import BoxMeter

        return BoxMeter(self.classes, self._judged, self.threshold)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails without brightness and contrast."""
        return thumbnail_prints(*boxes_table.seen(examples)), NEAR

    def trivial(self, train: Examples) -> Model:
        """Boxes of each class's usual size, side by side, likelier where such things often are."""
        import torch

        from matinee.core.model import Model

        task = dataclasses.replace(self, network="constant", size="m")
        network = task.build()
        boxes, logits = usual_boxes(train, len(self.classes), len(network.get_parameter("boxes")))
        with torch.no_grad():
            network.get_parameter("boxes").copy_(torch.from_numpy(boxes))
            network.get_parameter("logits").copy_(torch.from_numpy(logits))
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """A product with the pixels around each place."""
        if self.network == "linear":
            return None
        plain = dataclasses.replace(self, network="linear", size="m", mirror="none")
        return dataclasses.replace(plain, mosaic=0.0, zoom=0.0, shift=0.0, colour=0.0)

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, bytes), arrays or Pillow images -> (batch, channels + 1, height, width), as `collate` says."""
        import torch

        shape, limit = (self.height, self.width, self.channels), int(self.pixel_limit * 1e6)
        pixels, sizes, errors = boxes_table.decode_whole(raws, shape, limit)
        none = torch.zeros(len(pixels), 1)
        columns = {"image": torch.from_numpy(pixels), "size": torch.from_numpy(sizes), "label": none}
        return self.collate({**columns, "boxes": none[..., None].expand(-1, -1, 4)}).inputs, errors

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """Each box that is likely enough, with its class and its sides in pixels of the picture."""
        answers = []
        for rows in self._found(outputs).cpu().tolist():
            told = [
                {
                    "label": self.classes[round(row[5]) - 1],
                    "probability": round(row[4], 6),
                    "box": [round(side, 1) for side in row[:4]],
                }
                for row in rows
                if row[4] >= self.threshold
            ]
            answers.append({"found": len(told), "boxes": told})
        return answers

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files as they are, folders as the pictures in them."""
        return boxes_table.list_plain(places)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each picture with the boxes found on it."""
        return self._drawn(inputs, outputs, None)

    def show_scored(self, outputs: Any, batch: Batch) -> list[Piece]:
        """The same with the true boxes: those that were missed, and found ones that are wrong, are called so."""
        return self._drawn(batch.inputs, outputs, batch.targets)

    def _drawn(self, inputs: Tensor, outputs: Any, targets: Mapping[str, Tensor] | None) -> list[Piece]:
        import torch

        from matinee.media.boxes_pictures import shown
        from matinee.nets.boxes import mistakes

        pixels = (inputs.permute(0, 2, 3, 1).clamp(min=0)).float().cpu().numpy()
        found = self._found(outputs).cpu()
        found[found[..., 4] < self.threshold] = 0
        boxes, labels = torch.zeros(len(found), 0, 4), torch.zeros(len(found), 0, dtype=torch.int64)
        if targets is not None:
            boxes, labels = targets["boxes"].cpu(), targets["label"].cpu()
        called, missed = mistakes(found, boxes, labels)
        true = boxes.numpy(), labels.numpy(), missed.numpy()
        pictures = shown(pixels, found.numpy(), (called * (targets is not None)).numpy(), true, self.classes)
        return [Gallery([picture], picture.words) for picture in pictures]

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """The picture of an answer with its boxes drawn, as JPEG. Raises DataError where it is not there any more."""
        from matinee.media.boxes_pictures import drawn_on

        return {".jpg": drawn_on(answer["file"], answer["boxes"], self.classes, int(self.pixel_limit * 1e6))}

    def at_once(self) -> int:
        """Features of large pictures take gigabytes."""
        return min(64, max(1, AT_ONCE // max(1, self.height * self.width)))

    def calibrated_on(self) -> int:
        """300 boxes of each are kept until then."""
        return 1024
