"""Networks that read one sequence and write another: Transformer, recurrent with attention, and a mere copy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from matinee.nets.attention import Reader, Writer, positions
from matinee.nets.dropping import dropped
from matinee.nets.searching import PAD, State, Writing


@dataclass(frozen=True)
class WriterShape:
    """pieces: sizes of the vocabularies read and written (equal and `shared`: one table for both); width; layers."""

    source: int
    target: int
    shared: bool
    width: int
    layers: int
    dropout: float


class Tables(nn.Module):
    """The vectors of the pieces. Those written are also the output layer (Press and Wolf, 2017)."""

    def __init__(self, shape: WriterShape) -> None:
        super().__init__()
        self.shape = shape
        self.written = nn.Embedding(shape.target, shape.width, padding_idx=PAD)
        self.read = None if shape.shared else nn.Embedding(shape.source, shape.width, padding_idx=PAD)
        for table in (self.written, self.read):
            if table is not None:
                nn.init.normal_(table.weight, std=shape.width**-0.5)

    def of_source(self, numbers: Tensor) -> Tensor:
        """(batch, n) -> (batch, n, width)."""
        found: Tensor = (self.read or self.written)(numbers)
        return found * math.sqrt(self.shape.width)

    def of_written(self, numbers: Tensor) -> Tensor:
        """(batch, length) -> (batch, length, width)."""
        found: Tensor = self.written(numbers)
        return found * math.sqrt(self.shape.width)

    def dropped(self, values: Tensor) -> Tensor:
        """Some of them set to zero while learning."""
        return dropped(values, self.shape.dropout, self.training)

    def logits(self, values: Tensor) -> Tensor:
        """(..., width) -> (..., pieces)."""
        return values @ self.written.weight.to(values.dtype).T


class Transformer(Writing):
    """Encoder and decoder with norms first."""

    def __init__(self, shape: WriterShape) -> None:
        super().__init__()
        self.shape, self.tables = shape, Tables(shape)
        self.readers = nn.ModuleList(Reader(shape.width, shape.dropout) for _ in range(shape.layers))
        self.writers = nn.ModuleList(Writer(shape.width, shape.dropout) for _ in range(shape.layers))
        self.read_norm, self.norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)

    def _read(self, source: Tensor) -> tuple[Tensor, Tensor]:
        seen = (source != PAD)[:, None, None]
        values = self.tables.of_source(source)
        values = self.tables.dropped(values + positions(0, source.shape[1], self.shape.width, source.device))
        for reader in self.readers:
            values = reader(values, seen)
        return self.read_norm(values), seen

    def _placed(self, written: Tensor, first: int) -> Tensor:
        places = positions(first, written.shape[1], self.shape.width, written.device)
        return self.tables.dropped(self.tables.of_written(written) + places)

    def forward(self, source: Tensor, written: Tensor) -> Tensor:
        """As promised by `Writing`."""
        memory, seen = self._read(source)
        values = self._placed(written, 0)
        for writer in self._writers():
            values = writer(values, *writer.look.offered(memory), seen)
        return self.tables.logits(self.norm(values))

    def _writers(self) -> list[Writer]:
        return [writer for writer in self.writers if isinstance(writer, Writer)]

    def begin(self, source: Tensor, beams: int) -> State:
        """Keys and values of the source, for every layer, and none of what is written."""
        memory, seen = self._read(source)
        kept = [tensor for writer in self._writers() for tensor in writer.look.offered(memory)]
        heads, width = kept[0].shape[1], kept[0].shape[3]
        nothing = kept[0].new_empty(len(source) * beams, heads, 0, width)
        return State([nothing for _ in kept], [*kept, seen])

    def step(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """As promised by `Writing`."""
        values = self._placed(last[:, None], state.step)
        own: list[Tensor] = []
        for place, writer in enumerate(self._writers()):
            pair = slice(2 * place, 2 * place + 2)
            past, source = state.own[pair], state.source[pair]
            values, kept = writer.step(values, (past[0], past[1]), (source[0], source[1]), state.source[-1])
            own += kept
        return self.tables.logits(self.norm(values))[:, 0], State(own, state.source, state.step + 1)

    def attention(self, source: Tensor, written: Tensor) -> Tensor:
        """Of the last layer but one where there are several: the last looks ahead to what it will write next."""
        memory, seen = self._read(source)
        values, writers = self._placed(written, 0), self._writers()
        shown = max(0, len(writers) - 2)
        for writer in writers[:shown]:
            values = writer(values, *writer.look.offered(memory), seen)
        writer = writers[shown]
        values = values + writer.recall.within(writer.first(values), causal=True)
        return writer.look.weights(writer.second(values), writer.look.offered(memory)[0], seen)


class Recurrent(Writing):
    """GRUs in both directions read, a GRU with attention over what was read writes (Luong et al., 2015)."""

    def __init__(self, shape: WriterShape) -> None:
        super().__init__()
        self.shape, self.tables = shape, Tables(shape)
        width, share = shape.width, shape.dropout if shape.layers > 1 else 0.0
        self.reader = nn.GRU(width, width // 2, shape.layers, batch_first=True, bidirectional=True, dropout=share)
        self.writer = nn.GRU(width, width, shape.layers, batch_first=True, dropout=share)
        self.bridge = nn.Linear(width, width)
        self.ask = nn.Linear(width, width, bias=False)
        self.mix = nn.Linear(2 * width, width)

    def _read(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What was read (batch, n, width), its mask (batch, n), the writer's first state (layers, batch, width)."""
        values, mask = self.tables.dropped(self.tables.of_source(source)), source != PAD
        lengths = mask.sum(1).clamp(min=1).cpu()
        with torch.autocast(source.device.type, enabled=False):  # bfloat16 inputs do not meet float32 weights here
            packed = pack_padded_sequence(values.float(), lengths, batch_first=True, enforce_sorted=False)
            read, last = self.reader(packed)
        memory = pad_packed_sequence(read, batch_first=True, total_length=source.shape[1])[0]
        both = last.view(self.shape.layers, 2, len(source), -1).transpose(1, 2).flatten(2)
        return self.tables.dropped(memory), mask, torch.tanh(self.bridge(both)).float().contiguous()

    def _weights(self, values: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.ask(values).float() @ memory.float().transpose(1, 2) / math.sqrt(self.shape.width)
        return scores.masked_fill(~mask[:, None], -math.inf).softmax(-1)

    def _say(self, values: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        found = self._weights(values, memory, mask) @ memory.float()
        mixed: Tensor = torch.tanh(self.mix(torch.cat((values, found), -1)))
        return self.tables.logits(self.tables.dropped(mixed))

    def _advance(self, written: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        values = self.tables.dropped(self.tables.of_written(written))
        with torch.autocast(written.device.type, enabled=False):
            values, state = self.writer(values.float(), state)
        return values, state

    def forward(self, source: Tensor, written: Tensor) -> Tensor:
        """As promised by `Writing`."""
        memory, mask, first = self._read(source)
        return self._say(self._advance(written, first)[0], memory, mask)

    def begin(self, source: Tensor, beams: int) -> State:
        """What was read, and the writer's first state for every beam."""
        memory, mask, first = self._read(source)
        return State([first.transpose(0, 1).repeat_interleave(beams, 0)], [memory, mask])

    def step(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """As promised by `Writing`."""
        values, kept = self._advance(last[:, None], state.own[0].transpose(0, 1).contiguous())
        together = values.view(len(state.source[0]), -1, values.shape[-1])
        logits = self._say(together, state.source[0], state.source[1]).flatten(0, 1)
        return logits, State([kept.transpose(0, 1)], state.source, state.step + 1)

    def attention(self, source: Tensor, written: Tensor) -> Tensor:
        """As promised by `Writing`."""
        memory, mask, first = self._read(source)
        return self._weights(self._advance(written, first)[0], memory, mask)


class Copy(nn.Module):
    """Writes what it reads."""

    def forward(self, source: Tensor) -> Tensor:
        """(batch, n) -> the same."""
        return source


def build(name: str, shape: WriterShape) -> nn.Module:
    """The network called "transformer", "recurrent" or "copy"."""
    if name == "copy":
        return Copy()
    return Recurrent(shape) if name == "recurrent" else Transformer(shape)
