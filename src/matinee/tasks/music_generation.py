"""Write music like that of a collection: from nothing, from a beginning, around given voices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.pieces import Piece
from matinee.core.progress import Progress
from matinee.core.settings import answering, setting
from matinee.core.task import Batch, Data, Origin, Task
from matinee.media import music_sources
from matinee.media.music_requests import Terms, cells_of, listed
from matinee.media.piano_rolls import KEYS, OPEN, SILENT, STRUCK, key_name, notes_of, out_of_key, sounding

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.composers import RollShape
    from matinee.nets.composing import Manner

COMPOSED, SHOWN = 16, 4  # pieces that the report compares with real ones, and shows
HEARD = 128  # frames of each
FEW = 6000  # frames: fewer are learned by a short training
LITTLE = 50_000  # quarter notes: fewer are learned with much dropout
STEP, MOST = 1000, 8000  # frames that a step sees, about, and where pieces are long


@dataclass(frozen=True, kw_only=True)
class MusicGeneration(Task):
    """Pieces of music as piano rolls: how likely each frame is given those before, and frames drawn by that.

    grid: frames to a quarter note. holds: whether held notes are told from those struck again. most: notes of a frame,
    at most. frames: of a piece, the median. An input is cells uint8 (batch, frames, 88): what is open in it is written.
    """

    rivals: ClassVar[tuple[str, str]] = ("each key as often as ever", "keys linear in the last frame")
    layout: ClassVar[str] = (
        "  songs/1.mid, songs/more/2.mid             a folder of MIDI files (or divided: songs/train, songs/test)\n"
        "  JSB_Chorales.mat, jsb-chorales-16th.json  piano rolls with their splits"
    )
    samples: ClassVar[Mapping[str, str]] = music_sources.SAMPLES
    asked: ClassVar[str] = "new FILE.mid --out FOLDER"

    holds: bool = False
    most: int = 0
    frames: int = 0
    mean_length: float = 1.0

    network: str = setting("auto", "network", choices=("auto", "recurrent", "transformer", "linear", "constant"))
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    notes: str = setting(
        "joint", "notes of a frame: each given those above it, or each for itself", choices=("joint", "independent")
    )
    dropout: float | None = setting(None, "dropout is a share of units", low=0, high=0.9)
    transpose: int | None = setting(
        None, "semitones up or down by which pieces are moved while learning", low=0, high=12
    )
    grid: int | None = setting(
        None, "frames to a quarter note (auto: 4 for MIDI, rolls as their name says)", low=1, high=24, reading=True
    )
    longest: int = setting(4096, "frames of a piece that are read", low=8, high=65_536, reading=True)
    temperature: float = answering(setting(1.0, "below 1 the likely is written more often", low=0.05, high=5))
    nucleus: float = answering(setting(0.95, "share of the likeliest notes that is drawn from", low=0.01, high=1))
    draw: int = answering(setting(0, "another number, other music", low=0, high=2**31 - 1))
    ways: int = answering(setting(64, "ways to go on that are kept in mind where notes are given", low=1, high=256))
    tempo: float = answering(setting(90.0, "quarter notes a minute of what is written", low=10, high=400))
    instrument: int = answering(setting(0, "of General MIDI, for MIDI and fluidsynth: 19 an organ", low=0, high=127))
    sound: str = answering(
        setting(
            "plain", "what WAV files are made by: a plain synthesiser or fluidsynth", choices=("plain", "fluidsynth")
        )
    )

    def __post_init__(self) -> None:
        if not (0 <= self.most <= KEYS and 0 <= self.frames <= 1_000_000 and 0 < self.mean_length < 1e9):
            raise SettingsError("pieces of music have at most 88 notes at once and at most 1,000,000 frames.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Folders of MIDI files, piano rolls, a well-known name."""
        return music_sources.fits(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The pieces of a source as rolls, with its splits or with new ones that keep versions of a piece together."""
        with progress.bar("reading", "pieces") as bar:
            pieces = music_sources.read_pieces(source, self.grid, self.longest, bar)
        splits = music_sources.split_pieces(pieces, (self.valid_share, self.test_share, self.split_seed))
        task = self
        if not self.most:
            task = dataclasses.replace(self, **_facts(pieces.rolls, splits["train"], pieces.holds), grid=pieces.grid)
        elif pieces.said not in (0, self.grid):
            raise DataError(f"{source}: {pieces.said} frames to a quarter note; the model has learned {self.grid}.")
        rolls = [music_sources.in_terms(roll, pieces.holds, task.holds) for roll in pieces.rolls]
        columns = {"cells": Ragged.of(rolls, np.uint8)}
        given = frozenset(music_sources.NAMES[split] for split in set(pieces.splits) if split in music_sources.NAMES)
        facts = {
            "pieces": f"{len(rolls):,}",
            "frames": f"{sum(map(len, rolls)):,}, {task.grid} to a quarter note",
            "notes at once": f"{np.mean([sounding(roll).sum(1).mean() for roll in rolls]):.1f}",
        }
        origin = Origin(source, pieces.manifest(), pieces.names, tuple(pieces.entries), given, facts)
        parts = [Examples(columns, splits[name]) for name in music_sources.NAMES.values()]
        return Data(task, parts[0], parts[1], parts[2], origin)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Pieces that are no longer what they were."""
        now = music_sources.read_pieces(source, self.grid, self.longest, lambda done, count: None).manifest()
        return {
            "changed": [name for name, digest in manifest.items() if name in now and now[name] != digest],
            "missing": [name for name in manifest if name not in now],
            "new": [name for name in now if name not in manifest],
        }

    def toy(self, seed: int = 0) -> Data:
        """Tunes that wander along a scale, in four keys, with a third and a fifth below every other note."""
        generator, rolls = np.random.default_rng(seed), []
        scale = np.array([0, 2, 4, 5, 7, 9, 11])
        for number in range(480):
            frames = 10 + 2 * (number % 3)
            place = 12 + np.cumsum(generator.choice([-2, -1, 1, 2], frames))
            tune = 30 + 3 * (number % 4) + 12 * (place // 7) + scale[place % 7]
            tune = np.clip(tune, 12, KEYS - 1)
            roll = np.full((frames, KEYS), SILENT, np.uint8)
            roll[np.arange(frames), tune] = STRUCK
            chords = np.arange(number % 2, frames, 2)
            roll[chords, tune[chords] - 4] = roll[chords, tune[chords] - 7] = STRUCK
            rolls.append(roll)
        parts = np.split(np.arange(480), [320, 400])
        size = "s" if self.size == "auto" else self.size
        task = dataclasses.replace(self, **_facts(rolls, parts[0], False), grid=2, size=size)
        columns = {"cells": Ragged.of(rolls, np.uint8)}
        train, valid, test = (Examples(columns, part) for part in parts)
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> RollShape:
        """What the network reads and writes."""
        from matinee.nets.composers import RollShape

        size = "m" if self.size == "auto" else self.size
        return RollShape(self.holds, self.most, self.notes == "joint", size, self.dropout or 0.0, self.grid or 1)

    @functools.cached_property
    def _manner(self) -> Manner:
        from matinee.nets.composing import Manner

        return Manner(self.draw, self.temperature, self.nucleus, self.ways)

    def choose(self, data: Data, minutes: float | None) -> MusicGeneration:
        """A recurrent network; few pieces are learned with much dropout, and in all keys."""
        frames = float(data.train.lengths("cells").sum()) if len(data.train) else 1.0
        few = frames < FEW
        usual = 0.4 if frames / (self.grid or 1) < LITTLE else 0.25
        dropout = self.dropout if self.dropout is not None else 0.0 if few else usual
        return dataclasses.replace(
            self, network="recurrent" if self.network == "auto" else self.network, dropout=dropout,
            size="m" if self.size == "auto" else self.size,
            transpose=self.transpose if self.transpose is not None else 0 if few else 6,
            mean_length=max(1.0, frames / max(1, len(data.train))),
        )  # fmt: skip

    def advice(self, examples: int) -> dict[str, Any]:
        """AdamW with a cosine that is warmed up, and an average of the weights."""
        if self.network in ("linear", "constant"):
            return {"epochs": 30, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.0, "average": 0.0}
        usual = {"warmup": 0.05, "clip": 1.0, "schedule": "cosine", "weight_decay": 0.02}
        rate = 1e-3 if self.network == "transformer" else 2e-3
        if examples * self.mean_length < FEW:
            size = int(np.clip(examples // 20, 4, 16))
            return {**usual, "epochs": 20, "batch_size": size, "learning_rate": rate * 5}
        size = int(np.clip(max(STEP / self.mean_length, min(8, MOST / self.mean_length)), 2, 32))
        return {**usual, "minutes": 20.0, "epochs": 400, "batch_size": size, "learning_rate": rate, "average": 0.995}

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.composers import build

        return build("recurrent" if self.network == "auto" else self.network, self.shape)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Keys begin as likely as they are."""
        from matinee.nets.composing import begin_with

        begin_with(network, (self.collate(examples.gather(part)).inputs for part in _parts(len(examples))))

    def lengths(self, examples: Examples) -> Array:
        """Frames."""
        return examples.lengths("cells")

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Cells uint8 (batch, frames, 88), zeros behind; the targets are how many frames each has."""
        cells = columns["cells"]
        return Batch(cells, (cells[:, :, 0] > 0).sum(1))

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """Each piece some semitones higher or lower."""
        if not self.transpose:
            return batch
        from matinee.nets.composing import transposed

        chance = moment.uniform("transpose", len(batch), 2, device=batch.inputs.device)
        return Batch(transposed(batch.inputs, self.transpose, chance), batch.targets, batch.rows)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The cells, and nats (batch, frames) of each frame given those before."""
        return network(batch.inputs)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The same, once what is open has been written."""
        from matinee.nets.composing import composed, scored

        return scored(network, composed(network, inputs, self._manner))

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Nats a frame, for a piece of usual length."""
        loss: Tensor = outputs[1].float().sum() / (len(batch) * self.mean_length)
        return loss

    # -- scores and answers

    def meter(self) -> Meter:
        """Nats a frame first."""
        from matinee.media.music_scores import MusicMeter

        return MusicMeter()

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """How the highest voice and the chords move, in whatever key."""
        column = examples.ragged("cells")
        return music_sources.prints([column[int(row)] for row in examples.rows]), music_sources.NEAR

    def trivial(self, train: Examples) -> Model:
        """Each key for itself, as often as in the training pieces."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="constant")
        network = task.build()
        task.prepare(network, train)
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """Each key for itself, linear in the last frame."""
        if self.network == "linear":
            return None
        return dataclasses.replace(self, network="linear", dropout=0.0, transpose=0)

    def logits(self, outputs: Any) -> Tensor:
        """How likely each frame was, as a logarithm (batch, frames, 1)."""
        likely: Tensor = -outputs[1][..., None]
        return likely

    def merge(self, outputs: Sequence[Any]) -> Any:
        """The mean of the probabilities of each frame; where each wrote something else, the first network's."""
        import torch

        cells, nats = outputs[0][0], torch.stack([each[1].float() for each in outputs])
        alike = torch.stack([(each[0] == cells).flatten(1).all(1) for each in outputs]).all(0)
        mean = np.log(len(nats)) - torch.logsumexp(-nats, 0)
        return cells, torch.where(alike[:, None], mean, nats[0])

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """One after the other, each as long as the longest."""
        from matinee.nets.padding import joined

        return joined(outputs)

    @property
    def _terms(self) -> Terms:
        return Terms(self.grid or 1, self.holds, self.longest, min(self.frames or 64, self.longest))

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Requests -> cells (batch, longest, 88), open where something is to be written, zeros behind."""
        import torch

        rows, errors = [], {}
        for place, raw in enumerate(raws):
            try:
                rows.append(cells_of(raw, self._terms))
            except DataError as error:
                errors[place] = error
        nothing = np.zeros((0, 1, KEYS), np.uint8)
        padded = Ragged.of(rows, np.uint8).padded(np.arange(len(rows))) if rows else nothing
        return torch.from_numpy(padded), errors

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """Notes as [MIDI number, begin, length], in quarter notes, and what can be told of them."""
        answers = []
        for cells, nats in zip(*(each.detach().float().cpu().numpy() for each in outputs), strict=True):
            count, grid = int((cells[:, 0] > 0).sum()), self.grid or 1
            roll = cells[:count]
            notes = [[n.pitch, n.start / grid, n.length / grid] for n in notes_of(roll, self.holds)]
            told = {"key": key_name(roll) if notes else None, "out_of_key": round(out_of_key(roll), 4)}
            nats_per_frame = round(float(nats[:count].mean()), 4) if count else 0.0
            answers.append({"frames": count, "nats_per_frame": nats_per_frame, **told, "tempo": self.tempo,
                            "notes": notes})  # fmt: skip
        return answers

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """A MIDI file, and how it sounds (the first ten minutes)."""
        from matinee.media.fluidsynth import played
        from matinee.media.midi_files import write_midi
        from matinee.media.roll_sounds import rendered, wav_bytes, within

        notes = [(int(pitch), float(begin), float(length)) for pitch, begin, length in answer["notes"]]
        tempo = float(answer["tempo"])
        if self.sound == "fluidsynth":
            wav = played(write_midi(within(notes, tempo), tempo, self.instrument))
        else:
            wav = wav_bytes(rendered(notes, tempo))
        return {".mid": write_midi(notes, tempo, self.instrument), ".wav": wav}

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """To see and to hear. The redder a frame, the more it surprised; grey was given where the rest was written."""
        from matinee.media.music_report import heard
        from matinee.media.roll_pictures import roll_picture

        drawn: list[Piece] = []
        for asked, cells, nats in zip(
            *(each.detach().cpu() for each in (inputs, outputs[0], outputs[1].float())), strict=True
        ):
            count = int((cells[:, 0] > 0).sum())
            given = sounding(asked[:count].numpy()) if bool((asked >= OPEN).any()) else None
            pixels = roll_picture(cells[:count].numpy(), nats[:count].numpy(), given)
            drawn.append(heard(cells[:count].numpy(), pixels, (self.grid or 1, self.holds, self.tempo)))
        return drawn

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """Pieces that it composes from nothing, beside real ones, and whether it copied them."""
        import torch

        from matinee.media.music_report import composed_pieces

        if not len(examples):
            return ()
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        frames = max(2, min(HEARD, int(np.median(examples.lengths("cells")))))
        opened = OPEN + np.arange(COMPOSED, dtype=np.uint8)
        asked = torch.from_numpy(np.broadcast_to(opened[:, None, None], (COMPOSED, frames, KEYS)).copy())
        with torch.inference_mode():
            written = self.infer(network, asked.to(device))
        rolls, some = list(written[0].cpu().numpy()), [each[:SHOWN] for each in written]
        drawn = self.show(asked[:SHOWN], some)
        return composed_pieces(rolls, drawn, examples, (self.grid or 1, self.holds, self.tempo))

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """ "new", MIDI files, folders of them, and requests in JSON."""
        return listed(places)


def _facts(rolls: Sequence[Array], train: Array, holds: bool) -> dict[str, Any]:
    """What the training pieces say of all: the most notes at once, and the usual length."""
    chosen = [rolls[int(row)] for row in train] or list(rolls)
    most = max(int(sounding(roll).sum(1).max()) for roll in chosen)
    return {"holds": holds, "most": max(1, most), "frames": int(np.median([len(roll) for roll in chosen]))}


def _parts(count: int, size: int = 64) -> list[Array]:
    return [np.arange(first, min(count, first + size)) for first in range(0, count, size)]
