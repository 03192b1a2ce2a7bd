"""Where nothing is said for long, a word is over, though the network says no blank there.

Connectionist temporal classification learns to say a blank between words that follow each other closely. In the pauses
of a longer recording, such as it never learned from, it may say nothing at all, and two words would be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from torch import Tensor

from matinee.core.scripts import stands_alone
from matinee.nets.heard import BLANK

PAUSE: Final = 0.6
"""Seconds without a symbol after which a word is surely over."""
_NEVER: Final = -30.0  # ln p of the other symbols


def parted(log_probs: Tensor, lengths: Tensor, symbols: Sequence[str], frames: float) -> Tensor:
    """The same log-probabilities (batch, frames, symbols) with a blank in the middle of each pause between words.

    frames: of a PAUSE. Nothing is changed where a blank is said already, at either end of a recording, beside
    characters that are words by themselves, and where no symbol is a blank.
    """
    if " " not in symbols:
        return log_probs
    space, likeliest, found = symbols.index(" "), log_probs.detach().argmax(-1).cpu().numpy(), log_probs
    parts = [number for number, text in enumerate(symbols) if text.strip() and not stands_alone(text.strip()[0])]
    for place, length in enumerate(lengths.tolist()):
        path = likeliest[place, :length]
        said = np.flatnonzero(path != BLANK)
        inside = np.isin(path[said], parts)
        for at in np.flatnonzero((np.diff(said) > frames) & inside[1:] & inside[:-1]).tolist():
            found = log_probs.clone() if found is log_probs else found
            middle = int(said[at] + said[at + 1]) // 2
            found[place, middle] = _NEVER
            found[place, middle, space] = 0.0
    return found
