"""Say what is in a picture: objects, scenes, faces, digits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.classification import Classification
from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples
from matinee.core.moment import Moment
from matinee.core.pieces import Gallery, Picture, Piece
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.splits import Splits, divide, equal_rows, remembered
from matinee.core.task import Batch, Data, Task
from matinee.media import picture_table
from matinee.media.picture_inputs import decode_many
from matinee.media.pictures import EXTENSIONS
from matinee.media.thumbnails import mirror_safe, thumbnail_prints

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.media.augment import Policy
    from matinee.nets.choices import PictureShape
    from matinee.nets.recipes import Recipe

NETWORKS = {
    **dict.fromkeys(("auto", "constant"), ()), "linear": ("logistic",), "mlp": (), "lenet": (), "small": ("cnn",),
    "residual": ("resnet", "resnext", "wideresnet"),
}  # fmt: skip
NEAR = 0.99  # cosine of two thumbnails; docs/decisions/near-duplicates.md has the figures behind it
LOOK = 4096  # training pictures that statistics and the whitening layer are computed from


@dataclass(frozen=True, kw_only=True)
class ImageClassification(Classification):
    """One label for a picture, out of the classes seen in training."""

    layout: ClassVar[str] = (
        "  photos/cat/1.jpg, photos/dog/2.png        a folder of class folders (or a .zip of it)\n"
        "  photos/train/cat/1.jpg, photos/test/...   the same, already split\n"
        "  labels.csv with the columns file,label    a table of files (CSV or JSONL)\n"
        "  train-images-idx3-ubyte.gz, ...           MNIST's files; data_batch_1, ...: CIFAR-10's"
    )
    samples: ClassVar[Mapping[str, str]] = picture_table.NAMES
    endings: ClassVar[frozenset[str]] = EXTENSIONS

    height: int = 0
    width: int = 0
    channels: int = 0

    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    dropout: float = setting(0.0, "dropout is a share of units", low=0, high=0.9)
    picture_size: int = setting(
        0,
        "shorter side in pixels at which larger pictures are learned (0: as they are, up to 160)",
        low=0,
        high=1024,
        reading=True,
    )
    progressive: bool | None = setting(None, "learn from small pictures first, whole ones last")
    flip: bool | None = setting(None, "mirror pictures left to right (auto: where a test finds it harmless)")
    crop: int | None = setting(None, "pixels by which pictures are shifted", low=0, high=256)
    scale: float | None = setting(None, "share by which pictures are enlarged or shrunk", low=0, high=0.9)
    rotate: float | None = setting(None, "degrees by which pictures are turned", low=0, high=180)
    colour: float | None = setting(None, "share by which brightness, contrast and colour vary", low=0, high=0.9)
    cutout: int | None = setting(None, "side in pixels of a square that is painted over", low=0, high=512)
    mixup: float | None = setting(
        None, "mix pairs of pictures, with a share from Beta(x, x) (0: never)", low=0, high=10
    )
    views: str = setting(
        "one", "two: average with the mirror image; six: and both shifted", choices=("one", "two", "six")
    )
    groups: str = setting(
        "", "regular expression: the part of a file name that must not be split, such as a person", reading=True
    )
    file_column: str = setting("", "column of a table that names the files", reading=True)
    label_column: str = setting("", "column of a table that holds the labels", reading=True)
    pixel_limit: float = setting(
        100.0, "megapixels beyond which a picture is refused", low=0.001, high=2000, reading=True
    )

    def __post_init__(self) -> None:
        if max(self.height, self.width) > 4096 or min(self.height, self.width, self.channels) < 0:
            raise SettingsError(f"pictures of {self.width} x {self.height} pixels: learned are at most 4096 x 4096.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Class folders, a table of picture files, idx or CIFAR files, a well-known name."""
        return picture_table.fits(source)

    @classmethod
    def lacks(cls, source: str) -> str | None:
        """Class folders, or a table that names the classes."""
        return picture_table.lacks(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The pictures of a source, decoded once, with its splits or with new ones."""
        request = picture_table.PictureRequest(
            height=self.height,
            width=self.width,
            channels=self.channels,
            longest=self.picture_size or picture_table.PictureRequest().longest,
            groups=self.groups,
            file_column=self.file_column,
            label_column=self.label_column,
            pixel_limit=int(self.pixel_limit * 1e6),
        )
        with progress.bar("reading", "pictures") as bar:
            table = picture_table.read_pictures(source, request, bar)
            height, width = self._kept(table)
            if (height, width) != table.columns["image"].shape[1:3]:
                smaller = dataclasses.replace(request, height=height, width=width)
                table = picture_table.read_pictures(source, smaller, bar)
        classes = self.classes or table.classes
        labels, strangers = picture_table.renumbered(table, classes)
        rows = table.good[labels[table.good] >= 0]
        columns = {"image": table.columns["image"], "label": labels, "group": table.columns["group"]}
        splits = self._divided(table, columns, rows)
        image = table.columns["image"]
        task = dataclasses.replace(
            self,
            classes=classes,
            counts=self.counts or tuple(np.bincount(labels[splits["train"]], minlength=len(classes)).tolist()),
            height=image.shape[1],
            width=image.shape[2],
            channels=image.shape[3],
        )
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        origin = picture_table.origin(source, table, strangers, rows)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _kept(self, table: picture_table.PictureTable) -> tuple[int, int]:
        """The height and width to learn at: smaller than stored where few, small pictures are best learned so."""
        from matinee.nets.choices import stored_size

        height, width, channels = table.columns["image"].shape[1:]
        if self.picture_size and not self.height:
            factor = min(1.0, self.picture_size / min(height, width))
            return max(4, round(height * factor)), max(4, round(width * factor))
        if self.height or self.network not in ("auto", "small"):
            return height, width
        return stored_size(height, width, channels, len(table.good))

    def _divided(
        self, table: picture_table.PictureTable, columns: Mapping[str, Array], rows: Array
    ) -> dict[str, Array]:
        shares = (self.valid_share, self.test_share, self.split_seed)

        def alike(chosen: Array) -> tuple[Array, Array]:
            prints, threshold = self.fingerprint(Examples(columns, chosen))
            return groups(prints, threshold), equal_rows(table.columns["sha256"][chosen])

        def find() -> dict[str, Array]:
            known = Splits(rows, table.columns["split"], columns["label"], table.columns["group"])
            return divide(known, alike, shares)

        words = f"{table.folder.name} {NEAR} {shares} ".encode()
        return remembered(sha256(words + rows.tobytes() + columns["label"].tobytes()).hexdigest()[:40], find)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Files whose content is no longer what it was."""
        told = picture_table.changed_since(source, manifest, self.file_column, self.label_column)
        # A file whose bytes could not be read then has no digest: nothing can be said of it.
        unread = {name for name, digest in manifest.items() if not digest.strip("0")}
        return {kind: [name for name in names if name not in unread] for kind, names in told.items()}

    def toy(self, seed: int = 0) -> Data:
        """Four classes: one quarter of a noisy grey picture is brighter."""
        generator = np.random.default_rng(seed)
        labels = np.arange(480) % 4
        image = generator.normal(90, 30, (480, 12, 12, 1))
        for row, label in enumerate(labels):
            down, across = divmod(int(label), 2)
            image[row, 6 * down : 6 * down + 6, 6 * across : 6 * across + 6] += 60
        columns: dict[str, Array] = {"image": image.clip(0, 255).astype(np.uint8), "label": labels.astype(np.int64)}
        task = dataclasses.replace(
            self, classes=("north-west", "north-east", "south-west", "south-east"), counts=(80,) * 4,
            height=12, width=12, channels=1, size="s" if self.network == "auto" else self.size,
        )  # fmt: skip
        examples = Examples.of(columns)
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> PictureShape:
        """What goes into the network and comes out."""
        from matinee.nets.choices import PictureShape

        return PictureShape(self.channels, self.height, self.width, len(self.classes))

    def choose(self, data: Data, minutes: float | None) -> ImageClassification:
        """Network and size by the shape and number of pictures; augmentation by the network's recipe."""
        from matinee.nets.choices import SIZES, check_growing, choose

        name, size = self.network, self.size
        if name == "auto":
            name, fitting = choose(
                self.shape, len(data.train), functools.partial(self._pixels, minutes) if minutes else None
            )
        else:
            sizes = SIZES[name]
            fitting = "m" if "m" in sizes else sizes[0]
        check_growing(name, bool(self.progressive))
        size = fitting if size == "auto" else size
        named = dataclasses.replace(self, network=name, size=size)
        recipe = named._recipe(len(data.train))
        flip = self.flip
        if flip is None:
            flip = recipe.flip and mirror_safe(data.train.array("image"), data.train.rows, data.train.column("label"))
        varied = ("progressive", "crop", "scale", "rotate", "colour", "cutout", "mixup", "label_smoothing")
        open_ = {field: getattr(recipe, field) for field in varied if getattr(self, field) is None}
        return dataclasses.replace(named, flip=flip, **open_)

    def _pixels(self, minutes: float) -> float:
        from matinee.core import processes
        from matinee.nets.pace import pace

        return 60 * minutes * processes.current().sums([pace(self.shape)])[0]

    def _recipe(self, examples: int) -> Recipe:
        from matinee.nets.recipes import recommend

        return recommend(self.network, self.size, self.shape, examples)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        return dataclasses.asdict(self._recipe(examples))

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.pictures import build

        size = "m" if self.size == "auto" else self.size
        return build(self.network, self.shape, size=size, dropout=self.dropout)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Brightness and contrast of the training pictures, and the whitening layer where there is one."""
        import torch

        from matinee.nets.pictures import PictureNetwork, whiten

        if not isinstance(network, PictureNetwork):
            return
        affordable = max(64, 2**28 // (4 * self.height * self.width * self.channels))  # a quarter of a GiB
        chosen = np.random.default_rng(0).permutation(len(examples))[: min(LOOK, affordable)]
        images = self.collate(examples.gather(np.sort(chosen))).inputs
        images = images.to(next(network.parameters()).device)
        with torch.no_grad():
            network.normalise.mean.copy_(images.mean((0, 2, 3))[:, None, None])
            network.normalise.deviation.copy_(images.std((0, 2, 3)).clamp(min=1e-3)[:, None, None])
        whiten(network, images)

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Temperature scaling (Guo et al., 2017) on the logits: answers stay as they are."""
        import torch

        from matinee.core.scores import temperature
        from matinee.nets.pictures import PictureNetwork

        if isinstance(network, PictureNetwork):
            with torch.no_grad():
                network.head.get_buffer("sharpness").div_(temperature(outputs.float(), targets))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """uint8 (batch, height, width, channels) -> float (batch, channels, height, width) from 0 to 1."""
        # The permuted view is channels-last already: nothing is copied but the change of type.
        return Batch(columns["image"].permute(0, 3, 1, 2).float().div_(255), columns["label"].long())

    @functools.cached_property
    def _policy(self) -> Policy:
        from matinee.media.augment import Policy

        return Policy.of(self)

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """Flips, shifts, scales, turns, recolours, paints over and mixes the pictures of a batch."""
        from matinee.media.augment import augment, grown, mixup

        turns = moment.alternately(batch.rows) if self.flip and batch.rows is not None else None
        factor = grown(moment.share) if self.progressive else 1.0
        inputs, targets = augment(batch.inputs, self._policy, moment, turns, factor), batch.targets
        if self.mixup:
            inputs, targets = mixup(inputs, targets, len(self.classes), self.mixup, moment)
        return batch if inputs is batch.inputs else Batch(inputs, targets, batch.rows)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The logits, averaged over the views of each picture."""
        if self.views == "one":
            return network(inputs)
        from matinee.media.augment import views

        return sum(share * network(view) for view, share in views(inputs, self.views))

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The logits for the one view that the step made."""
        return network(batch.inputs)

    def effort(self, share: float) -> float:
        """Smaller pictures are cheaper, nearly by their area."""
        from matinee.media.augment import grown

        return 0.1 + 0.9 * grown(share) ** 2 if self.progressive else 1.0

    # -- scores and answers

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails without brightness and contrast."""
        return thumbnail_prints(examples.array("image"), examples.rows), NEAR

    def simplest(self) -> Task | None:
        """Softmax regression on the pixels."""
        if self.network == "linear":
            return None
        facts: dict[str, Any] = {f: getattr(self, f) for f in ("classes", "counts", "height", "width", "channels")}
        return ImageClassification(**facts, network="linear", size="m")

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, bytes), arrays or Pillow images -> (batch, channels, height, width) from 0 to 1."""
        import torch

        pixels, errors = decode_many(raws, (self.height, self.width, self.channels), int(self.pixel_limit * 1e6))
        columns = {"image": torch.from_numpy(pixels), "label": torch.zeros(len(pixels))}
        return self.collate(columns).inputs, errors

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files as they are, folders as the pictures in them."""
        return picture_table.list_plain(places)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each picture with its answer."""
        pixels = (inputs.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().cpu().numpy()
        return [Gallery([Picture(p, w)]) for p, w in zip(pixels, self.answers_in_words(outputs), strict=True)]
