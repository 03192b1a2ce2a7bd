"""Films: any container, the frames of the right moments, and whatever may be wrong with a file."""

from __future__ import annotations

import math
import sys
from io import BytesIO, RawIOBase
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from film_files import frame, turned, write_film
from matinee.core.errors import DataError
from matinee.media import crew
from matinee.media.film_decoding import FilmJob, decode_films
from matinee.media.film_reel import Reel
from matinee.media.films import Sight, decode_film, decode_frames, decode_stretches, look_at, moments
from matinee.media.pictures import PictureError
from matinee.media.stretches import cut, stretch_name

SIGHT = Sight(height=24, width=32, channels=1, frames=4)
LEVELS = [10 * n for n in range(20)]  # two seconds at ten frames a second


def levels(pixels: np.ndarray) -> list[float]:
    """The brightness of each frame, from its right half."""
    return pixels[:, :, 20:].mean((1, 2, 3)).round().tolist()


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".avi", ".webm", ".gif"])
def test_frames_are_those_that_are_shown_at_their_moments(tmp_path: Path, ending: str) -> None:
    path = write_film(tmp_path / f"film{ending}", LEVELS)
    pixels, look, words = decode_film(str(path), SIGHT)
    assert words == "" and pixels.shape == (4, 24, 32, 1) and (look.width, look.height) == (64, 48)
    # The middles of four equal parts of two seconds: 0.25, 0.75, 1.25 and 1.75 s.
    assert np.abs(np.array(levels(pixels)) - [20, 70, 120, 170]).max() < 8
    assert pixels[1, :12, :16].mean() > levels(pixels)[1] + 25  # the brighter quarter is still up and left
    from_bytes = decode_film(BytesIO(path.read_bytes()), SIGHT)[0]
    assert np.array_equal(pixels, from_bytes)


def test_stretches_and_clips() -> None:
    assert moments(0, 8, SIGHT).tolist() == [1, 3, 5, 7]
    several = Sight(24, 32, 1, frames=2, clips=3, span=2.0)
    assert moments(0, 8, several).tolist() == [0.5, 1.5, 3.5, 4.5, 6.5, 7.5]
    assert moments(1, 3.5, several).tolist() == pytest.approx([1.625, 2.875] * 3)  # short enough to be seen whole


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.mp4", ("a.mp4", 0, math.inf)),
        ("a.mp4#t=2,4.5", ("a.mp4", 2, 4.5)),
        ("a.mp4#t=2", ("a.mp4", 2, math.inf)),
        ("a.mp4#t=,4", ("a.mp4", 0, 4)),
        ("a#t=.mp4", ("a#t=.mp4", 0, math.inf)),
        ("a.mp4#t=x", ("a.mp4#t=x", 0, math.inf)),
    ],
)
def test_a_stretch_is_named_as_on_the_web(name: str, found: tuple[str, float, float]) -> None:
    assert cut(name) == found
    assert cut(stretch_name(*found)) == found


def test_a_stretch_of_a_film(tmp_path: Path) -> None:
    path = str(write_film(tmp_path / "film.mp4", LEVELS))
    pixels = decode_film(path, SIGHT, 1.0, 1.4)[0]
    assert np.abs(np.array(levels(pixels)) - [100, 110, 120, 130]).max() < 8
    assert "it ends at 2 s, before 9 s" in decode_film(path, SIGHT, 1.0, 9.0)[2]
    with pytest.raises(PictureError, match="it ends at 2 s, before 5 s"):
        decode_film(path, SIGHT, 5.0, 9.0)


def test_a_rate_that_varies(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 1.4, 1.5, 1.6, 1.9]
    path = write_film(tmp_path / "film.mkv", [20 * n for n in range(8)], times=times)
    found = levels(decode_film(str(path), SIGHT)[0])
    assert np.abs(np.array(found) - [40, 60, 60, 120]).max() < 8  # at .25, .75, 1.25 and 1.75 s, or close to it


def test_a_turned_film_is_seen_upright(tmp_path: Path) -> None:
    path = str(turned(write_film(tmp_path / "film.mp4", [100] * 4)))
    look = look_at(path)
    assert (look.width, look.height) == (48, 64)
    pixels = decode_film(path, Sight(32, 24, 1, frames=1))[0][0, :, :, 0].astype(float)
    corners = {"left": pixels[:16, :12].mean(), "right": pixels[:16, 12:].mean()}
    assert corners["right"] > corners["left"] + 25  # what was up and left is up and right, a quarter turn clockwise


