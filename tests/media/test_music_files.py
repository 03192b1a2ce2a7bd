"""Rolls, MIDI files and MATLAB's files: read as they are, and refused in words where they are damaged."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from matinee.core.errors import DataError
from matinee.media import mat_files
from matinee.media.mat_files import read_mat
from matinee.media.music_looks import degrees, in_common, lengths, longest_shared, told
from matinee.media.music_requests import Terms, cells_of, listed
from matinee.media.music_sources import fits, in_terms, prints, read_pieces, split_pieces, table_of
from matinee.media.piano_rolls import HELD, KEYS, OPEN, SILENT, STRUCK, Note, key_name, notes_of, out_of_key, roll_of
from matinee.media.roll_pictures import roll_picture
from matinee.media.roll_sounds import rendered, wav_bytes

Array = np.ndarray


def tune(seed: int, frames: int = 24, shift: int = 0) -> Array:
    """A roll of a melody over a bass."""
    generator = np.random.default_rng(seed)
    cells = np.full((frames, KEYS), SILENT, np.uint8)
    cells[np.arange(frames), 40 + shift + generator.choice([0, 2, 4, 5, 7, 9, 11], frames)] = STRUCK
    cells[::2, 20 + shift] = STRUCK
    return cells


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(name: str, array: Array) -> bytes:
    flags = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<ii", *array.shape))
    return element(14, flags + element(1, name.encode()) + element(2, array.astype(np.uint8).tobytes(order="F")))


def cell(name: str, arrays: list[Array]) -> bytes:
    flags = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, len(arrays)))
    return element(14, flags + element(1, name.encode()) + b"".join(matrix("", array) for array in arrays))


def mat(path: Path, *variables: bytes, packed: bool = True) -> Path:
    body = b"".join(
        struct.pack("<II", 15, len(each)) + each if packed else each
        for each in (zlib.compress(v) if packed else v for v in variables)
    )
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124, b" ") + struct.pack("<H", 0x0100) + b"IM" + body)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_rolls_of_matlab_are_read(tmp_path: Path, packed: bool) -> None:
    rolls = [(tune(seed, 20 + seed) == STRUCK).astype(np.uint8) for seed in range(6)]
    wrong = np.ones((5, 12))
    variables = cell("traindata", rolls[:4]), cell("validdata", rolls[4:5]), cell("testdata", [rolls[5], wrong])
    path = mat(tmp_path / "songs.mat", *variables, matrix("other", wrong), packed=packed)
    assert all((a == b).all() for a, b in zip(read_mat(path)["traindata"], rolls, strict=False))
    assert fits(str(path)) == "piano rolls" and fits(str(tmp_path))
    pieces = read_pieces(str(path), None, 100, lambda done, count: None)
    assert pieces.splits == [0, 0, 0, 0, 1, 2] and pieces.grid == 1 and not pieces.holds
    assert [entry.kind for entry in pieces.entries] == ["unreadable", "ignored"]


def test_matlab_files_against_scipy(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.io")
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 9, (3, 4)).astype(kind) for kind in ("u1", "i2", "f4", "f8")]
    cells = np.empty((1, 4), object)
    cells[0] = arrays
    for compressed in (True, False):
        scipy.savemat(tmp_path / "x.mat", {"a": cells, "b": arrays[3], "word": "text"}, do_compression=compressed)
        found = read_mat(tmp_path / "x.mat")
        assert all((one == other).all() for one, other in zip(found["a"], arrays, strict=True))
        assert (found["b"][0] == arrays[3]).all() and "word" not in found


def test_damaged_matlab_files_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mat(tmp_path / "a.mat", cell("traindata", [np.ones((9, KEYS))]), packed=False).read_bytes()
    generator, path = np.random.default_rng(0), tmp_path / "b.mat"
    for _ in range(150):
        raw = bytearray(whole[: int(generator.integers(1, len(whole)))])
        raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        path.write_bytes(raw)
        try:
            read_mat(path)
        except DataError as error:
            assert "b.mat" in str(error)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    with pytest.raises(DataError, match="HDF5"):
        read_mat(path)
    monkeypatch.setattr(mat_files, "LIMIT", 10_000)
    bomb = mat(tmp_path / "bomb.mat", cell("traindata", [np.zeros((9000, KEYS))]))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_mat(bomb)


def test_rolls_in_json(tmp_path: Path) -> None:
    good = [[60, 64], [60], [], [62, 65, -1]]
    whole = {"train": [good] * 3, "valid": [good, [[200.5]], "x"], "test": [[[60, 10], [61]]], "notes": 3}
    path = tmp_path / "songs-16th.json"
    path.write_text(json.dumps(whole))
    assert fits(str(path)) == "piano rolls"
    pieces = read_pieces(str(path), None, 3, lambda done, count: None)
    assert pieces.grid == 4 and pieces.splits == [0, 0, 0, 1, 2]
    kinds = [entry.kind for entry in pieces.entries]
    assert kinds.count("event") == 5 and kinds.count("unreadable") == 2 and kinds.count("ignored") == 1
    assert (np.nonzero(pieces.rolls[0][0] == STRUCK)[0] == [39, 43]).all()
    path.write_text('{"train": [[[60]')
    with pytest.raises(DataError, match="not JSON"):
        read_pieces(str(path), None, 9, lambda done, count: None)
    (tmp_path / "table.json").write_text('{"train": [{"a": 1}]}')
    assert fits(str(tmp_path / "table.json")) is None


def test_a_table_beside_midi_files_tells_their_splits(tmp_path: Path) -> None:
    (tmp_path / "v3").mkdir()
    table = 'title,split,midi_filename\n"A, B",train,2004/1.midi\nC,validation,2006/2.midi\nD,test,gone.midi\n'
    (tmp_path / "v3" / "maestro.csv").write_text(table)
    names = ["v3/2004/1.midi", "v3/2006/2.midi", "v3/2006/3.midi"]
    said = {names[0]: 0, names[1]: 1}
    assert table_of(tmp_path, ["v3/maestro.csv", *names]) == ("v3/maestro.csv", said, ["gone.midi"])


def test_files_that_systems_put_there_are_no_music(tmp_path: Path) -> None:
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.mid").write_bytes(b"\0")
    with pytest.raises(DataError, match="no MIDI file"):
        read_pieces(str(tmp_path), None, 4096, lambda done, whole: None)


def test_notes_survive_a_roll() -> None:
    notes = [Note(60, 0, 4), Note(60, 4, 2), Note(67, 1, 9), Note(21, 0, 1), Note(108, 9, 1)]
    cells = roll_of([*notes, Note(5, 0, 3), Note(60, 99, 1)], 10)
    assert notes_of(cells, True) == sorted(notes, key=lambda note: (note.start, note.pitch))
    assert Note(60, 0, 6) in notes_of(in_terms(cells, True, False), False)
    assert (in_terms(in_terms(cells, True, False), False, True) == HELD).sum() == (cells == HELD).sum() + 1


def test_keys_are_told_as_their_scales_say() -> None:
    for tonic, name in ((0, "C major"), (7, "G major"), (3, "Eb major")):
        scale = [60 + (tonic + degree) % 12 for degree in (0, 0, 0, 4, 4, 7, 7, 7, 2, 5, 9, 11)]
        cells = roll_of([Note(pitch, row, 1) for row, pitch in enumerate(scale)], 13)
        assert key_name(cells) == name and out_of_key(cells) == 0
    wrong = roll_of([*(Note(pitch, row, 1) for row, pitch in enumerate(scale)), Note(64, 12, 1)], 13)
    assert out_of_key(wrong) == pytest.approx(1 / 13)


def test_copied_passages_are_found_in_any_key() -> None:
    one, other = tune(1, 60), tune(2, 60)
    copied = tune(3, 40)
    copied[10:25] = np.roll(one[20:35], 3, 1)
    assert longest_shared([copied], [other])[0] <= 4
    assert 15 <= longest_shared([other, copied], [other, one])[1] <= 17
    assert longest_shared([one], [one[:3]]) == [3] and longest_shared([one[:1], one], []) == [0, 0]
    still = np.tile(one[:1], (30, 1))
    assert longest_shared([still], [still]) == [0]
    assert in_common(degrees([one]), degrees([np.roll(one, 3, 1)])) == pytest.approx(1)
    assert lengths([still, one[:1]], False, 8).tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.5]
    assert told([one], 1, False)["frames of silence"] == 0


def test_near_copies_stay_on_one_side() -> None:
    rolls = [tune(seed, 48, shift) for seed in range(20) for shift in (0, 5)]
    marks = prints(rolls)
    assert np.allclose((marks[::2] * marks[1::2]).sum(1), 1, atol=1e-5)
    from matinee.media.music_sources import Pieces

    pieces = Pieces(4, True)
    for place, roll in enumerate(rolls):
        pieces.add(str(place), -1, roll, f"{place:064x}")
    parts = split_pieces(pieces, (0.1, 0.2, 0))
    assert all(len({row // 2 for row in rows}) * 2 == len(rows) for rows in parts.values()) and len(parts["test"]) == 8


def test_requests_are_read_in_words_and_json(tmp_path: Path) -> None:
    terms = Terms(4, True, 64, 16)
    assert (cells_of("new", terms) == OPEN).all() and cells_of("new", terms).shape == (16, KEYS)
    assert (cells_of("new 3", terms) == OPEN + 3).all()
    assert (cells_of('{"frames": 5, "number": 2}', terms) == OPEN + 2).all()
    assert list(listed(["new", "new", "", str(tmp_path / "x.mid")])) == ["new", "new 1", "", str(tmp_path / "x.mid")]
    in_key = cells_of('{"bars": 2, "key": "G major"}', terms)
    pitches = [set(((np.flatnonzero(in_key[frame] == OPEN) + 21) % 12).tolist()) for frame in (0, 1, -1)]
    assert len(in_key) == 32 and pitches == [{7, 11, 2}, {7, 9, 11, 0, 2, 4, 6}, {7, 11, 2}]
    assert len(cells_of({"bars": 2, "beats": 3}, terms)) == 24
    for one, other in (("Am", "a minor"), ("B flat", "Bb major"), ("C♯ minor", "db Minor"), ("E♭", "D# major")):
        assert (cells_of({"key": one}, terms) == cells_of({"key": other}, terms)).all()
    for wrong, words in {
        '{"key": "H major"}': "like G major; H is B here",
        '{"bars": "2"}': "bars '2': a whole number",
        '{"bars": 9}': "from 1 to 4",
        '{"frames": 65}': "from 1 to 64",
        '{"frames": true}': "whole number",
        "{": "not JSON",
        "x.mid": "no such file",
        '{"metre": 3}': "a request has",
        '{"beats": 3}': "goes with",
        '{"take": 3}': "'begin' or 'around'",
        '{"around": "x.mid", "bars": 3}': "as long as they are",
        "new 252": "from 0 to 251",
        '{"begin": "a", "around": "b"}': "not both",
        "new x": "no such file",
        "": "no such file",
        '{"begin": 3}': "name of a MIDI file",
    }.items():
        with pytest.raises(DataError, match=words):
            cells_of(wrong, terms)
    with pytest.raises(DataError, match="in words"):
        cells_of(3, terms)


def test_scores_are_told_to_be_saved_as_midi(tmp_path: Path) -> None:
    for name in ("a.abc", "b.krn", "c.txt"):
        (tmp_path / name).write_text("X:1")
    with pytest.raises(DataError, match="2 are scores: save them as MIDI"):
        read_pieces(str(tmp_path), None, 100, lambda done, count: None)


def test_pictures_and_sounds_have_the_length_of_the_music() -> None:
    cells = tune(0, 40)
    assert roll_picture(cells, np.full(40, 20.0), cells == STRUCK).shape[1:] == (320, 3)
    assert roll_picture(np.full((1, KEYS), SILENT, np.uint8)).shape[2] == 3
    sound = rendered([(69, 0.0, 2.0), (108, 1.0, 1.0)], 60, 8000)
    assert len(sound) == pytest.approx(2.12 * 8000, abs=2) and 0.7 < np.abs(sound).max() <= 0.81
    spectrum = np.abs(np.fft.rfft(sound[:8000]))
    assert spectrum.argmax() == 440
    assert len(wav_bytes(sound, 8000)) == 44 + 2 * len(sound)
    assert len(rendered([], 60)) > 0 and len(rendered([(60, 0.0, 1e9)], 60, 8000, 1.0)) == 8000
