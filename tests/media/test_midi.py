"""MIDI files as people have them: type 0, 1 and 2, running status, drums, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from matinee.core.errors import DataError
from matinee.media.midi_files import read_midi, write_midi
from matinee.media.music_requests import Terms, cells_of
from matinee.media.music_sources import fits, read_pieces
from matinee.media.piano_rolls import OPEN, SILENT, Note, notes_of

pytest.importorskip("symusic")


def midi(*tracks: bytes, kind: int = 1, ticks: int = 96) -> bytes:
    """A file of these tracks, each its events without the end."""
    chunks = [each + b"\x00\xff\x2f\x00" for each in tracks]
    body = b"".join(b"MTrk" + struct.pack(">I", len(each)) + each for each in chunks)
    return b"MThd" + struct.pack(">IHHH", 6, kind, len(tracks), ticks) + body


TUNE = b"\x00\x90\x3c\x50\x60\x80\x3c\x40\x00\x90\x40\x50\x60\x80\x40\x40"  # C and E, a quarter each


def test_a_file_is_read_as_it_sounds_and_written_back() -> None:
    cells, left_out = read_midi(midi(TUNE), 4, 100)
    assert notes_of(cells, True) == [Note(60, 0, 4), Note(64, 4, 4)] and not left_out
    again, _ = read_midi(write_midi([(n.pitch, n.start / 4, n.length / 4) for n in notes_of(cells, True)], 90), 4, 100)
    assert (again == cells).all()


def test_running_status_and_notes_that_end_by_velocity_zero() -> None:
    cells, _ = read_midi(midi(b"\x00\x90\x3c\x50\x60\x3c\x00\x00\x40\x50\x60\x40\x00"), 4, 100)
    assert notes_of(cells, True) == [Note(60, 0, 4), Note(64, 4, 4)]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_files_of_all_types(kind: int) -> None:
    cells, _ = read_midi(midi(TUNE, kind=kind), 4, 100)
    assert len(cells) == 8
    wrapped = b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + midi(TUNE, kind=kind)
    assert (read_midi(wrapped, 4, 100)[0] == cells).all()


def test_tracks_of_type_2_are_tunes_in_a_row_and_what_begins_on_a_beat_still_does() -> None:
    cells, remarks = read_midi(midi(TUNE, b"\x18" + TUNE[1:], kind=2), 4, 100)
    assert notes_of(cells, True) == [Note(60, 0, 4), Note(64, 4, 4), Note(60, 9, 4), Note(64, 13, 4)]
    assert "2 tracks are read as tunes" in remarks[0]
    cells, _ = read_midi(midi(b"\x81\x78" + TUNE[1:]), 4, 100)  # two quarters and a half before it
    assert notes_of(cells, True)[0] == Note(60, 2, 4)


def test_what_is_no_music_is_said() -> None:
    drums = b"\x00\x99\x24\x50\x60\x89\x24\x40"
    cells, left_out = read_midi(midi(TUNE, drums), 4, 100)
    assert len(cells) == 8 and left_out == ["1 beats of drums are left out"]
    _, left_out = read_midi(midi(TUNE), 4, 5)
    assert "first 5 frames" in left_out[0]
    for raw, words in {
        midi(drums): "only drums", midi(b""): "no note", b"RIFF" + bytes(90): "MThd", b"ID3" + bytes(90): "MThd",
        midi(TUNE)[:-9]: "damaged", midi(TUNE, ticks=0xE728): "SMPTE", b"MThd": "damaged",
        midi(b"\x00\x90\x05\x50\x60\x80\x05\x40"): "88 keys",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=words):
            read_midi(raw, 4, 100)


def test_damage_is_refused_or_read_but_never_more() -> None:
    generator, whole = np.random.default_rng(0), midi(TUNE * 8, TUNE)
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(int(generator.integers(1, 8))):
            raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        try:
            cells, _ = read_midi(bytes(raw), 4, 1000)
        except DataError:
            continue
        assert 0 < len(cells) <= 1000


def test_a_folder_with_its_splits_and_its_ledger(tmp_path: Path) -> None:
    for name in ("train/a.mid", "train/b.MID", "test/c.midi", "train/empty.mid", "train/notes.txt", "train/bad.mid"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(midi(TUNE))
    (tmp_path / "train/empty.mid").write_bytes(b"")
    (tmp_path / "train/bad.mid").write_bytes(b"MThd nonsense")
    assert fits(str(tmp_path)) == "a folder with MIDI files" and fits(str(tmp_path / "train/a.mid"))
    pieces = read_pieces(str(tmp_path), None, 100, lambda done, count: None)
    assert dict(zip(pieces.names, pieces.splits, strict=True)) == {"train/a.mid": 0, "train/b.MID": 0, "test/c.midi": 2}
    assert sorted(entry.kind for entry in pieces.entries) == ["empty", "ignored", "unreadable"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.mid").write_bytes(midi(b""))
    with pytest.raises(DataError, match=r"x\.mid: there is no note"):
        read_pieces(str(tmp_path / "none"), None, 100, lambda done, count: None)


def test_requests_with_files(tmp_path: Path) -> None:
    path, terms = tmp_path / "tune.mid", Terms(4, True, 64, 16)
    path.write_bytes(midi(TUNE))
    cells = cells_of(path, terms)
    assert len(cells) == 24 and (cells[8:] == OPEN).all() and (cells[:8] < OPEN).all()
    around = cells_of({"around": str(path), "voice": "highest"}, terms)
    assert len(around) == 8 and (around[0, 40:] == SILENT).all() and (around[0, :39] == OPEN).all()
    assert (cells_of({"around": str(path), "voice": "lowest"}, terms)[0, 40:] == OPEN).all()
    assert len(cells_of({"begin": str(path), "take": 1, "beats": 1, "frames": 2}, terms)) == 6
    assert (cells_of({"begin": str(path), "key": "C major"}, terms)[8:-1, 39] == OPEN).all()
    with pytest.raises(DataError, match="voice"):
        cells_of({"around": str(path), "voice": "alto"}, terms)
    path.write_bytes(b"MThd nonsense")
    with pytest.raises(DataError, match="damaged"):
        cells_of(str(path), terms)


def test_a_table_beside_the_files_says_their_splits(tmp_path: Path) -> None:
    """As MAESTRO's does."""
    for name in ("2018/a.midi", "2018/b.midi", "2004/c.midi", "2004/d.midi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(midi(TUNE))
    table = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
    rows = (("a", "train", 2018), ("b", "validation", 2018), ("c", "test", 2004), ("gone", "train", 2018))
    table += "".join(f'Bach,"Air, in D",{split},{year},{year}/{name}.midi,x.wav,9.5\n' for name, split, year in rows)
    (tmp_path / "maestro-v3.0.0.csv").write_text(table)
    pieces = read_pieces(str(tmp_path), None, 100, lambda done, count: None)
    found = dict(zip(pieces.names, pieces.splits, strict=True))
    assert found == {"2018/a.midi": 0, "2018/b.midi": 1, "2004/c.midi": 2, "2004/d.midi": -1}
    assert [(each.file, each.kind) for each in pieces.entries] == [
        ("2018/gone.midi", "missing"),
        ("2004/d.midi", "event"),
    ]