def test_a_long_film_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "hour.mp4", [n // 15 for n in range(3600)], rate=1, keys=30, size=(16, 16))
    drawn, real = [], Reel._frames

    def counted(self: Reel) -> object:
        for found in real(self):
            drawn.append(found[0])
            yield found

    monkeypatch.setattr(Reel, "_frames", counted)
    sight = Sight(16, 16, 1, frames=4, clips=2, span=4.0)
    pixels = decode_film(str(path), sight)[0]
    assert len(drawn) < 200  # of 3,600
    assert np.abs(pixels[:, :, 10:].mean((1, 2, 3)) - [0, 0, 0, 0, 239, 239, 239, 239]).max() < 4


def test_a_broken_tail_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", [(37 * n) % 200 for n in range(100)], options={"movflags": "faststart"})
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 6 // 10])
    pixels, _, words = decode_film(str(path), SIGHT)
    assert "it breaks off at" in words and "of 10 s; what is there is used" in words and pixels.any()


def wrong_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Name of a file that is not a film -> the ledger's word and a part of the reason."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a film at all, " * 50)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mkv\n#EXT-X-ENDLIST\n")
    (folder / "joined.mp4").write_text("ffconcat version 1.0\nfile other.mkv\n")
    write_film(folder / "other.mkv", LEVELS)
    (folder / "folder.mp4").mkdir()
    whole = write_film(folder / "whole.mp4", LEVELS).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.mp4").unlink()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode()])
    write_film(folder / "large.mp4", [1, 2], size=(128, 256))
    return {
        "empty.mp4": ("empty", "no bytes"),
        "text.mp4": ("unreadable", "cannot be decoded"),
        "list.mp4": ("unreadable", "cannot be decoded"),
        "joined.mp4": ("unreadable", "cannot be decoded"),
        "folder.mp4": ("unreadable", "not a file"),
        "cut.mp4": ("unreadable", "cannot be decoded"),
        "sound.mp4": ("unreadable", "no video stream"),
        "large.mp4": ("oversized", "256 x 128 pixels"),
        "missing.mp4": ("missing", "no such file"),
    }


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    for name, (kind, words) in wrong_files(tmp_path).items():
        with pytest.raises(PictureError, match=words) as caught:
            decode_film(str(tmp_path / name), Sight(8, 8, 1, frames=2, pixel_limit=20_000))
        assert caught.value.kind == kind, name


def job(folder: Path, names: list[str], sight: Sight) -> FilmJob:
    (folder / "columns").mkdir(exist_ok=True)
    count = len(names)
    return FilmJob(
        str(folder),
        names,
        list(range(count + 1)),
        [0.0] * count,
        [math.inf] * count,
        str(folder / "columns"),
        sight=sight,
    )


def test_films_are_decoded_in_processes_of_their_own(tmp_path: Path) -> None:
    write_film(tmp_path / "good.mp4", LEVELS)
    (tmp_path / "bad.mp4").write_bytes(b"nonsense" * 10)
    failures = decode_films(job(tmp_path, ["bad.mp4", "good.mp4"], SIGHT))
    assert [(row, kind) for row, kind, _ in failures] == [(0, "unreadable")]
    column = np.load(tmp_path / "columns" / "film.npy")
    assert np.array_equal(column[1], decode_film(str(tmp_path / "good.mp4"), SIGHT)[0]) and not column[0].any()


HANGS = """
import sys; sys.path[:] = {path!r}
import matinee.media.film_decoding as decoding, os, time
real = decoding.decode_stretches
def decode_stretches(source, *rest):
    name = os.path.basename(source)
    if "hang" in name:
        open(f"{hangs}/{{os.getpid()}}", "x").close()
        time.sleep(600)
    if "crash" in name:
        os.abort()
    return real(source, *rest)
decoding.decode_stretches = decode_stretches
from matinee.media.crew import serve; serve(sys.argv[2], sys.argv[3])
"""


def test_a_decoder_that_hangs_or_crashes_costs_one_film(
    tmp_path: Path, hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_film(tmp_path / "good.mp4", LEVELS).read_bytes()
    for name in ("hang.mp4", "crash.mp4"):
        (tmp_path / name).write_bytes(raw)
    monkeypatch.setattr(crew, "_BEGIN", HANGS.format(path=crew.import_path(), hangs=hangs))
    failures = decode_films(job(tmp_path, ["hang.mp4", "crash.mp4", "good.mp4"], SIGHT))
    assert [(row, kind) for row, kind, _ in failures] == [(0, "unreadable"), (1, "unreadable")]
    assert "took longer than" in failures[0][2] and "ended the process" in failures[1][2]
    assert np.load(tmp_path / "columns" / "film.npy")[2].any()


def test_the_other_stretches_of_a_film_that_fails_thrice_are_not_tried(tmp_path: Path) -> None:
    made = crew.Crew(crew.Duty("none", {}, 9, "films", kin=[0, 0, 0, 0, 0, 1, 0, 0, 1]), str(tmp_path), 1)
    made._todo.extend([(3, 8), (8, 9)])
    for row in range(3):
        made._write_off(row, "it hangs")
    assert list(made._todo) == [(5, 6), (8, 9)] and made._done == 7
    assert sorted(made._failures)[3] == (3, "unreadable", "3 other parts of it could not be decoded")


def test_stretches_that_overlap_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_film(tmp_path / "film.mp4", LEVELS))
    stretches = [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (3.0, 4.0)]
    drawn = Reel.drawn
    frames = []
    monkeypatch.setattr(Reel, "drawn", lambda *given: frames.append(given[1]) or drawn(*given))
    pixels, look, told = decode_stretches(path, SIGHT, stretches)
    assert len(frames) < 12 and look.seconds == 2.0
    assert told[:3] == ["", "", ""] and isinstance(told[3], PictureError) and not pixels[3].any()
    for place, (start, end) in enumerate(stretches[:3]):
        assert np.array_equal(pixels[place], decode_film(path, SIGHT, start, end)[0])


def test_pictures_that_nobody_waits_for_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "film.mp4", [(37 * n) % 200 for n in range(60)], preset="medium")
    quick = decode_film(str(path), SIGHT)[0]
    passed = []
    monkeypatch.setattr(Reel, "_tell", lambda self, passing: passed.append(passing))
    assert np.array_equal(decode_film(str(path), SIGHT)[0], quick) and sum(passed) > 30


