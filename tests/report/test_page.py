"""The page a person reads: whatever it is given, it stays one whole, harmless, self-contained document."""

from __future__ import annotations

import base64
import io
import math
import re
import wave as wave_module
from html.parser import HTMLParser
from importlib import resources
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from matinee.core.pieces import Bars, Code, Gallery, Lines, Matrix, Picture, Piece, Section, Sound, Table, Text
from matinee.report.charts import scale, segments
from matinee.report.page import draw, page
from matinee.report.words import number, percent, safe

VOID = {"meta", "link", "img", "br", "hr", "input"}
SELF_CLOSING = {"line", "rect", "polyline", "circle"}
NAN, INFINITY = math.nan, math.inf
HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title></svg><img src=x onerror=alert(1)>",
    "a\"b'c onload=x &amp; {brace} %s",
    "two\nlines\r\ttabs",
    "caf\udce9.jpg",
    "lone \ud83d surrogate",
    "\u202egpj.exe\u2066\u200f",
    "nul\x00bell\x07escape\x1b[31m\x9b",
    "猫 😀 نص \u2028\ufeff\ufffe",
    "x" * 5000,
    "",
)


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects tags, attributes and words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parse(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    text.encode("utf-8")
    return reader


def checked(text: str) -> Reader:
    """Parses a page and checks what holds for every page."""
    reader = parse(text)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "iframe", "object", "embed", "form", "base"}
    assert sum(tag == "h1" for tag, _ in reader.tags) == 1
    identifiers = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "a":
            assert (attributes["href"] or "").removeprefix("#") in identifiers
        elif "href" in attributes or "src" in attributes:
            assert (attributes.get("href") or attributes.get("src") or "").startswith("data:")
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    assert not re.search(r"url\(|@import|NaN|Infinity", re.sub(r'"data:[^"]*"', "", text))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    return reader


def every_piece(words: str = "words") -> list[Piece]:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    return [
        Text(words),
        Text(words, "good"),
        Text(words, "warning"),
        Table([words, "count"], [[words, 3], [words, 0.5], [None, None]], words),
        Lines({words: [(1, 0.5), (2, 0.25)], "other": [(1, 1.0)]}, words, words, words),
        Lines({words: [(0.1, 0.2), (0.9, 0.8)]}, words, words, words, diagonal=True),
        Bars([words, "b"], [0.5, 0.75], [(0.4, 0.6), None], words, percent=True),
        Matrix([words, "b"], np.array([[3, 1], [0, 4]]), words, words, words),
        Matrix([words] * 40, np.eye(40) + np.eye(40, k=1), words, words, words),
        Gallery([Picture(pixels, words), Picture(np.stack([pixels] * 3, -1), words)], words),
        Code(words),
    ]


def test_page_has_title_lead_facts_and_sections() -> None:
    text = page(
        "Digits", "Right 99 times in 100.", [Section("Scores", every_piece())], facts={"Accuracy": "98.9 % (97-99)"}
    )
    reader = checked(text)
    words = "".join(reader.words)
    for expected in ("Digits", "Right 99 times in 100.", "Scores", "Accuracy", "98.9 %", "97-99"):
        assert expected in words
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    metas = [attributes for tag, attributes in reader.tags if tag == "meta"]
    assert any(meta.get("name") == "viewport" and "width=device-width" in (meta["content"] or "") for meta in metas)
    policies = [meta["content"] or "" for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")


def test_page_asks_nothing_of_the_network() -> None:
    text = page("t", "l", [Section("s", every_piece(), folded=folded) for folded in (True, False) * 3])
    assert "http" not in re.sub(r"http-equiv|\"data:[^\"]*\"", "", text)
    assert "//" not in re.sub(r"\"data:[^\"]*\"", "", text)


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_are_shown_and_break_nothing(words: str) -> None:
    plain = checked(page("t", "l", [Section("s", every_piece())] * 5, facts={"f": "v"}))
    reader = checked(page(words, words, [Section(words, every_piece(words))] * 5, facts={words: words}))
    # The same elements as with harmless words: nothing in a name became markup.
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in plain.tags} | {"p"}
    if words.isascii() and words.isprintable() and 0 < len(words) < 48:
        assert "".join(reader.words).count(words) >= 40


