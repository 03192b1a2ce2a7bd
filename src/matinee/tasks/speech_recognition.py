"""Write down what is said in a recording."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from matinee.core.task import Batch, Data, Task
from matinee.media import speech_columns, speech_windows
from matinee.media.sound_inputs import list_sounds
from matinee.media.speech_table import SpeechRequest, read_speech
from matinee.media.speech_toy import LETTERS, spelled_tones
from matinee.media.symbols import Symbols
from matinee.media.timelines import gathered
from matinee.media.transcript_scores import normalised
from matinee.media.transcripts import Asked, fits, listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.speech_front import SpeechShape

NETWORKS = {
    "auto": (),
    "linear": (),
    "cnn": (),
    "lstm": ("gru", "rnn", "recurrent"),
    "conformer": ("transformer",),
    "always": (),
}
FEW = 2.0  # hours of speech that the small network is large enough for
TOGETHER = 600.0  # seconds of speech, at most, that go through the network together where nothing is learned
LEARNED = 480.0  # and where something is
SCARCE = 0.2  # hours of speech of which a network that hears all at once would learn the order of the words
STRIDE = 4  # frames of a recording that one of an answer stands for


@dataclass(frozen=True, kw_only=True)
class SpeechRecognition(Task):
    """The words of a recording, from recordings and what is said in them."""

    exacting: ClassVar[int] = 1
    learned: ClassVar[frozenset[str]] = frozenset(("language",))
    rivals: ClassVar[tuple[str, str]] = ("always the commonest transcript", "linear network")
    layout: ClassVar[str] = (
        "  speech.csv with the columns file,text     a table of recordings (CSV, TSV, JSONL), audio/1.wav beside it\n"
        "  wav.scp and text, metadata.csv and wavs/  folders as of Kaldi, LJSpeech, LibriSpeech, Common Voice, Sphinx\n"
        "  1.wav, 1.txt                              a text beside each recording"
    )

    symbols: tuple[str, ...] = ()
    pieces: str = ""
    rate: int = 0
    channels: int = 0
    cepstra: bool = False
    language: str = ""
    usual: tuple[int, ...] = ()
    mean_length: float = 1.0
    validated: bool = False

    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    dropout: float | None = setting(None, "share of numbers set to zero while learning", low=0, high=0.9)
    written: str = setting("characters", "what texts are made of", choices=("characters", "pieces"), reading=True)
    vocabulary: int = setting(500, "most byte pairs, where texts are made of pieces", low=30, high=20_000, reading=True)
    text: str = setting(
        "case-and-marks", "what is no matter in a text", choices=("none", "case", "case-and-marks"), reading=True
    )
    language_model: str = setting(
        "", "file of text or ARPA that tells which words are likely (empty: the transcripts; none)", reading=True
    )
    beams: int = answering(setting(16, "answers kept side by side while one is written (1: greedy)", low=1, high=512))
    sample_rate: int = setting(
        0, "samples a second that are kept (0: the commonest, up to 16,000)", low=0, high=192_000, reading=True
    )
    frame_rate: float = setting(100.0, "frames a second, where they are given", low=1, high=10_000, reading=True)
    longest: float = setting(30.0, "seconds of a recording to learn from; longer are left out", low=0.1, high=600,
                             reading=True)  # fmt: skip
    bands: int = setting(40, "mel bands of the spectrogram", low=8, high=256)
    test_pattern: str = setting("", "regular expression: names that it fits are the test", reading=True)
    groups: str = setting("", "regular expression: the part of a name that is its speaker", reading=True)
    file_column: str = setting("", "column of a table that names the files", reading=True)
    text_column: str = setting("", "column of a table that holds the texts", reading=True)
    speed: float = setting(0.1, "share by which speech is played faster or slower", low=0, high=0.9)
    pitch: float = setting(0.1, "share by which voices are made higher or lower", low=0, high=0.5)
    hide: float = setting(0.2, "share of bands and of time that is hidden at most", low=0, high=0.9)
    noise: float = setting(0.0, "noise that is added at most, as a share of the loudness", low=0, high=10)

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 192_000 or not 0 <= self.channels <= 4096:
            raise SettingsError(f"{self.rate} samples a second, or frames of {self.channels} numbers, are not read.")
        if any(not 0 <= number < max(1, len(self.symbols)) for number in self.usual):
            raise SettingsError("the commonest transcript has symbols that there are not.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Tables of recordings with texts, and the forms of the known corpora."""
        return fits(source)

    @property
    def _asked(self) -> Asked:
        return Asked(self.groups, self.test_pattern, self.file_column, self.text_column)

    def read(self, source: str, progress: Progress) -> Data:
        """The recordings of a source with their texts, with its splits or with new ones, speakers kept together."""
        spoken = listed(source, self._asked)
        request = SpeechRequest(self.rate or self.sample_rate, self.longest, self.channels, self.frame_rate)
        with progress.bar("reading", "recordings") as bar:
            table = read_speech(spoken, request, bar)
        if self.symbols and (self.rate > 0) != (table.rate > 0):
            have, want = ("sounds", "frames") if table.rate else ("frames", "sounds")
            raise DataError(f"{source}: it has {have}, and the model has learned from {want}.")
        texts = [normalised(spoken.utterances[row].text, self.text) for row in table.owner]
        rows = np.flatnonzero([bool(text) for text in texts])
        known = speech_columns.Known.of(spoken, table, texts)
        splits = known.divided(rows, (self.valid_share, self.test_share, self.split_seed))
        if not len(splits["train"]) and not self.symbols:
            raise DataError(f"{source}: nothing is left to learn from: every recording is in the test.")
        said, pieces = [texts[row] for row in splits["train"]], self.vocabulary if self.written == "pieces" else 0
        symbols = Symbols(self.symbols, self.pieces) if self.symbols else Symbols.learned(said, pieces)
        task = dataclasses.replace(
            self, symbols=symbols.strings, pieces=symbols.pieces, rate=table.rate, channels=table.channels,
            cepstra=table.cepstra, language=self.language or self._given_language(),
        )  # fmt: skip
        columns, entries, fitting = known.columns(symbols, task.step)
        parts = {name: Examples(columns, chosen[fitting[chosen]]) for name, chosen in splits.items()}
        return Data(task, parts["train"], parts["valid"], parts["test"], known.origin(source, entries, rows))

    def _given_language(self) -> str:
        if self.language_model in ("", "none"):
            return ""
        from matinee.nets.ngram_language import read

        return read(self.language_model, lambda text: normalised(text, self.text))

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Recordings and texts that are no longer what they were."""
        return speech_columns.changed_since(listed(source, self._asked), manifest)

    def toy(self, seed: int = 0) -> Data:
        """A tone for each of three letters, a pause between words."""
        sounds, texts = spelled_tones(seed)
        symbols = Symbols(("", " ", *LETTERS))
        task = dataclasses.replace(
            self, symbols=symbols.strings, rate=4000, bands=min(self.bands, 16), beams=min(self.beams, 4),
            network="lstm" if self.network == "auto" else self.network, size="s" if self.size == "auto" else self.size,
            speed=0.0, pitch=0.0, hide=0.0,
        )  # fmt: skip
        columns: dict[str, Array | Ragged] = {"sound": Ragged.of(sounds, np.int16)}
        columns |= speech_columns.text_columns(symbols, texts)
        examples = Examples.of(columns)
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def shape(self) -> SpeechShape:
        """What goes into the network and comes out."""
        from matinee.nets.speech_front import SpeechShape

        return SpeechShape(self.rate, self.channels, self.cepstra, self.bands, len(self.symbols))

    @property
    def step(self) -> float:
        """Seconds of one frame of an answer."""
        if not self.rate:
            return STRIDE / self.frame_rate
        return STRIDE * max(1, round(0.01 * self.rate)) / self.rate

    @property
    def _column(self) -> str:
        return "sound" if self.rate else "frames"

    def choose(self, data: Data, minutes: float | None) -> SpeechRecognition:
        """Network and size by the hours of speech; which words are likely, from the transcripts to learn from."""
        from matinee.nets.ngram_language import learn

        hours = float(data.train.lengths(self._column).sum()) / (self.rate or self.frame_rate) / 3600
        texts = speech_columns.texts_of(data.train)
        return dataclasses.replace(
            self, network=("cnn" if hours < SCARCE else "conformer") if self.network == "auto" else self.network,
            size=("s" if hours < FEW else "m") if self.size == "auto" else self.size,
            dropout=0.15 if self.dropout is None else self.dropout,
            language=self.language if self.language_model or not texts else learn(texts),
            mean_length=float(data.train.lengths("target").mean()) if len(data.train) else 1.0,
            validated=len(data.valid) > 0,
        )  # fmt: skip

    def advice(self, examples: int) -> dict[str, Any]:
        """AdamW with a cosine that is warmed up, for as many steps as the network needs."""
        batch = max(1, min(4 if examples < 100 else 8 if examples < 400 else 16, int(LEARNED / self.longest)))
        steps = 600 if self.network == "linear" else 1000 if examples < 400 else 6000
        rate = 3e-3 if self.network == "linear" else 1.5e-3
        return {
            "epochs": max(8, min(200, steps * batch // max(1, examples))), "batch_size": batch, "learning_rate": rate,
            "warmup": 0.1, "weight_decay": 0.01, "schedule": "cosine", "clip": 1.0, "average": 0.998,
        }  # fmt: skip

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.speech import Always, Training, build
        from matinee.nets.speech_front import Varied

        if len(self.symbols) < 2:
            raise SettingsError("there are no texts, so there are no symbols to answer with.")
        if self.network == "always":
            return Always(len(self.usual), len(self.symbols))
        training = Training(Varied(self.speed, self.pitch, self.hide), self.dropout or 0.0)
        name = "lstm" if self.network == "auto" else self.network
        return build(name, self.shape, self.size.replace("auto", "s"), training)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """The deviation of each band over training recordings."""
        from matinee.nets.speech import fit, settle

        chosen, device = np.random.default_rng(0).permutation(len(examples))[:256], next(network.parameters()).device
        chosen = chosen[np.argsort(self.lengths(examples)[chosen], kind="stable")]
        some = (chosen[first : first + self.at_once()] for first in range(0, len(chosen), self.at_once()))
        fit(network, (self.collate(examples.gather(rows)).inputs.to(device) for rows in some))
        settle(network, not self.validated)

    def at_once(self) -> int:
        """Ten minutes of the longest recordings, at most."""
        from matinee.nets.speech_chunks import LONGEST

        return max(1, int(TOGETHER / max(self.longest, LONGEST)))

    def lengths(self, examples: Examples) -> Array:
        """By samples or frames."""
        return examples.lengths(self._column)

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """int16 (batch, longest) -> float waves from -1 to 1; or frames (batch, longest, channels); zeros behind."""
        inputs = columns["sound"].float().div_(32768) if self.rate else columns["frames"]
        return Batch(inputs, {"target": columns["target"].long(), "reference": columns["reference"]})

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """Sounds with noise; how fast and high voices are is varied where the network sees it, in the spectra."""
        if not self.noise or not self.rate:
            return batch
        from matinee.media.sound_augment import SoundPolicy, augment, lengths_of
        from matinee.nets.speech_front import within

        waves, policy = batch.inputs, SoundPolicy(place=False, noise=self.noise)
        there = within(lengths_of(waves), waves.shape[1])
        return Batch(augment(waves, waves.shape[1], policy, moment) * there, batch.targets, batch.rows)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """What is heard, not yet searched for words."""
        return network(batch.inputs)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Connectionist temporal classification."""
        from matinee.nets.speech import surprise

        return surprise(outputs, batch.targets["target"], self.mean_length)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """What is heard, and the words in it: the likeliest symbols while it learns, then the best of beams."""
        from matinee.nets.speech import in_parts, searched

        heard = in_parts(network, inputs, self.rate or self.frame_rate)
        return searched(heard, network, self.symbols, self.language, self.beams, 1 / self.step)

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """It has learned: how much likely words count is chosen by the word error rate of validation recordings."""
        from matinee.media.text_scores import told_texts
        from matinee.nets.search_tuning import tune

        texts = [each[0] for each in told_texts(targets["reference"])]
        tune(network, outputs, texts, self.symbols, self.language, self.beams, 1 / self.step)

    # -- scores and answers

    def meter(self) -> Meter:
        """Word error rate first."""
        from matinee.media.transcript_scores import TranscriptMeter

        return TranscriptMeter(self.symbols, self.text)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Thumbnails of spectra, each of a whole recording."""
        from matinee.nets.speech_front import prints_of

        found = [np.zeros((0, 1), np.float32)]
        for first in range(0, len(examples), self.at_once()):
            some = examples.gather(np.arange(first, min(first + self.at_once(), len(examples))))
            found.append(prints_of(self.collate(some).inputs, self.shape).numpy())
        return np.concatenate(found[1:] or found), speech_columns.NEAR

    def trivial(self, train: Examples) -> Model | None:
        """The commonest transcript."""
        import torch

        from matinee.core.model import Model

        if not len(train):
            return None
        targets = train.ragged("target")
        usual = Counter(tuple(targets[int(row)].tolist()) for row in train.rows).most_common(1)[0][0]
        task = dataclasses.replace(self, network="always", size="s", usual=usual)
        network = task.build()
        network.get_buffer("numbers").copy_(torch.tensor(usual, dtype=torch.int64))
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """One linear layer that sees a tenth of a second, and the same knowledge of words."""
        if self.network == "linear":
            return None
        facts = ("symbols", "pieces", "rate", "channels", "cepstra", "bands", "frame_rate", "mean_length", "validated")
        same = {name: getattr(self, name) for name in (*facts, "language", "beams", "text")}
        return SpeechRecognition(**same, network="linear", size="s")

    def logits(self, outputs: Any) -> Tensor:
        """Log-probabilities (batch, frames, symbols)."""
        told: Tensor = outputs.log_probs
        return told

    def merge(self, outputs: Sequence[Any]) -> Any:
        """The mean of what each hears in every frame, and its likeliest symbols."""
        import torch

        from matinee.nets.transcribing import greedy

        told = torch.stack([each.log_probs for each in outputs]).logsumexp(0) - float(np.log(len(outputs)))
        return greedy(told, outputs[0].lengths)

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """One after the other, each as wide as the widest."""
        from matinee.nets.padding import joined

        return joined(outputs)

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Files (paths, bytes), (array, its rate) or arrays -> waves (batch, samples) or frames (batch, frames, n)."""
        return speech_columns.encoded(raws, self.rate, self.channels)

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The text, and when each word was said, in seconds, and how sure it is."""
        from matinee.nets.transcribing import greedy
        from matinee.nets.transcript_times import spell, words_of

        heard = outputs if outputs.numbers.shape[1] else greedy(outputs.log_probs.detach(), outputs.lengths)
        return [
            {"text": spell(heard, place, self.symbols), "words": words_of(heard, place, self.symbols, self.step)}
            for place in range(len(heard.lengths))
        ]

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """The spectrum of each recording, its words below when they are said, and a player where there is sound."""
        return self._drawn(inputs, self.decode(outputs))

    def show_scored(self, outputs: Any, batch: Batch) -> list[Piece]:
        """The same, and what was said in truth."""
        from matinee.media.text_scores import told_texts

        truths = [texts[0] for texts in told_texts(batch.targets["reference"])]
        told = zip(self.decode(outputs), truths, strict=True)
        return self._drawn(batch.inputs, [{**answer, "truth": truth} for answer, truth in told])

    def _drawn(self, inputs: Tensor, answers: Sequence[Mapping[str, Any]]) -> list[Piece]:
        from matinee.media.speech_pictures import heard_pieces
        from matinee.nets.speech_front import spectra_of

        whole, lengths = spectra_of(inputs, self.shape)
        spectra = [values[:, :frames].numpy() for values, frames in zip(whole, lengths.tolist(), strict=True)]
        return heard_pieces(list(inputs.cpu().numpy()), self.rate, spectra, answers, self.step / STRIDE)

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files as they are, long ones in windows that overlap; folders as the recordings in them."""
        from matinee.nets.speech_chunks import LONGEST

        return list_sounds(places, LONGEST, speech_windows.OVERLAP) if self.rate else speech_columns.list_frames(places)

    def follow(
        self, told: Iterator[tuple[Any, dict[str, Any] | DataError]]
    ) -> Iterator[tuple[Any, dict[str, Any] | DataError]]:
        """What was heard in the windows of a long recording, as one text."""
        return gathered(told, speech_windows.transcript)

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """What was said as subtitles, and as text."""
        return {**speech_windows.subtitles(answer), ".txt": f"{answer['text']}\n".encode("utf-8", "replace")}
