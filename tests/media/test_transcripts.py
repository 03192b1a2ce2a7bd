"""Sources of recorded speech: every form that people have, and what is wrong with some of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from matinee.core.errors import DataError, SettingsError
from matinee.media.sounds import SoundError
from matinee.media.speech_frames import frames_of
from matinee.media.speech_table import SpeechRequest, read_speech
from matinee.media.symbols import Symbols
from matinee.media.transcripts import Asked, Spoken, fits, listed

RATE = 4000


def sound(path: Path, seconds: float = 0.3, seed: int = 0, **how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).clip(-1, 1)
    soundfile.write(path, wave, RATE, **how)


def said(spoken: Spoken) -> list[tuple[str, str, str, int]]:
    return [(each.name, each.text, each.group, each.split) for each in spoken.utterances]


def kinds(spoken: Spoken) -> list[str]:
    return sorted(entry.kind for entry in spoken.entries)


def test_a_table_names_recordings_texts_and_speakers(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        sound(tmp_path / "audio" / f"{name}.wav")
    (tmp_path / "speech.csv").write_text(
        "audio_filepath,text,speaker,split\naudio/a.wav,one two,ann,train\nb.wav,,ann,test\nz.wav,three,ben,test\n"
        "c,three,ben,test\n../../etc/passwd,four,ben,test\na.wav,five,ann,train\n"
    )
    assert fits(tmp_path / "speech.csv") and fits(tmp_path)
    spoken = listed(tmp_path / "speech.csv", Asked())
    assert said(spoken) == [("audio/a.wav", "one two", "ann", 0), ("audio/c.wav", "three", "ben", 2)]
    assert kinds(spoken) == ["duplicate-row", "missing", "missing", "no-text"]
    assert any("passwd: the path leads out of the folder" in entry.reason for entry in spoken.entries)
    assert said(listed(tmp_path, Asked())) == said(spoken)


def test_tables_called_train_and_test_lie_beside_clips(tmp_path: Path) -> None:
    for name in ("x1", "x2"):
        sound(tmp_path / "clips" / f"{name}.wav")
    for split, name in (("train", "x1"), ("test", "x2")):
        row = f"client_id\tpath\tsentence\nann\t{name}.wav\tDas ist {split}.\n"
        (tmp_path / f"{split}.tsv").write_text(row)
    (tmp_path / "validated.tsv").write_text("client_id\tpath\tsentence\nann\tx1.wav\tDas ist train.\n")
    spoken = listed(tmp_path, Asked())
    assert said(spoken) == [("clips/x2.wav", "Das ist test.", "ann", 2), ("clips/x1.wav", "Das ist train.", "ann", 0)]
    assert kinds(spoken) == ["ignored"]


def test_tables_tell_stretches_of_recordings_and_lie_in_folders_of_splits(tmp_path: Path) -> None:
    sound(tmp_path / "long.wav", 3)
    lines = ['{"audio_filepath": "long.wav", "offset": %s, "duration": 1, "text": "%s"}\n']
    rows = "".join(lines[0] % each for each in ((0, "one"), (1.5, "two"), (-1, "bad")))
    (tmp_path / "m.jsonl").write_text(rows)
    spoken = listed(tmp_path, Asked())
    assert [(each.name, each.text, each.begin, each.end) for each in spoken.utterances] == [
        ("long.wav#t=0,1", "one", 0.0, 1.0), ("long.wav#t=1.5,2.5", "two", 1.5, 2.5),
    ]  # fmt: skip
    assert kinds(spoken) == ["unreadable"]
    for split in ("train", "test"):
        sound(tmp_path / "data" / split / "1.wav")
        (tmp_path / "data" / split / "metadata.csv").write_text(f"file_name,transcription\n1.wav,{split}\n")
    (tmp_path / "m.jsonl").unlink()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._1.wav").write_bytes(b"\0")
    assert fits(tmp_path) == "a table of recordings and texts"
    spoken = listed(tmp_path, Asked())
    assert {(name, split) for name, _, _, split in said(spoken)} == {("data/train/1.wav", 0), ("data/test/1.wav", 2)}
    assert ("__MACOSX/._1.wav", "ignored") in {(entry.file, entry.kind) for entry in spoken.entries}


def test_kaldi_folders_are_read_and_commands_never_run(tmp_path: Path) -> None:
    sound(tmp_path / "wavs" / "r1.wav", 1.0)
    sound(tmp_path / "wavs" / "r2.flac", 1.0)
    data = tmp_path / "train_clean_5"
    data.mkdir()
    (data / "wav.scp").write_text("r1 ../wavs/r1.wav\nr2 /corpus/wavs/r2.flac\nr3 touch pwned |\nr4 gone.wav\n")
    (data / "text").write_text("u1 hello world\nu2 你好\nu3 nothing\nu1 again\nu5 late\n", "utf-8")
    (data / "segments").write_text("u1 r1 0.0 0.4\nu2 r2 0.5 0.9\nu3 r3 0 1\nu4 r1 0.5 0.1\nu5 r1 5.0 6.0\n")
    (data / "utt2spk").write_text("u1 ann\nu2 ben\n")
    spoken = listed(tmp_path, Asked())
    assert said(spoken)[:2] == [("wavs/r1.wav#u1", "hello world", "ann", 0), ("wavs/r2.flac#u2", "你好", "ben", 0)]
    assert kinds(spoken) == ["duplicate-row", "forbidden", "missing", "missing", "unreadable"]
    assert not list(tmp_path.rglob("pwned"))
    table = read_speech(spoken, SpeechRequest())
    assert table.owner.tolist() == [0, 1] and table.values.lengths(np.arange(2)).tolist() == [1600, 1600]
    assert [entry.kind for entry in table.entries] == ["empty"]


def test_librispeech_ljspeech_and_texts_beside(tmp_path: Path) -> None:
    for split in ("train-clean-100", "test-other"):
        folder = tmp_path / "libri" / split / "84" / "121"
        sound(folder / "84-121-0001.flac")
        (folder / "84-121.trans.txt").write_text("84-121-0001 GO DO YOU HEAR\n84-121-0002 GONE\n")
    spoken = listed(tmp_path / "libri", Asked())
    assert [each[1:] for each in said(spoken)] == [("GO DO YOU HEAR", "84", 2), ("GO DO YOU HEAR", "84", 0)]
    sound(tmp_path / "lj" / "wavs" / "LJ001-0001.wav")
    (tmp_path / "lj" / "metadata.csv").write_text('LJ001-0001|Dr. "X", 2|Doctor "X", two\nLJ001-0002\n')
    assert [each[1] for each in said(listed(tmp_path / "lj", Asked()))] == ['Doctor "X", two']
    for name, text in (("1", "guten Tag\n"), ("2", None)):
        sound(tmp_path / "beside" / f"{name}.wav")
        if text:
            (tmp_path / "beside" / f"{name}.txt").write_text(text)
    sound(tmp_path / "beside" / "3.wav")
    (tmp_path / "beside" / "3.txt").write_bytes(b"\xff\xfe\xff")
    spoken = listed(tmp_path / "beside", Asked())
    assert said(spoken) == [("1.wav", "guten Tag", "", -1)] and kinds(spoken) == ["no-text", "not-utf-8"]


def test_texts_beside_as_timit_and_audio_editors_write_them(tmp_path: Path) -> None:
    for name, text in (("a.TXT", "0 46797 She had 3.\n"), ("b.txt", "0.5\t1.0\tbark\n"), ("c.txt", "0 1 two")):
        sound(tmp_path / f"{name[0]}.wav")
        (tmp_path / name).write_text(text)
    spoken = listed(tmp_path, Asked())
    assert [each.text for each in spoken.utterances] == ["She had 3.", "0 1 two"]
    assert "label track" in spoken.entries[0].reason


def test_sphinx_lists_name_files_of_frames(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(30, 13)).astype(">f4")
    for speaker, name in (("fash", "an1"), ("mjgm", "an2")):
        path = tmp_path / "feat" / speaker / f"{name}.mfc"
        path.parent.mkdir(parents=True)
        path.write_bytes(np.array([values.size], ">i4").tobytes() + values.tobytes())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "an4_train.fileids").write_text("fash/an1\nfash/an9\n")
    (tmp_path / "etc" / "an4_train.transcription").write_text("<s> YES </s> (an1)\n<s> NO </s> (an9)\n")
    (tmp_path / "etc" / "an4_test.fileids").write_text("mjgm/an2\n")
    (tmp_path / "etc" / "an4_test.transcription").write_text("A B (an2)\n")
    spoken = listed(tmp_path, Asked())
    assert said(spoken) == [("feat/mjgm/an2.mfc", "A B", "mjgm", 2), ("feat/fash/an1.mfc", "YES", "fash", 0)]
    table = read_speech(spoken, SpeechRequest())
    assert (table.rate, table.channels, table.cepstra) == (0, 13, True)
    assert np.allclose(table.values[0], values)


def test_names_say_yes_and_no(tmp_path: Path) -> None:
    for name in ("0_1_1", "1_0_0"):
        sound(tmp_path / "waves" / f"{name}.wav")
    spoken = listed(tmp_path, Asked(test_pattern="/1_", groups="waves"))
    assert said(spoken) == [
        ("waves/0_1_1.wav", "no yes yes", "waves", -1),
        ("waves/1_0_0.wav", "yes no no", "waves", 2),
    ]
    with pytest.raises(DataError, match="none of 2 names"):
        listed(tmp_path, Asked(test_pattern="q"))
    with pytest.raises(SettingsError, match="regular expression"):
        listed(tmp_path, Asked(groups="("))


def test_what_is_no_speech_is_not_taken_for_it(tmp_path: Path) -> None:
    sound(tmp_path / "dog" / "1.wav")
    (tmp_path / "clips.csv").write_text("file,label\ndog/1.wav,dog\n")
    (tmp_path / "reviews.csv").write_text("text,label\ngood film,1\nbad film,0\n")
    assert all(fits(path) is None for path in (tmp_path, tmp_path / "clips.csv", tmp_path / "reviews.csv"))
    with pytest.raises(DataError, match="no source of speech"):
        listed(tmp_path, Asked())


def test_recordings_that_cannot_be_used_are_in_the_ledger(tmp_path: Path) -> None:
    for name in ("good", "silent", "short", "long", "eight", "float"):
        sound(tmp_path / f"{name}.wav", {"short": 0.01, "long": 2.0}.get(name, 0.3))
        (tmp_path / f"{name}.txt").write_text("hello")
    soundfile.write(tmp_path / "silent.wav", np.zeros(2000), RATE)
    soundfile.write(tmp_path / "eight.wav", np.sin(np.arange(2000.0)), RATE, subtype="PCM_U8")
    soundfile.write(tmp_path / "float.wav", 3 * np.sin(np.arange(2000.0)), RATE, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    (tmp_path / "broken.txt").write_text("hello")
    np.save(tmp_path / "frames.npy", np.zeros((4, 3)))
    (tmp_path / "frames.txt").write_text("hello")
    spoken = listed(tmp_path, Asked())
    table = read_speech(spoken, SpeechRequest(longest=1.0))
    told = {entry.file: entry.kind for entry in table.entries}
    assert told == {"silent.wav": "silent", "short.wav": "empty", "long.wav": "too-long", "broken.wav": "unreadable",
                    "frames.npy": "ignored"}  # fmt: skip
    assert [spoken.utterances[row].name for row in table.owner] == ["eight.wav", "float.wav", "good.wav"]
    again = read_speech(spoken, SpeechRequest(longest=1.0))  # from the cache
    assert np.array_equal(again.values.values, table.values.values) and again.entries == table.entries


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\0\0\0\x0dabcd", np.array([14], ">i4").tobytes() + bytes(56), b"\x93NUMPY", np.zeros(3), "gone.npy",
        np.array([[np.nan, 1.0]]), np.zeros((5, 13)), np.array([["a"]]),
    ],
)  # fmt: skip
def test_frames_that_are_none_are_refused_in_words(raw: object) -> None:
    with pytest.raises(SoundError):
        frames_of(raw)


def test_frames_never_run_what_a_file_holds() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SoundError, match="npy"):
        frames_of(file.getvalue())


def test_symbols_are_characters_of_any_script_or_byte_pairs() -> None:
    letters = Symbols.learned(["ab c", "你好"])
    row, strange = letters.numbers("ab 你 x!")
    assert letters.strings[0] == "" and letters.text(row) == "ab 你" and strange == "x!"
    texts = ["the cat sat", "the dog sat", "a cat"] * 5
    pieces = Symbols.learned(texts, 40)
    row, strange = pieces.numbers("the cat sat z")
    assert pieces.text(row) == "the cat sat" and strange == "z" and len(row) < 11
    with pytest.raises(DataError, match="byte pairs"):
        Symbols(pieces.strings, "{}").numbers("the")
