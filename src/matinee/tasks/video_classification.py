"""Say what happens in a film: actions, events, emotions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.classification import Classification
from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.pieces import Film, Piece
from matinee.core.progress import Progress
from matinee.core.scores import ClassificationMeter
from matinee.core.settings import answering, setting
from matinee.core.splits import Splits, divide, equal_rows, remembered
from matinee.core.task import Batch, Data, Task
from matinee.media import film_inputs, film_table
from matinee.media.film_reel import RATE
from matinee.media.films import EXTENSIONS, Sight
from matinee.media.picture_table import PictureRequest
from matinee.media.thumbnails import thumbnail_prints
from matinee.media.timelines import subtitles, timelines

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.nets.film_choices import FilmRecipe, FilmShape

NETWORKS = ("auto", "constant", "linear", "frame", "average", "motion", "r2plus1d", "recurrent", "attention")
NEAR = 0.99  # mean cosine of three thumbnails; as of pictures
LOOK = 256  # training films that statistics and the whitening layer are computed from
LOOK_BYTES = 2**28
AT_ONCE = 2**22  # pixels that a network looks at where nothing is learned: its first layer makes a hundred of each


@dataclass(frozen=True, kw_only=True)
class VideoClassification(Classification):
    """One label for a film, or a stretch of one, out of the classes seen in training."""

    endings: ClassVar[frozenset[str]] = EXTENSIONS
    layout: ClassVar[str] = (
        "  films/walk/1.mp4, films/run/2.avi         a folder of class folders (or a .zip of it)\n"
        "  clips.csv with the columns file,label     a table of films; start,end: of stretches in seconds\n"
        "  films/walk/1/frame_0001.jpg               a folder of frames for each film"
    )

    height: int = 0
    width: int = 0
    channels: int = 0

    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    dropout: float = setting(0.0, "dropout is a share of units", low=0, high=0.9)
    frames: int = setting(0, "frames of a clip (0: as many as half of the films have, up to 16)", low=0, high=256,
                          reading=True)  # fmt: skip
    clips: int = setting(0, "clips of a film, whose answers are averaged (0: more where films are longer)", low=0,
                         high=64, reading=True)  # fmt: skip
    span: float = setting(0.0, "seconds that a clip lasts (0: as half of the films last, up to 4)", low=0, high=3600,
                          reading=True)  # fmt: skip
    picture_size: int = setting(64, "shorter side in pixels of the frames that are learned", low=8, high=512,
                                reading=True)  # fmt: skip
    window: float | None = setting(None, "share of a clip's frames that a step of the training sees", low=0.001, high=1)
    flip: bool | None = setting(None, "mirror films left to right (auto: where a test finds it harmless)")
    crop: int | None = setting(None, "pixels by which films are shifted", low=0, high=256)
    scale: float | None = setting(None, "share by which films are enlarged or shrunk", low=0, high=0.9)
    rotate: float | None = setting(None, "degrees by which films are turned", low=0, high=180)
    colour: float | None = setting(None, "share by which brightness and contrast vary", low=0, high=0.9)
    cutout: int | None = setting(None, "side in pixels of a square that is painted over", low=0, high=512)
    groups: str = setting(
        "", "regular expression: the part of a file name that must not be split, such as a person", reading=True
    )
    sequences: str = setting(
        "", "regular expression: the part of a name that the pictures of one film share", reading=True
    )
    frame_rate: float = setting(RATE, "frames a second of folders of frames", low=0.01, high=1000, reading=True)
    overlap: float = answering(
        setting(0.5, "share of a window of a long film that the next one sees again", low=0, high=0.95)
    )
    file_column: str = setting("", "column of a table that names the files", reading=True)
    label_column: str = setting("", "column of a table that holds the labels", reading=True)
    pixel_limit: float = setting(40.0, "megapixels beyond which a film is refused", low=0.001, high=2000, reading=True)

    def __post_init__(self) -> None:
        if max(self.height, self.width) > 4096 or min(self.height, self.width, self.channels) < 0:
            raise SettingsError(f"films of {self.width} x {self.height} pixels: learned are at most 4096 x 4096.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Class folders of films, a zip of them, a table of films, folders of frames that are called so."""
        return film_table.fits(source)

    @classmethod
    def lacks(cls, source: str) -> str | None:
        """Class folders, or a table that names the classes."""
        return film_table.lacks(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The films of a source, their frames decoded once, with its splits or with new ones."""
        with progress.bar("reading", "films") as bar:
            table = film_table.read_films(source, self._request, bar)
        classes = self.classes or table.classes
        labels, strangers = film_table.renumbered(table, classes)
        rows = table.good[labels[table.good] >= 0]
        columns = {"film": table.columns["film"], "label": labels, "group": table.columns["group"]}
        splits = self._divided(table, columns, rows)
        sight = table.sight
        task = dataclasses.replace(
            self,
            classes=classes,
            counts=self.counts or tuple(np.bincount(labels[splits["train"]], minlength=len(classes)).tolist()),
            **{name: getattr(sight, name) for name in ("height", "width", "channels", "frames", "clips", "span")},
        )
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        origin = film_table.origin(source, table, strangers, rows)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    @property
    def _request(self) -> film_table.FilmRequest:
        pictures = PictureRequest(
            height=self.height,
            width=self.width,
            channels=self.channels,
            longest=self.picture_size,
            groups=self.groups,
            file_column=self.file_column,
            label_column=self.label_column,
            pixel_limit=int(self.pixel_limit * 1e6),
        )
        return film_table.FilmRequest(pictures, self.sequences, self.frames, self.clips, self.span, self.frame_rate)

    def _divided(self, table: film_table.FilmTable, columns: Mapping[str, Array], rows: Array) -> dict[str, Array]:
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
        """Films whose content is no longer what it was."""
        told = film_table.changed_since(source, manifest, self._request.wanted)
        # A film whose bytes could not be read then has no digest: nothing can be said of it.
        unread = {name for name, digest in manifest.items() if not digest.strip("0")}
        return {kind: [name for name in names if name not in unread] for kind, names in told.items()}

    def toy(self, seed: int = 0) -> Data:
        """Four classes: a bright bar moves up, down, left or right in noise; no single frame tells."""
        generator = np.random.default_rng(seed)
        labels, steps = np.arange(480) % 4, 5
        films = generator.normal(90, 20, (len(labels), steps, 12, 12, 1))
        for row, label in enumerate(labels):
            places = (generator.integers(12) + 2 * np.arange(steps) * (1 if label % 2 else -1)) % 12
            for time, place in enumerate(places):
                bar = films[row, time] if label < 2 else films[row, time].transpose(1, 0, 2)
                bar[place] += 90
        columns: dict[str, Array] = {"film": films.clip(0, 255).astype(np.uint8), "label": labels.astype(np.int64)}
        named: dict[str, Any] = {"network": "motion", "size": "s"} if self.network == "auto" else {}
        task = dataclasses.replace(
            self, classes=("up", "down", "left", "right"), counts=(80,) * 4, height=12, width=12, channels=1,
            frames=steps, clips=1, span=1.0, **named,
        )  # fmt: skip
        examples = Examples.of(columns)
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> FilmShape:
        """What goes into the network and comes out."""
        from matinee.nets.film_choices import FilmShape

        return FilmShape(self.channels, self.height, self.width, self.frames, len(self.classes))

    @property
    def sight(self) -> Sight:
        """What is taken of a film."""
        return Sight(
            height=self.height,
            width=self.width,
            channels=self.channels,
            frames=self.frames,
            clips=self.clips,
            span=self.span,
            pixel_limit=int(self.pixel_limit * 1e6),
            rate=self.frame_rate,
        )

    def choose(self, data: Data, minutes: float | None) -> VideoClassification:
        """Network and size by the shape and number of films; augmentation by the network's recipe."""
        from matinee.media.film_changes import mirror_safe_films
        from matinee.nets.film_choices import ANY_LENGTH, SIZES, choose

        name, size = choose(self.shape, len(data.train))
        name = name if self.network == "auto" else self.network
        if self.size == "auto":
            size = size if size in SIZES[name] else SIZES[name][0]
        else:
            size = self.size
        named = dataclasses.replace(self, network=name, size=size)
        recipe = named._recipe(len(data.train))
        if name not in ANY_LENGTH and (self.window or 1.0) < 1.0:
            raise SettingsError(f"--window {self.window}: {name} takes whole clips only.")
        flip = self.flip
        if flip is None:
            film, rows, labels = data.train.array("film"), data.train.rows, data.train.column("label")
            flip = recipe.flip and mirror_safe_films(film, rows, labels)
        varied = ("window", "crop", "scale", "rotate", "colour", "cutout", "label_smoothing")
        open_ = {field: getattr(recipe, field) for field in varied if getattr(self, field) is None}
        return dataclasses.replace(named, flip=flip, **open_)

    def _recipe(self, examples: int) -> FilmRecipe:
        from matinee.nets.film_choices import recommend

        return recommend(self.network, self.shape, examples)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        return dataclasses.asdict(self._recipe(examples))

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.film_choices import trunk_of
        from matinee.nets.films import build

        size = "m" if self.size == "auto" else self.size
        return build(self.network, self.shape, size=size, trunk=trunk_of(self.shape), dropout=self.dropout)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Brightness and contrast of the training films, and the whitening layer where there is one."""
        from matinee.nets.films import prepare

        each = 8 * self.clips * self.frames * self.height * self.width * self.channels
        chosen = np.random.default_rng(0).permutation(len(examples))[: max(8, min(LOOK, LOOK_BYTES // max(1, each)))]
        films = self.collate(examples.gather(np.sort(chosen))).inputs
        prepare(network, films.to(next(network.parameters()).device))

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Temperature scaling (Guo et al., 2017) on the logits: answers stay as they are."""
        import torch

        from matinee.core.scores import temperature
        from matinee.nets.films import FilmNetwork

        if isinstance(network, FilmNetwork):
            with torch.no_grad():
                network.head.get_buffer("sharpness").div_(temperature(self.logits(outputs).float(), targets))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """uint8 (batch, clips x frames, height, width, channels) -> float (batch, clips, frames, channels, height,
        width) from 0 to 1.
        """
        film = columns["film"]
        shaped = film.view(len(film), self.clips, self.frames, *film.shape[2:])
        return Batch(shaped.permute(0, 1, 2, 5, 3, 4).float().div_(255), columns["label"].long())

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """One clip of each film, all its frames flipped, shifted, scaled, turned, recoloured and painted over alike."""
        from matinee.media.augment import Policy
        from matinee.media.film_changes import vary

        turns = moment.alternately(batch.rows) if self.flip and batch.rows is not None else None
        films = vary(batch.inputs, Policy.of(self), self.window or 1.0, moment, turns)
        return Batch(films, batch.targets, batch.rows)

    def at_once(self) -> int:
        """As many films as memory holds at ease."""
        return min(256, max(1, AT_ONCE // max(1, self.clips * self.frames * self.height * self.width)))

    def logits(self, outputs: Any) -> Tensor:
        """The mean over the moments of a film, (batch, classes)."""
        mean: Tensor = outputs.float().mean(1)
        return mean

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """As of other classes, on the mean over the moments."""
        return super().loss(self.logits(outputs), batch)

    # -- scores and answers

    def meter(self) -> Meter:
        """Accuracy first."""
        return ClassificationMeter(self.classes, logits=self.logits)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails, without brightness and contrast, of the first, the middle and the last frame."""
        film = examples.array("film")
        places = (0, film.shape[1] // 2, film.shape[1] - 1)
        prints = np.concatenate([thumbnail_prints(film[:, place], examples.rows) for place in places], 1)
        return prints / np.maximum(np.linalg.norm(prints, axis=1, keepdims=True), 1e-9), NEAR

    def simplest(self) -> Task | None:
        """Softmax regression on the pixels of all frames."""
        if self.network == "linear":
            return None
        kept = ("classes", "counts", "height", "width", "channels", "frames", "clips", "span")
        facts: dict[str, Any] = {name: getattr(self, name) for name in kept}
        return VideoClassification(**facts, network="linear", size="m")

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, stretches, bytes), folders of frames or arrays -> (batch, clips, frames, channels, h, w)."""
        import torch

        pixels, errors = film_inputs.decode_many(raws, self.sight)
        columns = {"film": torch.from_numpy(pixels), "label": torch.zeros(len(pixels))}
        return self.collate(columns).inputs, errors

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Films as they are, long ones in windows that overlap; folders as the films in them."""
        return film_inputs.list_plain(places, self.sight, self.overlap)

    def follow(
        self, told: Iterator[tuple[Any, dict[str, Any] | DataError]]
    ) -> Iterator[tuple[Any, dict[str, Any] | DataError]]:
        """What was found in the windows of a long film, as one timeline of events."""
        return timelines(told, self.classes)

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """The timeline of a long film as subtitles."""
        return subtitles(answer["events"]) if "events" in answer else {}

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The likeliest class, its probability and the runners-up."""
        return super().decode(self.logits(outputs))

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each film as a strip, with the probability of its answer over time."""
        frames = (inputs.flatten(1, 2).permute(0, 1, 3, 4, 2).clamp(0, 1) * 255).round().byte().cpu().numpy()
        shares = outputs.float().softmax(-1)
        answers = self.logits(outputs).argmax(-1)
        sure = shares.gather(-1, answers[:, None, None].expand(-1, shares.shape[1], 1))[..., 0].detach().cpu().numpy()
        words = self.answers_in_words(outputs)
        return [Film(list(film), said, over_time=one) for film, said, one in zip(frames, words, sure, strict=True)]
