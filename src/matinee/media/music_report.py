"""What the report shows of a composer: its pieces to see and to hear, beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from matinee.core.examples import Array, Examples
from matinee.core.pieces import Lines, Piece, Sound, Table, Text
from matinee.media.music_looks import degrees, in_common, lengths, longest_shared, told
from matinee.media.piano_rolls import key_name, notes_of
from matinee.media.roll_sounds import rendered

REAL: Final = 32
"""Real pieces that generated ones are compared with."""
SEARCHED: Final = 1500
"""Pieces in which copies are looked for."""
RATE: Final = 11_025
SECONDS: Final = 12.0


def heard(cells: Array, picture: Array, terms: tuple[int, bool, float]) -> Sound:
    """A player for the beginning of a roll. terms: frames to a quarter note, whether it tells holds, the tempo."""
    grid, holds, tempo = terms
    notes = [(n.pitch, n.start / grid, n.length / grid) for n in notes_of(cells, holds)]
    samples = (rendered(notes, tempo, RATE, SECONDS) * 32767).astype(np.int16)
    return Sound(samples, RATE, key_name(cells), picture)


def composed_pieces(
    rolls: Sequence[Array], drawn: Sequence[Piece], examples: Examples, terms: tuple[int, bool, float]
) -> list[Piece]:
    """Players and figures for the report.

    rolls: pieces that were composed from nothing, uint8 (frames, 88); drawn: some of them as players. examples: those
    that the model was scored on; their columns hold what it learned from, too. terms: frames to a quarter note,
    whether holds are told, quarter notes a minute.
    """
    grid, holds, _ = terms
    column = examples.ragged("cells")
    here = set(examples.rows.tolist())
    others = [column[row] for row in range(len(column)) if row not in here][:SEARCHED]
    real = [column[int(row)][: len(rolls[0])] for row in examples.rows[:REAL]]
    pieces: list[Piece] = [
        Text(
            f"Some of {len(rolls)} pieces that it composed from nothing. Time goes to the right, pitch upwards, with a "
            "line for every C; the redder a frame, the more it surprised the model."
        )
    ]
    pieces += drawn
    return [*pieces, _compared(rolls, real, others, grid, holds), *_histograms(rolls, real, grid, holds)]


def _compared(rolls: Sequence[Array], real: Sequence[Array], others: Sequence[Array], grid: int, holds: bool) -> Table:
    ours, theirs = told(rolls, grid, holds), told(real, grid, holds)
    some = real[: 2 * len(rolls)]
    shared = np.array(longest_shared([*rolls, *some], others)) / grid
    parts = (shared[: len(rolls)], shared[len(rolls) :])
    rows: list[tuple[str, ...]] = [
        (
            "longest passage that stands in another piece, in quarters (mean, most)",
            *(f"{np.mean(each):.1f}, {max(each):.1f}" if len(each) else "" for each in parts),
        )
    ]
    rows += [(name, f"{value:.3f}", f"{theirs[name]:.3f}") for name, value in ours.items()]
    return Table(
        ("", "composed", "real"),
        rows,
        "Real: the pieces that the model was scored on, as many frames of each. Passages are looked for in all other "
        f"pieces of the source ({len(others):,}), in whatever key: what it learned from is among them.",
    )


def _histograms(rolls: Sequence[Array], real: Sequence[Array], grid: int, holds: bool) -> list[Piece]:
    most = 4 * grid
    pitches = {"composed": degrees(rolls), "real": degrees(real)}
    long = {"composed": lengths(rolls, holds, most), "real": lengths(real, holds, most)}
    quarters = (np.arange(most) + 1) / grid
    said = f"{100 * in_common(*pitches.values()):.0f} % in common"
    also = f"{100 * in_common(*long.values()):.0f} % in common"
    return [
        Lines(_points(pitches, np.arange(12)), "semitones above the tonic of each piece", "share of what sounds",
              f"How often each degree of the scale sounds: {said}."),
        Lines(_points(long, quarters), "quarters that a note lasts", "share of the notes",
              f"How long notes are (the last: and longer): {also}."),
    ]  # fmt: skip


def _points(shares: Mapping[str, Array], places: Array) -> dict[str, list[tuple[float, float]]]:
    return {
        name: [(float(place), float(share)) for place, share in zip(places, each, strict=True)]
        for name, each in shares.items()
    }