@pytest.mark.parametrize("container", ["matroska", "mpegts", "flv"])
def test_a_film_without_length_or_index(tmp_path: Path, container: str) -> None:
    """As written to a pipe: by a browser that records, by a camera."""
    whole = write_film(tmp_path / "film.mkv", [n % 200 for n in range(300)], rate=10)
    piped = Pipe()
    with av.open(str(whole)) as source, av.open(piped, "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path = tmp_path / "piped.mkv"
    path.write_bytes(bytes(piped.written))
    found, look, words = decode_film(str(path), Sight(24, 32, 1, frames=2, clips=3, span=4.0))
    assert words == "" and look.seconds == pytest.approx(30, abs=0.3)
    assert np.abs(np.array(levels(found)) - [10, 30, 140, 160, 70, 90]).max() < 8


@pytest.mark.parametrize("ending", [".webp", ".png", ".gif"])
def test_animated_pictures(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"film{ending}"
    first, *others = [Image.fromarray(frame(20 * number)) for number in range(8)]
    first.save(path, save_all=True, append_images=others, duration=[100, 100, 100, 500, 100, 100, 100, 100])
    pixels, look, _ = decode_film(str(path), Sight(24, 32, 1, frames=6))
    # At .1, .3, .5, .7, .9 and 1.1 s: the fourth frame stands for half a second.
    assert np.abs(np.array(levels(pixels)) - [20, 60, 60, 60, 100, 140]).max() < 6
    assert look.seconds == pytest.approx(1.2, abs=0.1) and np.array_equal(
        decode_film(BytesIO(path.read_bytes()), Sight(24, 32, 1, frames=6))[0], pixels
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        decode_film(str(path), SIGHT)
    except PictureError as error:
        assert error.kind == "unreadable"


class Pipe(RawIOBase):
    """What can only be written to, never sought in."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, some: object) -> int:
        self.written += bytes(some)  # type: ignore[call-overload]
        return len(bytes(some))  # type: ignore[call-overload]


def test_frames_in_files(tmp_path: Path) -> None:
    names = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(frame(30 * number)).save(path)
        names.append(str(path))
    three = Sight(24, 32, 1, frames=3)
    pixels, words = decode_frames(names, three)
    assert levels(pixels) == [30, 90, 150] and words == ""
    (tmp_path / "1.png").write_bytes(b"broken")
    pixels, words = decode_frames(names, three)
    assert levels(pixels) == [0, 90, 150] and words.startswith("frame 2: it is no JPEG")
    with pytest.raises(PictureError, match="none of its 1 frames"):
        decode_frames([names[1]], three)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'matinee\[video\]'"):
        look_at(str(tmp_path / "film.mp4"))
