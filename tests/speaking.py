"""Sentences spoken by espeak-ng, for tests of what hears them: no recording is needed; times of words are known."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 22_050
_SYNCHRONOUS, _DO_NOT_EXIT, _CHARACTERS, _UTF8, _WORD, _END = 2, 0x8000, 1, 1, 1, 0
_RATE_OF_SPEECH, _PITCH, _WAIT = 1, 3, 0


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_int64),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_heard: list[np.ndarray[Any, Any]] = []
_begun: list[float] = []


@_Callback
def _kept(samples: Any, count: int, events: Any) -> int:
    if samples and count:
        _heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    at = 0
    while events and events[at].type != _END:
        if events[at].type == _WORD:
            _begun.append(events[at].audio_position / 1000)
        at += 1
    return 0


@functools.cache
def _library() -> Any:
    loader = pytest.importorskip(
        "espeakng_loader", reason="espeak-ng speaks the sentences: pip install espeakng-loader"
    )
    library = ctypes.CDLL(loader.get_library_path())
    folder = str(Path(loader.get_data_path()).parent).encode()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, folder, _DO_NOT_EXIT) != RATE:
        pytest.skip("espeak-ng does not start here")
    library.espeak_SetSynthCallback(_kept)
    return library


def speak(text: str, language: str, pitch: int = 50, speed: int = 170) -> tuple[np.ndarray[Any, Any], list[float]]:
    """int16 samples at RATE, and the second at which each word begins. pitch: 0 to 99; speed: words a minute."""
    library = _library()
    if library.espeak_SetVoiceByName(language.encode()):
        pytest.skip(f"espeak-ng has no voice for {language}")
    library.espeak_SetParameter(_PITCH, pitch, 0)
    library.espeak_SetParameter(_RATE_OF_SPEECH, speed, 0)
    _heard.clear()
    _begun.clear()
    whole = text.encode()
    library.espeak_Synth(whole, len(whole) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
    return np.concatenate(_heard), list(_begun)
