"""Networks that say how likely each frame of a piano roll is, given those before it.

A piece is cells (batch, frames, 88), int: 0 padding, 1 silent, 2 struck, 3 held, 4 and above open, still to be written
(media/piano_rolls.py says what they mean). A body reads the frames from left to right, and what each would be if the
piece repeated itself (nets/echoes.py); a head tells of the next one how likely it is:

    independent   each key for itself, as the networks do that the field compares on piano rolls
    joint         note after note, from the highest on, each given those above it: an exact likelihood of the chord
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad, relu

from matinee.nets.composer_bodies import Body, Recurrent, Transformer
from matinee.nets.echoes import LEVELS, echo, echoes, unheard

KEYS: Final = 88
SILENT, STRUCK, HELD, OPEN = 1, 2, 3, 4
SIZES: Final = {"s": (64, 1), "m": (256, 2), "l": (512, 3)}
"""Units and layers of a body."""
BEATS: Final = (1, 2, 3, 4, 6, 8)  # quarter notes after which the clocks that a network sees begin again


@dataclass(frozen=True)
class RollShape:
    """What a network reads and writes.

    holds: cells say whether a key is struck or held. most: notes of a frame, at most, that it writes. joint: the notes
    of a frame depend on each other. size: s, m or l. dropout: share of units left out while learning. grid: frames to
    a quarter note.
    """

    holds: bool
    most: int
    joint: bool = True
    size: str = "m"
    dropout: float = 0.0
    grid: int = 1

    @property
    def states(self) -> int:
        """Ways for a key to sound."""
        return 2 if self.holds else 1


def sounds(cells: Tensor, shape: RollShape) -> Tensor:
    """Cells (..., 88) -> float (..., 88 * states), 1 for what sounds: struck, then held."""
    states = [cells == STRUCK, cells == HELD] if shape.holds else [(cells == STRUCK) | (cells == HELD)]
    return torch.cat(states, -1).float()


class Head(nn.Module):
    """How likely frames are, given what a body makes of those before, and then what a repeat would bring.

    So states are (frames, units + sounds + 5); `parted` takes them apart.
    """

    def __init__(self, units: int, shape: RollShape) -> None:
        super().__init__()
        self.shape = shape
        self.believe = nn.Linear(units, 1)

    def parted(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a body made, what a repeat would bring, bool (frames, sounds), 0 or 1 (frames, 1): is there any."""
        sounds = KEYS * self.shape.states + LEVELS
        return states[..., :-sounds], states[..., -sounds:-LEVELS] > 0, 1 - states[..., -LEVELS : 1 - LEVELS]

    @abstractmethod
    def surprise(self, states: Tensor, cells: Tensor) -> Tensor:
        """Nats (frames,) of the cells (frames, 88), given states."""

    @abstractmethod
    def drawn(self, state: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """Cells (batch, 88) drawn for the next frame, given its state, and how likely it was to fit.

        That is a logarithm (batch,): of the probability, choice after choice, of all that was allowed.
        """


@dataclass(frozen=True)
class Asked:
    """What a drawn frame has to be like.

    free: which of the sounds (batch, 88 * states) are allowed; must: which of the keys (batch, 88) have to sound;
    some: where anything has to (batch,), if it is allowed.
    chance: numbers from 0 up to 1, (batch, at least 89): place i is for the i-th decision. temperature: below 1 the
    likely becomes likelier; nucleus: share of the likeliest that is drawn from.
    """

    free: Tensor
    must: Tensor
    some: Tensor
    chance: Tensor
    temperature: float = 1.0
    nucleus: float = 1.0


class Independent(Head):
    """Each key for itself: silent, struck or held."""

    def __init__(self, units: int, shape: RollShape) -> None:
        super().__init__(units, shape)
        self.say = nn.Linear(units, KEYS * shape.states)
        with torch.no_grad():
            self.say.bias.fill_(-3.0)  # most keys are silent

    def shares(self, states: Tensor) -> Tensor:
        """Log-probabilities (..., 1 + states, 88): silent, struck, held."""
        return logged(self._logits(states))

    def _logits(self, states: Tensor) -> Tensor:
        made, told, there = self.parted(states)
        said: Tensor = self.say(made).float() + torch.where(told, 1, -1) * there * self.believe(made).float()
        return said.view(*said.shape[:-1], self.shape.states, KEYS)

    def surprise(self, states: Tensor, cells: Tensor) -> Tensor:
        """As promised by `Head`."""
        return key_surprise(self.shares(states), cells)

    def drawn(self, state: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """As promised by `Head`; the nucleus means nothing for a choice of two."""
        return drawn_keys(self._logits(state) / asked.temperature, asked)


def logged(logits: Tensor) -> Tensor:
    """Logits (..., states, 88) against silence -> log-probabilities (..., 1 + states, 88)."""
    return pad(logits, (0, 0, 1, 0)).log_softmax(-2)


def key_surprise(shares: Tensor, cells: Tensor) -> Tensor:
    """Nats (frames,) of cells (frames, 88) under log-probabilities (frames, 1 + states, 88)."""
    choice = (cells.long() - SILENT).clamp(0, shares.shape[-2] - 1)
    return -shares.gather(-2, choice.unsqueeze(-2)).squeeze(-2).sum(-1)


def drawn_keys(logits: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """Cells (batch, 88), each key for itself, of logits (batch, states, 88) against silence; see `Head.drawn`."""
    allowed = torch.cat([~asked.must[:, None], asked.free.view(len(logits), -1, KEYS)], 1)
    shares = pad(logits, (0, 0, 1, 0)).softmax(1) * allowed
    mass = shares.sum(1, keepdim=True).clamp(min=1e-30)
    passed = (shares / mass).cumsum(1)[:, :-1] <= asked.chance[:, None, :KEYS]
    drawn = SILENT + passed.sum(1)
    likeliest = shares[:, 1:].flatten(1).max(1)
    owed = asked.some & (drawn == SILENT).all(1) & (likeliest[0] > 0)
    key, state = likeliest[1] % KEYS, torch.div(likeliest[1], KEYS, rounding_mode="floor")
    note = torch.where(owed, STRUCK + state, SILENT)
    return drawn.scatter_reduce(1, key[:, None], note[:, None], "amax"), mass.log().sum((1, 2))


class Joint(Head):
    """Note after note, from the highest to the lowest, then an end: p(chord) = p(first) p(second | first) ...

    As each chord has one order only, this is an exact likelihood of the set of its notes. What is known of the notes
    above is the sum of their vectors, as in NADE (Larochelle and Murray, 2011), and the lowest of them.
    """

    def __init__(self, units: int, shape: RollShape) -> None:
        super().__init__(units, shape)
        tokens = 1 + KEYS * shape.states  # 0 ends the frame
        self.above, self.last = nn.Embedding(tokens, units), nn.Embedding(tokens, units)
        with torch.no_grad():
            self.above.weight.mul_(0.1)
            self.last.weight.mul_(0.1)
        self.of, self.think, self.say = nn.Linear(units, units), nn.Linear(units, units), nn.Linear(units, tokens)

    def _below(self, lowest: Tensor) -> Tensor:
        """Which tokens may follow, bool (rows, tokens), where key `lowest` (rows,) was the last; 88: none was."""
        keys = torch.arange(KEYS, device=lowest.device).repeat(self.shape.states)
        return pad(keys < lowest[:, None], (1, 0), value=True)

    def surprise(self, states: Tensor, cells: Tensor) -> Tensor:
        """As promised by `Head`."""
        tokens = chain(cells, self.shape)
        before = pad(tokens[:, :-1], (1, 0))
        there = (tokens > 0) | (torch.arange(tokens.shape[1], device=tokens.device) == (tokens > 0).sum(1)[:, None])
        made, told, repeats = self.parted(states)
        known = self.of(made)[:, None] + self._known(before).cumsum(1) + self.last(before)
        keys = torch.where(before[there] > 0, (before[there] - 1) % KEYS, KEYS)
        frame = torch.nonzero(there)[:, 0]
        logits = self._say(known[there], told[frame], repeats[frame], keys).masked_fill(~self._below(keys), -torch.inf)
        nats = -logits.log_softmax(-1).gather(-1, tokens[there][:, None])[:, 0]
        each: Tensor = nats.new_zeros(tokens.shape).masked_scatter(there, nats)
        return each.sum(1)

    def _known(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.above(tokens) * (tokens > 0)[..., None]
        return found

    def _say(self, known: Tensor, told: Tensor, repeats: Tensor, lowest: Tensor) -> Tensor:
        """Logits (rows, tokens), where key `lowest` (rows,) was the last; what a repeat would bring next has more."""
        share = self.shape.dropout
        thought = dropout(relu(known), share, self.training)
        thought = dropout(relu(self.think(thought)), share, self.training)
        keys = torch.arange(KEYS, dtype=torch.int16, device=lowest.device).repeat(self.shape.states)
        best, sound = torch.where(told & (keys < lowest[:, None]), keys, -1).max(1)
        token = torch.where(best >= 0, 1 + sound, 0)
        said: Tensor = self.say(thought).float()
        return said.scatter_add(1, token[:, None], repeats * self.believe(thought).float())

    def drawn(self, state: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """As promised by `Head`."""
        batch = len(state)
        made, told, repeats = self.parted(state)
        known, last = self.of(made), state.new_zeros(batch, dtype=torch.long)
        lowest = torch.full_like(last, KEYS)
        going, cells = torch.ones_like(last, dtype=torch.bool), torch.full_like(asked.must, SILENT, dtype=torch.long)
        mass = torch.zeros(batch, device=state.device)
        places = torch.arange(KEYS, device=state.device)
        most = max(self.shape.most, int(asked.must.sum(1).max()))
        for turn in range(most + 1):
            logits = self._say(known + self.last(last), told, repeats, lowest) / asked.temperature
            owed = asked.must & (places < lowest[:, None])
            highest = torch.where(owed, places, -1).amax(1)  # of what must still come: nothing below it may come first
            fits = (places >= highest[:, None]).repeat(1, self.shape.states) & asked.free
            full = turn >= self.shape.most - owed.sum(1)  # no room but for what must still come
            fits &= ~full[:, None] | owed.repeat(1, self.shape.states)
            may_end = (highest < 0) & ~(asked.some & (lowest == KEYS))
            allowed = torch.cat([may_end[:, None], fits], 1) & self._below(lowest)
            allowed[:, 0] |= ~allowed.any(1)
            below = logits.masked_fill(~self._below(lowest), -torch.inf)
            logits = logits.masked_fill(~allowed, -torch.inf)
            mass += torch.where(going, logits.logsumexp(-1) - below.logsumexp(-1), 0)
            token = torch.where(going, pick(logits, asked.chance[:, turn], asked.nucleus), 0)
            going = token > 0
            if not bool(going.any()):
                break
            key = (token - 1) % KEYS
            lowest = torch.where(going, key, lowest)
            known, last = known + self._known(token), token
            written = torch.where(going, STRUCK + torch.div(token - 1, KEYS, rounding_mode="floor"), SILENT)
            cells.scatter_reduce_(1, key.clamp(min=0)[:, None], written[:, None], "amax")
        return cells, mass


def chain(cells: Tensor, shape: RollShape) -> Tensor:
    """Cells (frames, 88) -> tokens (frames, most notes + 1), from the highest note on, zeros behind."""
    there = (cells == STRUCK) | (cells == HELD)
    most = int(there.sum(1).max()) if len(cells) else 0
    places = torch.arange(1, KEYS + 1, device=cells.device)
    keys = torch.where(there, places, 0).topk(most, 1).values if most else cells.new_zeros(len(cells), 0).long()
    if shape.holds and most:
        held = (cells == HELD).gather(1, (keys - 1).clamp(min=0)) & (keys > 0)
        keys = keys + KEYS * held
    return pad(keys, (0, 1))


def pick(logits: Tensor, chance: Tensor, nucleus: float) -> Tensor:
    """A choice for each row of logits (batch, choices), by one number from 0 up to 1 each (batch,).

    nucleus: only the likeliest that together have this share are drawn from (Holtzman et al., 2020).
    """
    shares, order = logits.softmax(-1).sort(-1, descending=True)
    if nucleus < 1:
        shares = shares.masked_fill(shares.cumsum(-1) - shares >= nucleus, 0)
    passed = shares.cumsum(-1)
    place = (passed <= chance[:, None] * passed[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
    likely = (shares > 0).sum(-1) - 1  # rounding must not lead to what is not allowed
    return order.gather(-1, torch.minimum(place, likely)[:, None])[:, 0]


class Composer(nn.Module):
    """A body under a head. Also what `composing.py` needs to write frame after frame."""

    def __init__(self, name: str, shape: RollShape) -> None:
        super().__init__()
        units, layers = SIZES[shape.size]
        self.shape = shape
        self.into = nn.Linear(KEYS * shape.states, units)
        self.repeat = nn.Linear(KEYS * shape.states + LEVELS, units)
        self.start = nn.Parameter(torch.zeros(units))
        self.clock = nn.Embedding(sum(BEATS) * shape.grid, units)
        with torch.no_grad():
            self.clock.weight.mul_(0.1)
        self.body: Body = (Transformer if name == "transformer" else Recurrent)(units, layers, shape.dropout)
        self.head: Head = (Joint if shape.joint else Independent)(units, shape)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The cells (batch, frames, 88), and nats (batch, frames) of each frame given those before; 0 for padding."""
        heard = sounds(cells, self.shape)
        told = echoes(heard)
        frames = dropout(self.into(heard[:, :-1]), self.shape.dropout, self.training)
        first = self.start.to(frames.dtype).expand(len(cells), 1, -1)
        times = self._times(torch.arange(cells.shape[1], device=cells.device))
        made = self.body(torch.cat([first, frames], 1) + times + self.repeat(told))
        states = torch.cat([made, told.to(made.dtype)], -1)
        there = cells[:, :, 0] > 0
        nats = self.head.surprise(states[there], cells[there])
        return cells, nats.new_zeros(there.shape).masked_scatter(there, nats)

    def _times(self, frames: Tensor) -> Tensor:
        """Where in a quarter, and in two, three, four, six and eight of them, frames (n,) are: (n, units).

        Nothing says where a bar begins or how long it is; what has been heard does, and then the clocks keep count.
        """
        periods = [beats * self.shape.grid for beats in BEATS]
        places = [sum(periods[:number]) + frames % period for number, period in enumerate(periods)]
        found: Tensor = self.clock(torch.stack(places, -1)).sum(-2)
        return found

    def step(self, cells: Tensor | None, batch: int, past: Any) -> tuple[Tensor, Any]:
        """What is known of the next frame, its state, after cells (batch, 88); None: there is no frame before."""
        frame, kept, heard = past or (0, None, None)
        if cells is None:
            seen, told = self.start.expand(batch, -1), unheard(batch, KEYS * self.shape.states, self.start.device)
        else:
            sounding = sounds(cells, self.shape)
            seen = self.into(sounding)
            told, heard = echo(sounding, heard)
        times = self._times(torch.full((1,), frame, device=seen.device))
        made, kept = self.body.step(seen + times + self.repeat(told), kept)
        return torch.cat([made, told.to(made.dtype)], -1), (frame + 1, kept, heard)

    def chosen(self, past: Any, rows: Tensor) -> Any:
        """What `step` kept, of these rows of the batch."""
        return past[0], self.body.chosen(past[1], rows), past[2] and past[2].chosen(rows)

    def drawn(self, state: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """As promised by `Head`."""
        return self.head.drawn(state, asked)


class Plain(nn.Module):
    """Each key for itself: as often as ever ("constant"), or linear in the last frame ("linear")."""

    def __init__(self, name: str, shape: RollShape) -> None:
        super().__init__()
        self.shape = shape
        self.logits = nn.Parameter(torch.full((shape.states, KEYS), -3.0))
        self.head = nn.Linear(KEYS * shape.states, KEYS * shape.states, bias=False) if name == "linear" else None
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def _said(self, before: Tensor) -> Tensor:
        if self.head is None:
            return self.logits.float().expand(*before.shape[:-1], *self.logits.shape)
        said: Tensor = self.head(sounds(before, self.shape)).float()
        return self.logits + said.view(*said.shape[:-1], *self.logits.shape)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The cells (batch, frames, 88), and nats (batch, frames) of each frame given the last one; 0 for padding."""
        there = cells[:, :, 0] > 0
        before = pad(cells[:, :-1], (0, 0, 1, 0))
        nats = key_surprise(logged(self._said(before[there])), cells[there])
        return cells, nats.new_zeros(there.shape).masked_scatter(there, nats)

    def step(self, cells: Tensor | None, batch: int, past: Any) -> tuple[Tensor, Any]:
        """The last frame itself."""
        return (self.logits.new_zeros(batch, KEYS).long() if cells is None else cells), None

    def chosen(self, past: Any, rows: Tensor) -> Any:
        """Nothing is kept."""
        return past

    def drawn(self, state: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """As promised by `Head`."""
        return drawn_keys(self._said(state) / asked.temperature, asked)


def build(name: str, shape: RollShape) -> Composer | Plain:
    """The network called "recurrent", "transformer", "linear" or "constant"."""
    return Plain(name, shape) if name in ("linear", "constant") else Composer(name, shape)