def test_unshowable_characters_are_spelled_out() -> None:
    assert safe("caf\udce9") == "caf\\xe9"
    assert safe("\u202egpj") == "\\u202egpj"
    assert safe("a\nb\tc\x00") == "a↵b⇥c\\x00"
    assert safe("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert safe("a" * 100 + ".jpg", 30).endswith("aaaa.jpg")


@pytest.mark.parametrize(
    "piece",
    [
        Text(""),
        Table([], []),
        Table(["a", "b"], []),
        Table(["a"], [["x", 1, 2.5], []]),
        Lines({}),
        Lines({"a": []}, diagonal=True),
        Lines({"a": [(NAN, 1), (1, NAN), (INFINITY, 1), (1, -INFINITY)]}),
        Lines({"a": [(1, 2)]}),
        Lines({"a": [(1, 0.5)] * 3}, diagonal=True),
        Lines({"a": [(1, NAN), (2, 1), (3, NAN), (4, 2), (5, 3)], "b": [(0, 1e308), (1, -1e299), (2, 1e299)]}),
        Lines({"a": [(0, 5e-324), (1e-320, 1e-310)], "b": []}),
        Lines({str(name): [(x, x * name) for x in range(50)] for name in range(100)}),
        Bars([], []),
        Bars(["a"], [0.0]),
        Bars(["a", "b", "c"], [NAN, INFINITY, -2.0], [(NAN, 1), None]),
        Bars(["a", "b"], [-1, 1], [(-2, 0), (0, INFINITY)], percent=True),
        Matrix([], np.zeros((0, 0))),
        Matrix(["a"], np.zeros((2, 3))),
        Matrix(["a"], np.array([[NAN, INFINITY], [-1, 0.25]])),
        Matrix([], np.zeros((50, 50), np.int64)),
        Gallery([]),
        Gallery(
            [
                Picture(np.zeros((0, 4), np.uint8)),
                Picture(np.zeros((2, 2, 7), np.uint8)),
                Picture(np.zeros(3, np.uint8)),
            ]
        ),
        Gallery([Picture(np.full((3, 3, 1), NAN, np.float32), "x"), Picture(np.ones((2, 2), bool), "y")]),
        Code(""),
    ],
    ids=lambda piece: type(piece).__name__,
)
def test_odd_and_empty_pieces_are_drawn(piece: Piece) -> None:
    checked(page("", "", [Section("", [piece])]))
    assert "nan" not in re.sub(r'"data:[^"]*"', "", draw(piece))


def test_empty_page() -> None:
    checked(page("", "", []))


def test_contents_from_five_sections_on() -> None:
    assert "<nav" not in page("t", "l", [Section("s")] * 4)
    reader = checked(page("t", "l", [Section("s", folded=True)] * 5))
    assert [tag for tag, _ in reader.tags].count("nav") == 1
    assert [tag for tag, _ in reader.tags].count("details") == 5


def test_numbers_are_written_as_people_write_them() -> None:
    written = {3: "3", 12345: "12,345", 0.98912: "0.989", 12.3456: "12.3", 1234.6: "1,235", 0.0: "0", 3e-5: "3e-5"}
    written |= {-0.0004: "−0.00040", 1e20: "1e20", -2.5: "−2.500", INFINITY: "∞", -INFINITY: "−∞", NAN: "n/a"}
    for value, words in written.items():
        assert number(value) == words
    assert number(0.0004, 3) == "0.0004"
    assert number(np.float32(0.5)) == "0.500"
    assert number(np.int64(7)) == "7"
    for share, words in {1.0: "100", 0.9999: "99.9", 0.989: "98.9", 0.0: "0.0"}.items():
        assert percent(share) == f"{words}\u00a0%"


def test_table_sets_numbers_flush_right_with_the_same_decimals() -> None:
    text = draw(Table(["name", "score", "share", "year"], [["a", 0.5, "98.9 %", 2026], ["b", None, "1 %", 1999]]))
    assert text.count('class="number"') + text.count("class=number") >= 6
    assert ">0.500<" in text
    assert ">2026<" in text
    assert '<th scope="row">a</th>' in text


def test_long_tables_are_cut_and_say_so() -> None:
    text = draw(Table(["file", "count"], [[f"file {row}", row] for row in range(10_000)]))
    parse(text)
    assert text.count("<tr>") == 501
    assert "9,500 are left out" in text
    assert 'class="scroll tall" role="region" tabindex="0"' in text


def test_curves_are_thinned_but_keep_their_extremes() -> None:
    points = [(float(x), math.sin(x)) for x in range(100_000)]
    points[5000] = (5000.0, 9.0)
    (run,) = segments(points)
    assert len(run) < 500
    assert (5000.0, 9.0) in run
    assert run == sorted(run)


def test_curves_break_where_a_value_is_missing() -> None:
    runs = segments([(0, 1), (1, NAN), (2, 3), (3, 4), (4, INFINITY)])
    assert runs == [[(0.0, 1.0)], [(2.0, 3.0), (3.0, 4.0)]]


def test_series_differ_without_colour() -> None:
    text = draw(Lines({str(name): [(0, name), (1, name)] for name in range(20)}))
    looks = set()
    for group in re.findall(r'<li><svg.*?<g class="series c\d">(.*?)</g>', text):
        looks.add(group)
    assert len(looks) == 20


def test_scale_covers_its_values_with_few_whole_ticks() -> None:
    for values in ([1.0, 30.0], [0.0, 1.0], [5.0], [-3.0, -3.0], [0.01, 0.013], [-1e6, 3e6], []):
        made = scale(values, 0.0, 100.0, 6, snap=True)
        assert all(made.low <= value <= made.high for value in values)
        assert 2 <= len(made.ticks) <= 9
        assert len({label for _, label in made.labels()}) == len(made.ticks)


def test_matrix_with_numbers_names_rows_and_columns() -> None:
    reader = parse(draw(Matrix(["cat", "dog"], np.array([[9, 1], [0, 5]]))))
    scopes = [attributes.get("scope") for tag, attributes in reader.tags if tag == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 2
    assert {"9", "1", "5", "90\u00a0%", "100\u00a0%"} <= set(reader.words)


def test_a_thousand_classes_stay_small() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 2, (1000, 1000)) + 40 * np.eye(1000, dtype=np.int64)
    counts[3, 7] = 30
    names = [f"class <{place}> {'x' * 100}" for place in range(1000)]
    bars = Bars(names, generator.random(1000), [(0.0, 1.0)] * 1000, percent=True)
    text = page("t", "l", [Section("s", [Matrix(names, counts), bars])])
    checked(text)
    assert len(text) < 700_000
    assert "700 of 1,000 bars are left out" in text
    assert "4 × 4 classes" in text
    pairs = text[text.index("Most confused pairs") :]
    assert pairs.index("class &lt;3&gt;") < pairs.index("class &lt;7&gt;") < pairs.index(">30<")


def pictures(text: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]*)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_small_pictures_stay_exact_and_crisp() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    text = draw(Gallery([Picture(pixels, "a digit")]))
    assert 'class="crisp"' in text
    assert 'alt="a digit"' in text
    assert np.array_equal(np.asarray(pictures(text)[0]), pixels)


