"""Say what every pixel of a picture shows: roads and scenes, cells, ground from above."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.pieces import Gallery, Picture, Piece
from matinee.core.progress import Progress
from matinee.core.settings import answering, setting
from matinee.core.splits import Splits, divide, equal_rows, remembered
from matinee.core.task import Batch, Data, Task
from matinee.media import mask_classes, mask_origin, mask_table
from matinee.media.mask_classes import VOID
from matinee.media.mask_scores import MaskMeter, enlarged
from matinee.media.thumbnails import thumbnail_prints

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.choices import PictureShape

NETWORKS = ("auto", "constant", "linear", "tiny", "light", "strong")
VIEWS = ("one", "two")
STEP = 32  # pixels: what the coarsest grid divides the sides of tiles by
NEAR = 0.99  # cosine of two thumbnails, as for pictures with one label
AT_ONCE = 2**21  # pixels that go through the network together where nothing is learned
COUNTED = 64  # masks that are counted together
LOOK = 64  # training pictures that the statistics of the colours are computed from
EVENING = 1.1  # the weights of classes are 1 / ln(1.1 + share): none is more than ten times another's


@dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """A class for every pixel, out of those in the masks that were learned from."""

    layout: ClassVar[str] = (
        "  images/1.jpg, masks/1.png                 pictures and masks of the same names, in folders or side by side\n"
        "  train/1.jpg, trainannot/1.png, ...        the same, already split (CamVid, Pascal VOC, Cityscapes)"
    )
    rivals: ClassVar[tuple[str, str]] = ("the most common class at each place", "colours and places alone (linear)")

    classes: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    colours: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    mask_colours: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    height: int = 0
    width: int = 0
    channels: int = 0

    network: str = setting("auto", "network", choices=NETWORKS)
    dropout: float = setting(0.1, "dropout is a share of channels before the last layer", low=0, high=0.9)
    picture_size: int = setting(
        0, "shorter side in pixels at which larger pictures are learned (0: up to 512)", low=0, high=2048, reading=True
    )
    tile: int = setting(
        0, "cut pictures, as large as they are, into tiles of so many pixels a side (0: shrink them)", low=0, high=2048,
        reading=True,
    )  # fmt: skip
    flip: bool = setting(True, "mirror every other picture left to right")
    zoom: float = setting(2.0, "factor by which pictures are enlarged or shrunk at most", low=1, high=8)
    views: str = answering(setting("one", "two: average with the mirror image, at twice the cost", choices=VIEWS))
    colour: float = setting(0.4, "share by which brightness, contrast and colour vary", low=0, high=0.9)
    progressive: bool = setting(True, "learn from parts of large pictures first, whole ones last")
    class_weights: str = setting("balanced", "balanced: rare classes count for more", choices=("none", "balanced"))
    label_smoothing: float = setting(0.0, "share of certainty taken from the true class", low=0, high=0.9)
    edge_weight: float = setting(0.0, "how much more pixels near an edge of classes count", low=0, high=20)
    class_list: str = setting("", "file with a class a line: name, or id name, or name,r,g,b", reading=True)
    ignore: str = setting("", "classes that are not learned: ids, names or colours, with commas", reading=True)
    groups: str = setting(
        "", "regular expression: the part of a file name that must not be split, such as a drive", reading=True
    )
    pixel_limit: float = setting(
        100.0, "megapixels beyond which a picture is refused", low=0.001, high=2000, reading=True
    )

    def __post_init__(self) -> None:
        if max(self.height, self.width) > 8192 or min(self.height, self.width, self.channels) < 0:
            raise SettingsError(f"pictures of {self.width} x {self.height} pixels: learned are at most 8192 x 8192.")
        if self.tile % STEP or (self.tile and self.picture_size):
            which = f"a multiple of {STEP}, or 0" if self.tile % STEP else "instead of --picture-size, not beside it"
            raise SettingsError(f"--tile {self.tile}: give {which}.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A folder or zip in which pictures and masks share their names."""
        return mask_table.fits(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The pictures of a source with their masks, decoded once, with its splits or with new ones."""
        request = mask_table.MaskRequest(
            self.height, self.width, self.channels, self.picture_size or mask_table.LONGEST,
            int(self.pixel_limit * 1e6), self.groups, self.mask_colours, self.tile,
        )  # fmt: skip
        with progress.bar("reading", "pictures") as bar:
            table = mask_table.read_masks(source, request, self.class_list, bar)
        numbers = table.columns["numbers"]
        known = mask_classes.Classes(self.classes, self.ids, self.colours, self.ignored)
        if not self.classes:
            counts = np.asarray(numbers[table.good]).sum(0, np.int64).tolist()
            try:
                present = mask_classes.meant(counts, table.listed, bool(table.colours))
                known = mask_classes.decide(present, table.listed, table.colours, self.ignore)
            except DataError as error:
                raise DataError(f"{source}: {error}") from None
        rows, strangers = mask_origin.usable(table, known)
        columns = {name: table.columns[name] for name in ("image", "mask", "group")}
        splits = self._divided(table, columns, rows)
        counted = np.asarray(numbers[splits["train"]], np.float64).sum(0)[list(known.ids)]
        shares = self.shares or tuple((counted / max(1.0, counted.sum())).round(6).tolist())
        _, height, width, channels = table.columns["image"].shape
        task = dataclasses.replace(
            self, classes=known.names, ids=known.ids, colours=known.colours, ignored=known.ignored, shares=shares,
            mask_colours=table.colours, height=height, width=width, channels=channels,
        )  # fmt: skip
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        told = dict(zip(known.names, shares, strict=True))
        origin = mask_origin.origin(source, table, strangers, rows, told)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _divided(self, table: mask_table.MaskTable, columns: Mapping[str, Array], rows: Array) -> dict[str, Array]:
        shares = (self.valid_share, self.test_share, self.split_seed)
        alone = np.zeros(len(table.columns["owner"]), np.int64)  # pictures belong to no class

        def alike(chosen: Array) -> tuple[Array, Array]:
            prints, threshold = self.fingerprint(Examples(columns, chosen))
            return groups(prints, threshold), equal_rows(table.columns["sha256"][chosen])

        def find() -> dict[str, Array]:
            return divide(Splits(rows, table.columns["split"], alone, table.columns["group"]), alike, shares)

        words = f"{table.folder.name} {NEAR} {shares} ".encode()
        return remembered(sha256(words + rows.tobytes()).hexdigest()[:40], find)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Pictures and masks whose content is no longer what it was."""
        return mask_origin.changed(source, manifest)

    def toy(self, seed: int = 0) -> Data:
        """A bright disc, a dark ring or neither on a slope of grey; the border of the picture has no class."""
        generator = np.random.default_rng(seed)
        count, side = 440, 24
        place = generator.uniform(7, side - 7, (2, count, 1, 1))
        down, across = (np.arange(side)[:, None] - place[0], np.arange(side) - place[1])
        distance, kind = np.hypot(down, across), np.arange(count)[:, None, None] % 3
        mask = np.where((distance < 5) & (kind == 0), 1, np.where((abs(distance - 5) < 2) & (kind == 1), 2, 0))
        grey = 90 + 50 * (mask == 1) - 50 * (mask == 2) + generator.normal(0, 12, mask.shape)
        image = (grey + np.linspace(-20, 20, side)).clip(0, 255).astype(np.uint8)[..., None]
        mask[:, 0] = VOID
        task = dataclasses.replace(
            self, classes=("ground", "disc", "ring"), ids=(0, 1, 2), colours=("#404040", "#e0c040", "#4060e0"),
            ignored=(VOID,), shares=(0.88, 0.05, 0.07), height=side, width=side, channels=1,
            network="tiny" if self.network == "auto" else self.network,
        )  # fmt: skip
        examples = Examples.of({"image": image, "mask": mask.astype(np.uint8)})
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 370), (370, 440)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> PictureShape:
        """What goes into the network and comes out."""
        from matinee.nets.choices import PictureShape

        return PictureShape(self.channels, self.height, self.width, len(self.classes))

    def choose(self, data: Data, minutes: float | None) -> Segmentation:
        """The light network, unless another is asked for."""
        return dataclasses.replace(self, network="light" if self.network == "auto" else self.network)

    def advice(self, examples: int) -> dict[str, Any]:
        """Muon with a running average; some twelve thousand steps' worth of pictures where they are few."""
        if self.network == "linear":
            return {"optimiser": "adamw", "learning_rate": 0.02, "batch_size": 8, "epochs": 10, "weight_decay": 0.0}
        if self.network == "tiny":
            return {"optimiser": "adamw", "learning_rate": 0.02, "batch_size": 32, "epochs": 20, "average": 0.9}
        return {
            "optimiser": "muon", "learning_rate": 0.02, "weight_decay": 0.1, "schedule": "linear", "warmup": 0.05,
            "batch_size": 8, "average": 0.99, "clip": 0.0, "epochs": max(10, -(-60_000 // max(1, examples))),
        }  # fmt: skip

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.segmenters import build_segmenter

        return build_segmenter("light" if self.network == "auto" else self.network, self.shape, dropout=self.dropout)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Brightness and contrast of the training pictures."""
        import torch

        from matinee.nets.pictures import Normalise

        layer = dict(network.named_children()).get("normalise")
        if isinstance(layer, Normalise) and len(examples):
            chosen = np.unique(np.linspace(0, len(examples) - 1, min(LOOK, len(examples))).astype(int))
            pixels = self.collate(examples.gather(chosen)).inputs
            with torch.no_grad():
                layer.mean.copy_(pixels.mean((0, 2, 3))[:, None, None])
                layer.deviation.copy_(pixels.std((0, 2, 3)).clamp(min=1e-3)[:, None, None])

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """uint8 (batch, height, width, channels) -> float channels first, from 0 to 1; numbers of masks -> classes."""
        import torch

        masks, count = columns["mask"], len(self.ids)
        if self.ids == tuple(range(count)):
            masks = masks.masked_fill(masks >= count, VOID)
        else:
            table = torch.full((256,), VOID, dtype=torch.uint8, device=masks.device)
            table[list(self.ids)] = torch.arange(count, dtype=torch.uint8, device=masks.device)
            masks = table[masks.int()]
        return Batch(columns["image"].permute(0, 3, 1, 2).float().div_(255), masks)

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """Pictures and masks mirrored, zoomed, cut and recoloured."""
        from matinee.media.mask_augment import MaskPolicy, part_at, vary

        share = part_at(moment.share) if self.progressive else 1.0
        policy = MaskPolicy(self.flip, self.zoom, self.colour)
        return Batch(*vary(batch.inputs, batch.targets, policy, moment, share), batch.rows)

    def effort(self, share: float) -> float:
        """A part of a picture is cheaper by its area."""
        from matinee.media.mask_augment import part_at, part_of

        size = (self.height, self.width)
        part = part_of(size, part_at(share) if self.progressive else 1.0)
        return part[0] * part[1] / max(1, size[0] * size[1])

    def at_once(self) -> int:
        """Fewer pictures the larger they are."""
        return min(256, max(1, AT_ONCE // max(1, self.height * self.width)))

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """Logits (batch, classes, h, w) on a grid coarser than the picture.

        Of pixels as they come, uint8 and of any size, the classes (batch, H, W), found in tiles.
        """
        import torch

        from matinee.nets.tiled import tiled

        if inputs.dtype == torch.uint8:
            return torch.stack([tiled(functools.partial(self._seen, network), one, self.tile) for one in inputs])
        return self._seen(network, inputs)

    def _seen(self, network: nn.Module, pictures: Tensor) -> Tensor:
        """Logits of a few pictures, averaged over their views."""
        logits: Tensor = network(pictures)
        return logits if self.views == "one" else (logits + network(pictures.flip(3)).flip(3)) / 2

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """All pictures of a step together."""
        return network(batch.inputs)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy of the pixels in the middle of each place of the grid; void counts as nothing."""
        from matinee.nets.mask_losses import PixelLoss

        return PixelLoss(self._costs(), self.label_smoothing, self.edge_weight)(outputs, batch.targets)

    def _costs(self) -> tuple[float, ...]:
        """How much a pixel of each class weighs, 1 on average (Paszke et al., 2016, ENet)."""
        if self.class_weights == "none" or not self.shares:
            return (1.0,) * len(self.classes)
        shares = np.array(self.shares)
        costs = 1 / np.log(EVENING + shares)
        return tuple((costs / (costs * shares).sum()).tolist())

    # -- scores and answers

    def meter(self) -> Meter:
        """Mean IoU first."""
        return MaskMeter(self.classes)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails without brightness and contrast; tiles of sky or sand are alike everywhere, and say nothing."""
        if self.tile:
            return np.zeros((len(examples), 1), np.float32), NEAR
        return thumbnail_prints(examples.array("image"), examples.rows), NEAR

    def trivial(self, train: Examples) -> Model:
        """The most common class at each place of the picture."""
        import torch

        from matinee.core.model import Model
        from matinee.nets.segmenters import COARSE

        task = dataclasses.replace(self, network="constant")
        network, masks = task.build(), train.array("mask")
        counts = torch.full_like(network.get_parameter("logits"), 1e-3)
        for first in range(0, len(train), COUNTED):
            part = masks[train.rows[first : first + COUNTED]][:, ::COARSE, ::COARSE]
            thin = torch.from_numpy(np.ascontiguousarray(part))
            told = self.collate({"image": torch.zeros(len(thin), 1, 1, 1), "mask": thin}).targets
            counts += torch.stack([(told == number).sum(0) for number in range(len(self.classes))])
        with torch.no_grad():
            network.get_parameter("logits").copy_((counts / counts.sum(0)).log())
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """Softmax regression on colours and places."""
        if self.network == "linear":
            return None
        facts = (f.name for f in dataclasses.fields(self) if "rule" not in f.metadata)
        return Segmentation(**{name: getattr(self, name) for name in facts}, network="linear", progressive=False)

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, bytes), arrays or Pillow images, stretched -> (batch, channels, height, width) from 0 to 1.

        Where tiles were learned, one as it is: uint8 (1, channels, its height, its width).
        """
        import torch

        from matinee.media.mask_files import stretched_many, whole

        limit = int(self.pixel_limit * 1e6)
        if self.tile:
            if len(raws) != 1:
                raise DataError("pictures of any size are answered for one by one")
            return torch.tensor(whole(raws[0], self.channels, limit)).permute(2, 0, 1)[None], {}
        pixels, errors = stretched_many(raws, (self.height, self.width, self.channels), limit)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255), errors

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The share of each class that is there, and the mask as a PNG in base64 whose numbers are classes."""
        from matinee.media.mask_pictures import in_words

        return [in_words(mask, self.classes, self.colours) for mask in self._masks(outputs)]

    def decode_for(self, outputs: Any, inputs: Tensor, raws: Sequence[Any]) -> list[dict[str, Any]]:
        """The same in the size of the pictures that were given."""
        from matinee.media.mask_files import own_size, shrunk
        from matinee.media.mask_pictures import in_words

        sizes = [own_size(raw, int(self.pixel_limit * 1e6)) for raw in raws]
        told = zip(self._masks(outputs), sizes, strict=True)
        return [in_words(shrunk(mask, size or mask.shape), self.classes, self.colours) for mask, size in told]

    def _masks(self, outputs: Any) -> Array:
        """The classes of all pixels, uint8 (batch, height, width)."""
        found = outputs if outputs.dim() == 3 else enlarged(outputs, (self.height, self.width))
        return found.cpu().numpy()

    def files(self, answer: Mapping[str, Any]) -> dict[str, bytes]:
        """The mask as a PNG with a palette, and the picture with the mask over it."""
        from matinee.media.mask_pictures import written

        return written(answer, self.colours, int(self.pixel_limit * 1e6))

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files as they are, folders as the pictures in them."""
        from matinee.media.picture_changes import list_plain

        return list_plain(places)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each picture with the colours of its classes over it."""
        from matinee.media.mask_pictures import overlay

        drawn = zip(_pixels(inputs), self._masks(outputs), strict=True)
        return [Gallery([Picture(overlay(pixels, mask, self.colours))]) for pixels, mask in drawn]

    def show_scored(self, outputs: Any, batch: Batch) -> list[Piece]:
        """Each picture as it was found, as it is, and where the two differ."""
        from matinee.media.mask_pictures import compared

        drawn = zip(_pixels(batch.inputs), self._masks(outputs), batch.targets.cpu().numpy(), strict=True)
        return [compared(*each, self.colours) for each in drawn]

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """What the colours mean."""
        from matinee.media.mask_pictures import legend

        return [legend(self.classes, self.colours)]


def _pixels(inputs: Tensor) -> Array:
    """uint8 (N, height, width, channels)."""
    pixels: Array = (inputs.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    return pixels
