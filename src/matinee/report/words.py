"""Words and numbers made fit to be shown: hostile names are shown as they are and break nothing."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from numbers import Integral, Real

LONGEST_NAME = 240

# What a browser would not show, or would let reorder the words around it: control characters, bidi controls, line
# separators, non-characters, and the lone surrogates Python makes of file names that are not UTF-8.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff]"
)


def _visible(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character == "\n":
        return "↵"
    if character == "\t":
        return "⇥"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the undecodable byte itself, as a shell would show it
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten(words: str, longest: int = LONGEST_NAME) -> str:
    """The words; beyond `longest` characters the middle is left out (file names differ at their ends)."""
    if len(words) <= longest:
        return words
    tail = longest // 3
    return f"{words[: longest - tail - 1]}…{words[-tail:]}"


def safe(words: object, longest: int = LONGEST_NAME) -> str:
    """Words for one line of HTML, in text or in a quoted attribute: escaped, with unshowable characters spelled out."""
    return html.escape(_UNSHOWABLE.sub(_visible, shorten(str(words), longest)), quote=True)


def safe_lines(words: object, longest: int = 200_000) -> str:
    """As `safe`, but line breaks and tabs stay."""
    flat = shorten(str(words), longest).replace("\r\n", "\n").replace("\r", "\n")
    kept = ["\t".join(_UNSHOWABLE.sub(_visible, cell) for cell in line.split("\t")) for line in flat.split("\n")]
    return html.escape("\n".join(kept), quote=True)


def plural(count: int, one: str, many: str = "") -> str:
    """`1 row`, `1,200 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def decimals(values: Iterable[float]) -> int:
    """How many decimals a column of these values shows: three significant digits, and three below 10."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0.0:
        return 0
    if 0.01 <= largest < 10:
        return 3
    return min(max(2 - math.floor(math.log10(largest)), 0), 5)


def number(value: object, places: int | None = None, grouped: bool = True) -> str:
    """A number as a person writes it; `places` decimals, unless the value would be rounded away by them."""
    if isinstance(value, Integral):
        return f"{int(value):,}" if grouped else str(int(value))
    if not isinstance(value, Real):
        return str(value)
    real = float(value)
    if math.isnan(real):
        return "n/a"
    if math.isinf(real):
        return "∞" if real > 0 else "−∞"
    places = decimals([real]) if places is None else places
    if real != 0 and (abs(real) >= 1e15 or (abs(real) < 10.0 ** (1 - places) and abs(real) < 0.1)):
        digits = f"{real:.3g}"
        mantissa, _, power = digits.partition("e")
        return (f"{mantissa}e{int(power)}" if power else digits).replace("-", "−", 1 if real < 0 else 0)
    digits = f"{real:,.{places}f}" if grouped else f"{real:.{places}f}"
    return digits.replace("-", "−")


def percent(share: float, places: int = 1) -> str:
    """0.989 -> `98.9 %`; 1 -> `100 %`."""
    if not math.isfinite(share):
        return number(share)
    return f"{percent_digits(share, places)}\u00a0%"


def percent_digits(share: float, places: int = 1) -> str:
    """0.989 -> `98.9`, 1 -> `100`; a share below 1 is never rounded up to 100."""
    digits = f"{100 * share:.{places}f}"
    if share < 1 and float(digits) >= 100:
        digits = f"{100 - 10.0**-places:.{places}f}"
    return ("100" if share == 1 else digits).replace("-", "−")
