"""Sound by the program fluidsynth, where it is installed: with real instruments, from a SoundFont."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError

FOLDERS: Final = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "~/.local/share/soundfonts",
)
FONTS: Final = (".sf2", ".sf3")
SECONDS: Final = 300
"""After which fluidsynth is stopped: it plays an hour in a few seconds."""
RATE: Final = 44_100


def played(midi: bytes) -> bytes:
    """A WAV file, 16 bits, two channels, of a MIDI file. Raises DataError where there is no fluidsynth, or it fails."""
    program, font = shutil.which("fluidsynth"), _font()
    if program is None or font is None:
        missing = "no program fluidsynth" if program is None else f"no SoundFont in {', '.join(FOLDERS)}"
        raise DataError(f"--sound fluidsynth: there is {missing} here. Install it, or leave --sound out.")
    with tempfile.TemporaryDirectory() as room:
        source, made = Path(room, "music.mid"), Path(room, "music.wav")
        source.write_bytes(midi)
        command = [
            program,
            "-ni",
            "-q",
            "-g",
            "0.6",
            "-r",
            str(RATE),
            "-T",
            "wav",
            "-F",
            str(made),
            str(font),
            str(source),
        ]
        try:
            ran = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
            if ran.returncode or not made.exists():
                said = ran.stderr.decode("utf-8", "replace").split("\n")[0][:120]
                raise DataError(f"--sound fluidsynth: it failed ({said or ran.returncode}).")
            return made.read_bytes()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"--sound fluidsynth: it failed ({str(error)[:120]}).") from None


def _font() -> Path | None:
    """The largest SoundFont that is installed: small ones have few instruments."""
    found = [path for folder in FOLDERS for path in Path(folder).expanduser().glob("*") if path.suffix.lower() in FONTS]
    return max((path for path in found if path.is_file()), key=lambda path: path.stat().st_size, default=None)
