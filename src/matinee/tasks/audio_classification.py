"""Say what is heard: sound events, spoken words, the emotion in a voice, the genre of music."""

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
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.moment import Moment
from matinee.core.pieces import Piece, Text
from matinee.core.progress import Progress
from matinee.core.settings import answering, setting
from matinee.core.splits import Splits, divide, remembered
from matinee.core.task import Batch, Data, Task
from matinee.media import sound_changes, sound_inputs, sound_table, spectrograms
from matinee.media.sound_listing import Wanted, fits
from matinee.media.sound_toy import tones
from matinee.media.sounds import EXTENSIONS
from matinee.media.timelines import labels_of_moments, subtitles, timelines

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.nets.sound_choices import SoundRecipe, SoundShape

NETWORKS = ("auto", "constant", "linear", "cnn", "attention")
NEAR = 0.99  # cosine of two thumbnails of spectrograms; docs/tasks/audio-classification.md has the figures behind it
LOOK = 1024  # training sounds that the mean and the deviation of each band are computed from
AT_ONCE = 64  # sounds whose thumbnails are made together
SOLVED = 4096  # training sounds that the linear network is solved on
SHOWN = 8  # sounds whose saliency the report shows


@dataclass(frozen=True, kw_only=True)
class AudioClassification(Classification):
    """One label for a sound, out of the classes seen in training."""

    layout: ClassVar[str] = (
        "  sounds/dog/1.wav, sounds/rain/2.ogg       a folder of class folders of sounds (or a .zip of it)\n"
        "  clips.csv with the columns file,label     a table of sound files (CSV, TSV, JSONL), audio/1.wav beside it\n"
        "  recordings/7_anna_3.wav                   names that say it, with --label-pattern"
    )
    endings: ClassVar[frozenset[str]] = EXTENSIONS

    rate: int = 0
    window_length: int = 0
    usual_length: int = 0  # samples in which 9 of 10 examples have room
    silence: bool = False

    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    dropout: float = setting(0.2, "dropout is a share of units", low=0, high=0.9)
    sample_rate: int = setting(
        0, "samples a second that are kept (0: the commonest, up to 16,000)", low=0, high=192_000, reading=True
    )
    window: float = setting(
        0.0, "seconds that the network hears at once (0: nearly all sounds, up to 5)", low=0, high=60, reading=True
    )
    longest: float = setting(
        30.0, "seconds of one example; longer recordings become several", low=0.1, high=600, reading=True
    )
    bands: int | None = setting(None, "mel bands of the spectrogram", low=8, high=256)
    label_pattern: str = setting("", "regular expression: the part of a file's name that is its label", reading=True)
    test_pattern: str = setting("", "regular expression: files whose name it fits are the test", reading=True)
    groups: str = setting(
        "", "regular expression: the part of a file name that must not be split, such as a speaker", reading=True
    )
    file_column: str = setting("", "column of a table that names the files", reading=True)
    label_column: str = setting("", "column of a table that holds the labels", reading=True)
    place: bool = setting(True, "move sounds within the window")
    speed: float | None = setting(None, "share by which sounds are played faster or slower", low=0, high=0.9)
    tilt: float | None = setting(None, "how far low or high tones are favoured", low=0, high=0.9)
    noise: float | None = setting(None, "noise that is added at most, as a share of the loudness", low=0, high=10)
    mix: float | None = setting(None, "share of the sounds that another is mixed into", low=0, high=1)
    hide: float | None = setting(None, "share of bands and of time that a stretch hides at most", low=0, high=0.9)
    overlap: float = answering(
        setting(0.5, "share of a window of a long recording that the next window hears again", low=0, high=0.9)
    )

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 192_000 or not 0 <= self.window_length <= 60 * 192_000:
            raise SettingsError(
                f"windows of {self.window_length} samples at {self.rate} a second: 60 s at 192,000 at most."
            )

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Class folders of sounds, a table of sound files, a folder of sounds."""
        return fits(source)

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.groups, self.label_pattern, self.test_pattern, self.file_column, self.label_column)

    def read(self, source: str, progress: Progress) -> Data:
        """The sounds of a source, decoded once, with its splits or with new ones."""
        window = self.window_length / self.rate if self.rate else self.window
        request = sound_table.SoundRequest(self.rate or self.sample_rate, window, self.longest, self._wanted)
        with progress.bar("reading", "sounds") as bar:
            table = sound_table.read_sounds(source, request, bar)
        classes = self.classes or table.classes
        labels, strangers = sound_table.renumbered(table, classes)
        rows = table.good[labels[table.good] >= 0]
        columns: dict[str, Array | Ragged] = {
            "sound": table.sounds,
            "label": labels,
            "group": sound_table.kept_together(table),
        }
        task = dataclasses.replace(
            self,
            classes=classes,
            rate=self.rate or table.rate,
            window_length=self.window_length or max(1, round(table.window * table.rate)),
            usual_length=self.usual_length or int(np.quantile(np.diff(table.sounds.offsets)[rows], 0.9)),
            silence=self.silence or table.silent,
        )
        splits = task._divided(table, columns, rows)
        if not task.counts:
            task = dataclasses.replace(
                task, counts=tuple(np.bincount(labels[splits["train"]], minlength=len(classes)).tolist())
            )
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        origin = sound_table.origin(source, table, strangers, rows)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _divided(
        self, table: sound_table.SoundTable, columns: Mapping[str, Array | Ragged], rows: Array
    ) -> dict[str, Array]:
        shares, group, labels = (self.valid_share, self.test_share, self.split_seed), columns["group"], columns["label"]

        def alike(chosen: Array) -> list[Array]:
            prints, threshold = self.fingerprint(Examples(columns, chosen))
            return [groups(prints, threshold), sound_table.equal_files(table, chosen)]

        def find() -> dict[str, Array]:
            return divide(Splits(rows, table.columns["split"], np.asarray(labels), np.asarray(group)), alike, shares)

        words = f"{table.folder.name} {NEAR} {self.window_length} {self.bands} {shares} ".encode()
        return remembered(sha256(words + rows.tobytes() + np.asarray(labels).tobytes()).hexdigest()[:40], find)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Files whose content is no longer what it was."""
        return sound_changes.changed_since(source, manifest, self._wanted)

    def toy(self, seed: int = 0) -> Data:
        """A low tone, a high one, one that rises, and noise, each of another length."""
        sounds, labels = tones(seed)
        task = dataclasses.replace(
            self, classes=("low", "high", "rising", "noise"), counts=(80,) * 4, rate=4000, window_length=800,
            bands=min(self.bands or 24, 24), size="s" if self.network == "auto" else self.size,
        )  # fmt: skip
        examples = Examples.of({"sound": Ragged.of(sounds, np.int16), "label": labels})
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> SoundShape:
        """What goes into the network and comes out."""
        from matinee.nets.sound_choices import SoundShape, usual_bands

        bands = self.bands or usual_bands(self.window_length / max(1, self.rate))
        return SoundShape(self.rate, self.window_length, bands, len(self.classes))

    def choose(self, data: Data, minutes: float | None) -> AudioClassification:
        """Network and size by the number of sounds, bands by their length; augmentation by the network's recipe."""
        from matinee.nets.sound_choices import MANY

        network = "cnn" if self.network == "auto" else self.network
        fitting = "m" if len(data.train) >= MANY else "s"
        named = dataclasses.replace(self, network=network, size=fitting if self.size == "auto" else self.size)
        recipe = named._recipe(len(data.train))
        varied = ("speed", "tilt", "noise", "mix", "hide", "label_smoothing")
        open_ = {field: getattr(recipe, field) for field in varied if getattr(self, field) is None}
        return dataclasses.replace(named, bands=self.shape.bands, **open_)

    def _recipe(self, examples: int) -> SoundRecipe:
        from matinee.nets.sound_choices import recommend

        return recommend("cnn" if self.network in ("auto", "constant") else self.network, self.shape, examples)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        return dataclasses.asdict(self._recipe(examples))

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.sounds import Training, build

        if not self.classes:
            raise SettingsError("there are no classes, so there is no network for them.")
        name, size = ("cnn" if self.network == "auto" else self.network), self.size.replace("auto", "s")
        return build(name, self.shape, size=size, training=Training(self.dropout, self.hide or 0.0))

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Mean and deviation of each band over training sounds; the linear network is solved."""
        from matinee.nets.sounds import fit, solve_linear

        # A quarter of a GiB at once.
        most = max(16, min(LOOK, 2**26 // max(self.window_length, round(self.longest * self.rate))))
        drawn = np.random.default_rng(0).permutation(len(examples))
        fit(network, self._windows(network, examples, drawn[:most])[0])
        if self.network == "linear":
            some = np.array_split(drawn[:SOLVED], -(-len(drawn[:SOLVED]) // min(most, AT_ONCE)) or 1)
            solve_linear(network, (self._windows(network, examples, each) for each in some if len(each)))

    def _windows(self, network: nn.Module, examples: Examples, places: Array) -> tuple[Tensor, Tensor]:
        """A window of each of these sounds, and their classes."""
        from matinee.media.sound_augment import SoundPolicy, augment

        batch = self.collate(examples.gather(np.sort(places)))
        waves = batch.inputs.to(next(network.parameters()).device)
        return augment(waves, self.window_length, SoundPolicy(), Moment()), batch.targets

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Temperature scaling (Guo et al., 2017) on the logits: answers stay as they are."""
        import torch

        from matinee.core.scores import temperature
        from matinee.nets.sounds import SoundNetwork

        if isinstance(network, SoundNetwork):
            with torch.no_grad():
                network.head.get_buffer("sharpness").div_(temperature(outputs.float(), targets))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """int16 (batch, longest) -> float waves (batch, longest, at least a window) from -1 to 1, zeros behind."""
        from torch.nn.functional import pad

        waves = columns["sound"].float().div_(32768)
        if waves.shape[1] < self.window_length:
            waves = pad(waves, (0, self.window_length - waves.shape[1]))
        return Batch(waves, columns["label"].long())

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """One window of each sound, moved, sped up, tilted, with noise, with another sound in it."""
        from matinee.media.sound_augment import SoundPolicy, augment, mix

        policy = SoundPolicy(self.place, self.speed or 0.0, self.tilt or 0.0, self.noise or 0.0)
        waves, targets = augment(batch.inputs, self.window_length, policy, moment), batch.targets
        if self.mix:
            waves, targets = mix(waves, targets, len(self.classes), self.mix, moment)
        return Batch(waves, targets, batch.rows)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The logits, averaged over the windows of each sound."""
        from matinee.media.sound_augment import lengths_of
        from matinee.nets.sounds import heard

        if inputs.shape[1] <= self.window_length:
            return network(inputs)
        return heard(network, inputs, lengths_of(inputs), self.window_length)

    # -- scores and answers

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails of the spectrogram of the first window, without loudness."""
        import torch

        from matinee.nets.log_mel import LogMel, MelShape

        features, found = (
            LogMel(MelShape(self.rate, min(self.shape.bands, 40), 2.5 * self.shape.hop, self.shape.hop)),
            [],
        )
        with torch.inference_mode():
            for first in range(0, len(examples), AT_ONCE):
                inputs = self.collate(examples.gather(np.arange(first, min(first + AT_ONCE, len(examples))))).inputs
                found.append(spectrograms.prints(features(inputs[:, : self.window_length]).numpy()))
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32), NEAR

    def simplest(self) -> Task | None:
        """Softmax regression on mean, deviation and maximum of each band."""
        if self.network == "linear":
            return None
        facts: dict[str, Any] = {f: getattr(self, f) for f in ("classes", "counts", "rate", "window_length", "bands")}
        return AudioClassification(**facts, network="linear", size="s")

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, bytes), (array, its rate) or arrays at the task's own rate -> waves (batch, samples).

        Of a recording longer than an example, windows that lie evenly along all of it.
        """
        import torch

        count = max(1, round(self.longest * self.rate) // self.window_length)
        found, errors = sound_inputs.hear_many(raws, (self.rate, self.window_length), count, self.silence)
        waves = torch.from_numpy(Ragged.of(found, np.int16).padded(np.arange(len(found))))
        return self.collate({"sound": waves, "label": torch.zeros(len(found))}).inputs, errors

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files as they are, long ones in windows that overlap; folders as the sounds in them."""
        return sound_inputs.list_sounds(places, max(self.window_length, self.usual_length) / self.rate, self.overlap)

    def follow(
        self, told: Iterator[tuple[Any, dict[str, Any] | DataError]]
    ) -> Iterator[tuple[Any, dict[str, Any] | DataError]]:
        """What was heard in the windows of a long recording, as one timeline of events."""
        return timelines(told, self.classes)

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """The timeline of a long recording as subtitles, and as labels that sound editors show below the wave."""
        if "events" not in answer:
            return {}
        return {**subtitles(answer["events"]), ".txt": labels_of_moments(answer["events"])}

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """A player of the first window of each sound, its spectrogram and its answer."""
        return self._players(inputs, self.answers_in_words(outputs))

    def _players(self, inputs: Tensor, words: Sequence[str], weights: Array | None = None) -> list[Piece]:
        import torch

        from matinee.nets.log_mel import LogMel, MelShape

        waves = inputs[:, : self.window_length].float().cpu()
        features = LogMel(MelShape(self.rate, self.shape.bands, 2.5 * self.shape.hop, self.shape.hop))
        with torch.inference_mode():
            spectra = features(waves).numpy()
        return [
            spectrograms.piece(wave, self.rate, spectrum, said, None if weights is None else weights[place])
            for place, (wave, spectrum, said) in enumerate(zip(waves.numpy(), spectra, words, strict=True))
        ]

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """A few sounds, with what spoke for the answer laid over their spectrograms."""
        import torch

        from matinee.nets.sounds import saliency

        if not len(examples):
            return ()
        chosen = np.unique(np.linspace(0, len(examples) - 1, min(SHOWN, len(examples))).astype(np.int64))
        inputs = self.collate(examples.gather(chosen)).inputs[:, : self.window_length]
        inputs = inputs.to(next(network.parameters()).device)
        found = saliency(network.eval(), inputs)
        if found is None:
            return ()
        with torch.inference_mode():
            answers = self.answers_in_words(self.infer(network, inputs))
        weights = np.stack([spectrograms.smoothed(each) for each in found[1].cpu().numpy()])
        truths = [self.classes[number] for number in self.labels(examples)[chosen]]
        words = [f"said {answer}, is {truth}" for answer, truth in zip(answers, truths, strict=True)]
        told = (
            "In colour, what spoke for the answer or against it; in grey, what it did not depend on. Time runs to the "
            f"right, tones rise from 20 Hz to {self.rate // 2:,} Hz."
        )
        return [Text(told), *self._players(inputs, words, weights)]
