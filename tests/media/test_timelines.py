"""Long recordings: windows that overlap, and what they answer as one timeline."""

from __future__ import annotations

import pytest

from matinee.core.errors import DataError
from matinee.media.timelines import Told, Window, subtitles, timelines, windows


def answer(label: str, probability: float = 0.8) -> Told:
    other = {"walk": "run", "run": "walk"}[label]
    return {"label": label, "probability": probability, "others": [{"label": other, "probability": 1 - probability}]}


def test_windows_overlap_and_end_with_the_film() -> None:
    found = windows("a.mp4", "a.mp4", (0.0, 5.0), 2.0, 0.5)
    assert found == ["a.mp4#t=0,2", "a.mp4#t=1,3", "a.mp4#t=2,4", "a.mp4#t=3,5"]
    assert [isinstance(one, Window) and one.last for one in found] == [False, False, False, True]
    assert len(windows("a.mp4", "a.mp4", (0.0, 5.1), 2.0, 0.0)) == 3
    for stretch, length in (((0.0, 4.0), 2.0), ((0.0, 9.0), 0.0), ((0.0, float("inf")), 2.0), ((0.0, 0.0), 2.0)):
        assert windows("a.mp4", "a.mp4", stretch, length, 0.5) == ["a.mp4"]


def test_neighbours_with_the_same_answer_are_one_event() -> None:
    raws = ["short.mp4", *windows("a.mp4#t=10,15", "a.mp4", (10.0, 15.0), 2.0, 0.5), "b.mp4"]
    told = [answer("walk"), answer("walk"), answer("walk", 0.9), answer("run", 0.95), answer("run"), answer("run")]
    found = list(timelines(iter(zip(raws, told, strict=True)), ("run", "walk")))
    assert [raw for raw, _ in found] == ["short.mp4", "a.mp4#t=10,15", "b.mp4"] and found[0][1] is told[0]
    whole = found[1][1]
    assert isinstance(whole, dict) and whole["seconds"] == 5.0
    # From 12 to 13 s the second window says walk (0.9), the third run (0.95): run, with 0.525.
    assert whole["events"] == [
        {"start": 10.0, "end": 12.0, "label": "walk", "probability": 0.825},
        {"start": 12.0, "end": 15.0, "label": "run", "probability": 0.733333},
    ]
    assert whole["label"] == "run" and whole["probability"] == pytest.approx((2 * 0.175 + 3 * 0.733333) / 5, abs=1e-6)


def test_windows_that_meet_make_no_event_of_a_thousandth() -> None:
    raws = windows("a.wav", "a.wav", (0.0, 29.0), 0.7, 0.5)
    assert isinstance(raws[0], Window) and isinstance(raws[2], Window) and 0 < raws[0].end - raws[2].start < 0.002
    told = [answer(("walk", "run")[number % 3 == 0]) for number in range(len(raws))]
    ((_, found),) = timelines(iter(zip(raws, told, strict=True)), ("run", "walk"))
    assert isinstance(found, dict) and all(event["end"] - event["start"] > 0.3 for event in found["events"])


def test_what_cannot_be_seen_is_said() -> None:
    raws = windows("a.mp4", "a.mp4", (0.0, 6.0), 2.0, 0.0)
    broken = DataError("it breaks off")
    ((_, found),) = timelines(iter(zip(raws, [answer("run"), broken, answer("run")], strict=True)), ("run", "walk"))
    assert isinstance(found, dict) and found["probability"] == 0.8
    assert found["events"][1] == {"start": 2.0, "end": 4.0, "error": "it breaks off"}
    assert list(timelines(iter([(raw, broken) for raw in raws]), ("run", "walk"))) == [("a.mp4", broken)]


def test_of_many_classes_those_not_named_share_the_rest() -> None:
    classes = tuple("abcdefgh")
    raws = windows("a.mp4", "a.mp4", (0.0, 5.0), 2.0, 0.0)
    one = {"label": "c", "probability": 0.4, "others": [{"label": "a", "probability": 0.2}]}
    ((_, found),) = timelines(((raw, one) for raw in raws), classes)
    assert isinstance(found, dict) and found["label"] == "c" and len(found["others"]) == 4
    assert found["others"][1]["probability"] == pytest.approx(0.4 / 6, abs=1e-6)


def test_subtitles() -> None:
    events = [
        {"start": 0.0, "end": 3723.0405, "label": "a <b>\n--> c", "probability": 0.5},
        {"start": 3723.04, "end": 3724.0, "error": "unread"},
    ]
    written = subtitles(events)
    assert written[".vtt"].decode() == "WEBVTT\n\n00:00:00.000 --> 01:02:03.040\na &lt;b&gt; --&gt; c (50 %)\n"
    assert written[".srt"].decode() == "1\n00:00:00,000 --> 01:02:03,040\na <b> --> c (50 %)\n"