def test_large_pictures_are_made_thumbnails() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 600, 3), np.uint8)
    text = draw(Gallery([Picture(pixels, "photo")] * 2))
    assert len(text) < 400_000
    assert "crisp" not in text
    assert pictures(text)[0].size == (213, 320)
    plain, detailed = (draw(Gallery([Picture(np.zeros((600, 800), np.uint8), "x", large)])) for large in (False, True))
    assert 'width="320"' in plain and "detailed" not in plain
    assert 'width="640"' in detailed and "pictures photographs detailed" in detailed
    many = draw(Gallery([Picture(pixels[:4, :4])] * 100))
    assert "40 more pictures left out" in many
    assert many.count("<img") == 60


def test_code_keeps_lines_and_cuts_long_logs() -> None:
    assert "<code>a &lt;b&gt;\n\tc</code>" in draw(Code("a <b>\n\tc\n"))
    text = draw(Code("\n".join(f"line {place}" for place in range(10_000))))
    assert "9,600 lines left out" in text
    assert "line 9999" in text


def colours(style: str) -> list[dict[str, str]]:
    """The custom properties of the light and of the dark theme."""
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    light, dark = (dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks[:2])
    return [light, {**light, **dark}]


def channels(colour: str) -> np.ndarray:
    if colour.startswith("#"):
        return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], float)
    return np.array([float(part) for part in colour.split()])


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    levels = []
    for colour in (first, second):
        share = colour / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(levels) / min(levels)


def test_words_stand_out_in_light_and_dark() -> None:
    style = resources.files("matinee.report").joinpath("style.css").read_text("utf-8")
    levels = {int(level): float(share) for level, share in re.findall(r"\.h(\d) \{ --s: ([\d.]+); \}", style)}
    assert sorted(levels) == list(range(1, 10))
    for theme in colours(style):
        ground = channels(theme["ground"])
        for name in ("ink", "soft", "accent"):
            assert contrast(channels(theme[name]), ground) >= 4.5, name
            assert contrast(channels(theme[name]), channels(theme["sunk"])) >= 4.5, name
        for tone in ("good", "warning"):
            assert contrast(channels(theme[tone]), channels(theme[f"{tone}-ground"])) >= 4.5, tone
        for series in range(7):
            assert contrast(channels(theme[f"c{series}"]), ground) >= 3, series
        for level, share in levels.items():
            for heat in ("hit", "miss"):
                cell = share * channels(theme[heat]) + (1 - share) * ground
                words = channels(theme["on-deep" if level >= 7 else "ink"])
                assert contrast(words, cell) >= 4.5, (heat, level)


def test_sounds_are_players_that_need_nothing_else() -> None:
    wave = (8000 * np.sin(np.arange(16_000))).astype(np.int16)
    pieces = [
        Sound(wave, 16_000, "a <b>tone</b>", np.zeros((8, 8, 3), np.uint8)),
        Sound(wave, 4000),
        Sound(wave[:0], 16_000),
    ]
    html = page("Sounds", "", [Section("Heard", pieces)])
    assert html.count("<audio controls") == 2 and "media-src data:" in html and "No sound to play." in html
    assert "a &lt;b&gt;tone" in html and "<b>tone" not in html
    found = re.findall(r"data:audio/(mpeg|wav);base64,([A-Za-z0-9+/=]+)", html)
    with wave_module.open(io.BytesIO(base64.b64decode(next(data for kind, data in found if kind == "wav")))) as file:
        assert file.getframerate() == 4000 and np.array_equal(np.frombuffer(file.readframes(99_999), "<i2"), wave)
    if find_spec("soundfile"):
        import soundfile

        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(dict(found)["mpeg"])))
        assert rate == 16_000 and 15_000 < len(heard) < 19_000
