"""n-gram models as text, in the format of ARPA that SRILM, KenLM and Sphinx write and read: base-10 logarithms."""

from __future__ import annotations

import math
from typing import Final

from matinee.core.errors import DataError
from matinee.nets.kneser_ney import BEGIN, FLOOR, UNKNOWN, Context, Ngrams

LONGEST: Final = 10
"""Tokens of an n-gram, at most."""
_TEN: Final = math.log(10)
_NEVER: Final = -99.0  # what the beginning of a sentence is given, as nothing is followed by it
_SPELLINGS: Final = {"<UNK>": UNKNOWN, "<S>": "<s>", "</S>": "</s>"}


def written(model: Ngrams) -> str:
    """A model as ARPA text. Raises nothing."""
    orders: list[dict[Context, float]] = [{} for _ in range(model.order)]
    for context, tokens in model.follow.items():
        for token, share in tokens.items():
            orders[len(context)][(*context, token)] = share
    for context in model.backoff:  # a context that was left out as an n-gram has a line all the same
        if context not in orders[len(context) - 1]:
            known = model.log_probability(context[-1], context[:-1])
            orders[len(context) - 1][context] = _NEVER * _TEN if context == (BEGIN,) else known
    lines = ["\\data\\", *(f"ngram {length}={len(grams)}" for length, grams in enumerate(orders, 1))]
    for length, grams in enumerate(orders, 1):
        lines += ["", f"\\{length}-grams:"]
        for gram, share in sorted(grams.items()):
            weight = model.backoff.get(gram)
            lines.append(f"{share / _TEN:.4f}\t{' '.join(gram)}" + ("" if weight is None else f"\t{weight / _TEN:.4f}"))
    return "\n".join([*lines, "", "\\end\\", ""])


def parsed(text: str, name: str = "the language model") -> Ngrams:
    """A model from ARPA text. Raises DataError, naming the line."""
    lines = text.split("\n")
    start = next((at for at, line in enumerate(lines) if line.strip() == "\\data\\"), None)
    if start is None:
        raise DataError(f"{name} is no language model in ARPA format: it has no line \\data\\.")
    promised, at = _promised(lines, start + 1, name)
    follow: dict[Context, dict[str, float]] = {(): {}}
    backoff: dict[Context, float] = {}
    for length, count in enumerate(promised, 1):
        at = _after_blanks(lines, at)
        if at >= len(lines) or lines[at].strip() != f"\\{length}-grams:":
            raise DataError(f"{name}, line {at + 1}: \\{length}-grams: should begin here.")
        first = at = at + 1
        while at < len(lines) and lines[at].strip() and not lines[at].startswith("\\"):
            _take(lines[at], length, f"{name}, line {at + 1}", follow, backoff)
            at += 1
        if at - first != count:
            raise DataError(f"{name} promises {count:,} {length}-grams and has {at - first:,}: it is cut or damaged.")
    at = _after_blanks(lines, at)
    if at >= len(lines) or lines[at].strip() != "\\end\\":
        raise DataError(f"{name}, line {at + 1}: \\end\\ should be here: it is cut or damaged.")
    follow[()].pop(BEGIN, None)
    if not follow[()]:
        raise DataError(f"{name} knows no words.")
    follow[()].setdefault(UNKNOWN, FLOOR)
    return Ngrams(len(promised), follow, backoff)


def _promised(lines: list[str], at: int, name: str) -> tuple[list[int], int]:
    """How many n-grams of each length there should be, and the line behind that."""
    promised: list[int] = []
    at = _after_blanks(lines, at)
    while at < len(lines) and lines[at].strip().startswith("ngram"):
        length, _, count = lines[at].strip()[len("ngram") :].partition("=")
        try:
            told = int(length), int(count)
        except ValueError:
            told = (0, 0)
        if told[0] != len(promised) + 1 or told[1] < 0:
            raise DataError(f"{name}, line {at + 1}: {lines[at].strip()[:60]!r} should be ngram {len(promised) + 1}=N.")
        promised.append(told[1])
        at += 1
    if not 1 <= len(promised) <= LONGEST:
        raise DataError(f"{name} has n-grams of {len(promised)} lengths: 1 to {LONGEST} can be used.")
    return promised, at


def _after_blanks(lines: list[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _take(
    line: str, length: int, where: str, follow: dict[Context, dict[str, float]], backoff: dict[Context, float]
) -> None:
    """One line: a probability, so many tokens, and perhaps a weight."""
    parts = line.split()
    if len(parts) not in (length + 1, length + 2):
        raise DataError(f"{where}: {line.strip()[:60]!r} should be a probability, {length} words and perhaps a weight.")
    try:
        share, weight = float(parts[0]), float(parts[length + 1]) if len(parts) == length + 2 else 0.0
    except ValueError:
        raise DataError(f"{where}: {line.strip()[:60]!r} has no number where one should be.") from None
    if not (math.isfinite(weight) and -1000 <= weight <= 1000 and (share <= 1e-3 and not math.isnan(share))):
        raise DataError(
            f"{where}: a base-10 logarithm of a probability is 0 at most; {parts[0][:20]} {parts[-1][:20]}."
        )
    gram = tuple(_SPELLINGS.get(part, part) for part in parts[1 : length + 1])
    follow.setdefault(gram[:-1], {})[gram[-1]] = max(_NEVER, share) * _TEN
    if weight:
        backoff[gram] = weight * _TEN
