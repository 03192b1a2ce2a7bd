"""A page of neutral pieces: one self-contained HTML file that asks nothing of the network and runs no script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import assert_never

from matinee.core.pieces import Bars, Code, Film, Gallery, Lines, Matrix, Piece, Section, Sound, Table, Text, Words
from matinee.report.charts import bars, lines
from matinee.report.films import film
from matinee.report.pictures import gallery
from matinee.report.sounds import sounds
from matinee.report.tables import matrix, table
from matinee.report.words import plural, safe, safe_lines

CONTENTS_FROM = 5
MOST_CODE_LINES = 400
SHORT_CODE_LINES = 12

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)


def page(title: str, lead: str, sections: Sequence[Section], *, facts: Mapping[str, str] = {}) -> str:
    """One HTML document that needs nothing else.

    `lead` is the summary in words that anyone understands; `facts` are headline figures, name -> words such as
    "98.9 % (97.2-99.6)". Every string may hold anything: all are escaped. Encode the page as UTF-8.
    """
    style = resources.files("matinee.report").joinpath("style.css").read_text("utf-8")
    contents = _contents(sections) if len(sections) >= CONTENTS_FROM else ""
    body = "\n".join(_section(place, section) for place, section in enumerate(sections, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="Matinee">
<title>{safe(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body{' class="with-contents"' if contents else ""}>
<a class="skip" href="#content">Skip to the content</a>
<header>
<p class="brand" aria-hidden="true">Matinee</p>
<h1>{safe(title)}</h1>
{f'<p class="lead">{safe_lines(lead, 4000)}</p>' if lead else ""}
{_facts(facts)}
</header>
{contents}
<main id="content">
{body}
</main>
<footer><p>Written by Matinee. This file is complete: it loads nothing and runs nothing.</p></footer>
</body>
</html>
"""


def draw(piece: Piece) -> str:
    """One piece as HTML, for a page with this style sheet."""
    match piece:
        case Text():
            return _text(piece)
        case Table():
            return table(piece)
        case Lines():
            return lines(piece)
        case Bars():
            return bars(piece)
        case Matrix():
            return matrix(piece)
        case Gallery():
            return gallery(piece)
        case Film():
            return film(piece)
        case Sound():
            return sounds([piece])
        case Code():
            return _code(piece)
        case Words():
            return _words(piece)
        case _:
            assert_never(piece)


def _facts(facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    return f'<dl class="facts">{"".join(_fact(name, words) for name, words in facts.items())}</dl>'


def _fact(name: str, words: str) -> str:
    # "98.9 % (97.2-99.6)": the figure large, its interval small.
    found = re.fullmatch(r"(.*\S)\s+\((.*)\)", str(words))
    figure, rest = found.groups() if found else (str(words), "")
    small = f"<small>{safe(rest)}</small>" if rest else ""
    return f"<div><dt>{safe(name)}</dt><dd>{safe(figure)}{small}</dd></div>"


def _contents(sections: Sequence[Section]) -> str:
    items = "".join(
        f'<li><a href="#part-{place}">{safe(section.title)}</a></li>' for place, section in enumerate(sections, start=1)
    )
    return f'<nav class="contents" aria-label="Contents"><p>Contents</p><ol>{items}</ol></nav>'


def _section(place: int, section: Section) -> str:
    heading = f'<h2 id="title-{place}">{safe(section.title)}</h2>'
    inside = _pieces(section.pieces)
    if section.folded:
        # The target of the link lies inside the fold, so that following the link opens it.
        anchor = f'<div class="target" id="part-{place}"></div>'
        inside = f"<details><summary>{heading}</summary>{anchor}{inside}</details>"
        return f'<section class="folded" aria-labelledby="title-{place}">{inside}</section>'
    return f'<section id="part-{place}" aria-labelledby="title-{place}">{heading}{inside}</section>'


def _pieces(pieces: Sequence[Piece]) -> str:
    """The pieces one under the other; charts or sounds that follow each other side by side where there is room."""
    parts: list[str] = []
    for kind, some in groupby(pieces, lambda piece: type(piece) if isinstance(piece, Lines | Sound) else None):
        if kind is Sound:
            parts.append(sounds([piece for piece in some if isinstance(piece, Sound)]))
        elif kind is Lines:
            parts.append(_side_by_side([draw(piece) for piece in some]))
        else:
            parts += [draw(piece) for piece in some]
    return "\n".join(part for part in parts if part)


def _side_by_side(charts: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>' if len(charts) > 1 else "".join(charts)


def _text(piece: Text) -> str:
    words = safe_lines(piece.words, 20_000)
    if piece.tone == "warning":
        return f'<p class="note warning"><b>Warning</b> {words}</p>'
    if piece.tone == "good":
        return f'<p class="note good"><b>Good</b> {words}</p>'
    return f"<p>{words}</p>"


def _code(piece: Code) -> str:
    every = piece.words.replace("\r\n", "\n").strip("\n").split("\n")
    kept = every
    if len(every) > MOST_CODE_LINES:
        half = MOST_CODE_LINES // 2
        kept = [*every[:half], f"… {plural(len(every) - 2 * half, 'line')} left out …", *every[-half:]]
    # A short block is a command: one click marks all of it. In a log one wants to mark a part.
    kind = "code whole" if len(every) <= SHORT_CODE_LINES else "code"
    words = safe_lines("\n".join(kept))
    return f'<pre class="{kind}" role="region" tabindex="0" aria-label="Code"><code>{words}</code></pre>'


def _words(piece: Words) -> str:
    """The words as a paragraph; those that spoke for the answer or against it are marked, the stronger the darker."""
    marked = []
    for place, word in enumerate(piece.words):
        weight = piece.weights[place] if place < len(piece.weights) else 0.0
        share = round(60 * min(1.0, abs(weight)))
        colour = "var(--accent)" if weight > 0 else "var(--warning)"
        style = f' style="background: color-mix(in srgb, {colour} {share}%, transparent)"'
        marked.append(f"<mark{style}>{safe(word)}</mark>" if share else safe(word))
    caption = f"<figcaption>{safe(piece.caption, 1000)}</figcaption>" if piece.caption else ""
    return f'<figure class="words">{caption}<p>{safe(piece.between).join(marked)}</p></figure>'
