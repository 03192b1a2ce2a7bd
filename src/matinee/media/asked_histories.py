"""Histories that people ask with, as events; and recommendations in words.

A history is a list of items, by name or title, or an object {"history": [...], "ratings": [...], "friends": [[...]],
"new": [{"title": "...", "kinds": ["Comedy"]}]}; in text, JSON of these or items between semicolons.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.interactions import MOST
from matinee.media.records import decoded
from matinee.media.walking import printable

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS: Final = (".jsonl", ".json", ".csv", ".txt", ".tsv")
ROLES: Final = {"own": 0.0, "friends": 1.0, "new": 2.0}
RIDGE: Final = 10.0
PARTS: Final = ("history", "ratings", "friends", "new")
NEAR: Final = 20_000
"""Titles, the most often chosen first, among which one is looked for that somebody may have meant."""


def listed(places: Sequence[str]) -> Iterator[str]:
    """The lines of files of histories; what is no file is a history itself."""
    for place in places:
        path = Path(place)
        if path.suffix.lower() not in ENDINGS or not path.is_file():
            yield place
            continue
        lines = decoded(path, []).split("\n")
        if path.suffix.lower() in (".csv", ".tsv"):
            mark = "\t" if path.suffix.lower() == ".tsv" else ","
            rows = [[word for word in row if word.strip()] for row in csv.reader(lines, delimiter=mark)]
            yield from (json.dumps(row) for row in rows if row)
        else:
            yield from (line.strip() for line in lines if line.strip())


class Catalogue:
    """The items that a network knows: names, titles and kinds ("Comedy|Drama")."""

    def __init__(self, items: Sequence[str], titles: Sequence[str], kinds: Sequence[str]) -> None:
        self.items, self.titles, self.kinds = items, titles, kinds

    @cached_property
    def _places(self) -> Mapping[str, int]:
        places: dict[str, int] = {}
        for names in (self.items, self.titles, [title.casefold() for title in self.titles]):
            for number, name in enumerate(names, 1):
                places.setdefault(name, number)
        return places

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The kinds that there are, in order."""
        return tuple(sorted({word for kind in self.kinds for word in kind.split("|") if word}))

    @cached_property
    def table(self) -> Array:
        """1 for what an item is, float32 (items, kinds)."""
        place = {word: number for number, word in enumerate(self.words)}
        table = np.zeros((len(self.items), len(self.words)), np.float32)
        for row, kind in enumerate(self.kinds):
            for word in kind.split("|"):
                if word:
                    table[row, place[word]] = 1.0
        return table

    @cached_property
    def _projection(self) -> Array:
        """From scores of items to scores of kinds, by ridge regression (kinds + 1, items); the last kind is all."""
        table = np.concatenate([self.table, np.ones((len(self.items), 1), np.float32)], 1)
        system = table.T @ table + RIDGE * np.diag([1.0] * len(self.words) + [1e-3])
        projection: Array = np.linalg.solve(system, table.T).astype(np.float32)
        return projection

    def number(self, name: str) -> int:
        """The number of an item from 1 on, by its name or title. Raises DataError, with what is near."""
        found = self._places.get(name) or self._places.get(name.strip()) or self._places.get(name.strip().casefold())
        if found:
            return found
        names = (self.titles[:NEAR], self.items[:NEAR])
        near = next((other for those in names for other in difflib.get_close_matches(name[:200], those, 1)), "")
        said = f" Did you mean {near!r}?" if near else ""
        raise DataError(f"no item is called {printable(name)[:80]!r}.{said}")

    def encode(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Events (histories that can be read, the longest, 3), and by place what is wrong with the others."""
        import torch

        rows: list[list[tuple[float, float, float]]] = []
        errors: dict[int, DataError] = {}
        for place, raw in enumerate(raws):
            try:
                rows.append(self._events(raw))
            except DataError as error:
                errors[place] = error
        events = np.zeros((len(rows), max([1, *map(len, rows)]), 3), np.float32)
        for row, told in enumerate(rows):
            events[row, : len(told)] = told
        return torch.from_numpy(events), errors

    def _events(self, raw: Any) -> list[tuple[float, float, float]]:
        asked = _parsed(raw)
        history, ratings = asked.get("history", []), asked.get("ratings")
        if strange := [name for name in asked if name not in PARTS]:
            raise DataError(f"there is no {str(strange[0])[:40]!r} in a history; there may be {', '.join(PARTS)}")
        if not isinstance(history, list) or not history:
            raise DataError('a history is a list of items, or an object like {"history": ["...", "..."]}')
        if ratings is None:
            ratings = [math.nan] * len(history)
        if not isinstance(ratings, list) or len(ratings) != len(history):
            raise DataError(f"{len(history)} items in the history, and not as many ratings")
        own: dict[int, float] = {}
        for name, rating in zip(history, ratings, strict=True):
            if isinstance(rating, bool) or not isinstance(rating, int | float | None) or abs(rating or 0) > MOST:
                raise DataError(f"a rating is a number, not {str(rating)[:40]!r}")
            number = self.number(str(name))
            own.pop(number, None)  # what is named twice counts once, as in training: at its last place
            own[number] = math.nan if rating is None else float(rating)
        events = [(float(number), rating, ROLES["own"]) for number, rating in own.items()]
        return events + self._friends(asked.get("friends", [])) + self._new(asked.get("new", []))

    def _friends(self, asked: Any) -> list[tuple[float, float, float]]:
        """What friends chose, with the share of the friends who did."""
        if not isinstance(asked, list) or not all(isinstance(friend, list) for friend in asked):
            raise DataError('friends are lists of items, one for each friend: {"history": [...], "friends": [["..."]]}')
        often = Counter(number for friend in asked for number in {self.number(str(name)) for name in friend})
        return [(float(number), count / len(asked), ROLES["friends"]) for number, count in often.items()]

    def _new(self, asked: Any) -> list[tuple[float, float, float]]:
        """Kinds of new items; one that has none is as new items are on average (the kind behind the last)."""
        if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
            raise DataError('new items are objects: {"history": [...], "new": [{"title": "...", "kinds": ["..."]}]}')
        events = []
        for place, item in enumerate(asked):
            kinds = item.get("kinds", [])
            if not isinstance(kinds, list):
                raise DataError(f'the kinds of a new item are a list, like ["Comedy"], not {str(kinds)[:40]!r}')
            unknown = [kind for kind in kinds if kind not in self.words]
            if unknown:
                raise DataError(
                    f"no item is of the kind {str(unknown[0])[:40]!r}; there are {', '.join(self.words)[:400]}"
                )
            events.append((float(len(self.words) + 1), float(place), ROLES["new"]))
            events += [(float(self.words.index(kind) + 1), float(place), ROLES["new"]) for kind in kinds]
        return events

    def score_new(self, events: Tensor, scores: Tensor) -> Tensor:
        """Scores of new items from their kinds (batch, the most asked for), NaN where fewer are asked for.

        Each person's scores of known items are regressed on the kinds of these (ridge); the regression tells the rest.
        """
        import torch

        kinds = scores @ torch.from_numpy(self._projection.T.copy()).to(scores)
        there = (events[..., 2] == ROLES["new"]) & (events[..., 0] > 0)
        which = ((events[..., 0] - 1).long() * there).clamp(0, kinds.shape[1] - 1)
        place = (events[..., 1].nan_to_num() * there).long()
        asked = int(place.max()) + 1
        told = scores.new_zeros(len(events), asked).scatter_add_(1, place, kinds.gather(1, which) * there)
        count = scores.new_zeros(len(events), asked).scatter_add_(1, place, there.float())
        return torch.where(count > 0, told, torch.nan)

    def decode(self, outputs: Mapping[str, Any], word: str) -> list[dict[str, Any]]:
        """{"items": [{"item", "title", "score" or "rating", "because"}], "new": [...]} for each person."""
        top = outputs["top"]
        scores = outputs["scores"].gather(1, top).float().tolist()
        fresh = outputs["new"].float().tolist() if "new" in outputs else [[]] * len(scores)
        answers: list[dict[str, Any]] = []
        for values, places, reasons, new in zip(scores, top.tolist(), outputs["because"].tolist(), fresh, strict=True):
            items = []
            for value, place, reason in zip(values, places, reasons, strict=True):
                if not math.isfinite(value):
                    continue  # everything was chosen already
                item = {"item": self.items[place], "title": self.titles[place], word: round(value, 6)}
                items.append({**item, "because": self.titles[reason]} if reason >= 0 else item)
            answer: dict[str, Any] = {"items": items}
            told = [(place, value) for place, value in enumerate(new) if not math.isnan(value)]
            if told:
                answer["new"] = [{"place": place + 1, word: round(value, 6)} for place, value in told]
            answers.append(answer)
        return answers


def _parsed(raw: Any) -> Mapping[str, Any]:
    """A list, an object, or the text of one."""
    if isinstance(raw, str):
        text = raw.strip()
        if text[:1] in ("[", "{"):
            try:
                raw = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{printable(text[:60])!r} is not JSON: {error}") from None
        else:
            raw = [name.strip() for name in text.split(";") if name.strip()]
    if isinstance(raw, Mapping):
        return raw
    if isinstance(raw, Iterable):
        return {"history": list(raw)}
    raise DataError('a history is a list of items, or an object like {"history": ["...", "..."]}')
