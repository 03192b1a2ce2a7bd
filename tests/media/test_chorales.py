"""The chorales that music21 carries."""

from __future__ import annotations

import pytest

from matinee.media import chorales
from matinee.media.piano_rolls import sounding


def test_chorales_are_read_once_whatever_forms_music21_has_them_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("music21")
    monkeypatch.setattr(chorales, "COUNT", 6)  # the sixth is there as .krn and as .mxl
    told: list[int] = []
    found = chorales.read_chorales(4, 4096, lambda done, count: told.append(done))
    assert told == [1, 2, 3, 4, 5, 6] and len(found.rolls) == 6 and not found.entries
    assert found.names[5] == "6. bach/bwv281"
    assert all(3 <= sounding(roll).sum(1).max() <= 5 for roll in found.rolls)
    again = chorales.read_chorales(4, 4096, lambda done, count: told.append(done))
    assert len(told) == 6 and all((one == other).all() for one, other in zip(found.rolls, again.rolls, strict=True))
