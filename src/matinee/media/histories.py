"""From events to examples: one row a person and part, with what they chose and what was held back.

A row of the training part is everything a person chose there. A row of the validation or test part is what the same
person chose before, and beside it what was held back of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np

from matinee.core.examples import Array, Column, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.media.interactions import Interactions

WAYS: Final = ("random", "within-user", "last", "time")
FRIENDS_KEPT: Final = 400
"""Items that friends chose, the most often chosen first, of which a row keeps so many."""
PARTS: Final = ("train", "valid", "test")


@dataclass(frozen=True)
class Division:
    """How events are divided: the way, the share held back, the share of people who lend to validation, the seed."""

    way: str
    test_share: float
    valid_share: float
    seed: int


@dataclass(frozen=True)
class Histories:
    """Columns of examples (`Examples`), and which rows are in which part; names and digests of the rows."""

    columns: Mapping[str, Column]
    parts: Mapping[str, Array]
    names: list[str]
    manifest: Mapping[str, str]
    entries: tuple[Entry, ...] = ()


def in_time(found: Interactions) -> Array:
    """Positions of the events by person, each person's in the order of time and, where none is told, of the file."""
    when = np.nan_to_num(found.time, nan=-np.inf)
    order: Array = np.lexsort((np.arange(len(found)), when, found.person))
    return order


def held_back(found: Interactions, division: Division) -> Array:
    """Which events are the test, bool (events,): those of the source itself, else drawn in the given way.

    random: every event by lot (`numpy.random.default_rng(seed).random(events)`, in the order of the files).
    within-user: the share of each person's events, by lot. last: each person's last event. time: the last share of all
    events.
    """
    if found.test.any() or division.test_share <= 0:
        return found.test.copy()
    count = len(found)
    out = np.zeros(count, bool)
    if division.way == "random":
        drawn: Array = np.random.default_rng(division.seed).random(count) >= 1 - division.test_share
        return drawn
    if division.way == "time":
        when = np.nan_to_num(found.time, nan=-np.inf)
        out[np.argsort(when, kind="stable")[round(count * (1 - division.test_share)) :]] = True
        return out
    out[_shares(found, in_time(found), division, [division.seed, 3])] = True
    return out


def _shares(found: Interactions, order: Array, division: Division, seed: Sequence[int]) -> Array:
    """Events held back of each person: the last one, or a share by lot; a person with one event keeps it.

    order: events by person and time.
    """
    person = found.person[order]
    counts = np.bincount(person, minlength=len(found.people))
    place = np.arange(len(order)) - (np.cumsum(counts) - counts)[person]
    if division.way == "last":
        chosen: Array = order[(place == counts[person] - 1) & (counts[person] > 1)]
        return chosen
    luck = np.random.default_rng(list(seed)).random(len(found))[order]  # of the event: rows that come later move none
    mixed = order[np.lexsort((luck, person))]
    # Rounding half up, at least one and not all: shares of few events would else be none.
    wanted = np.clip(np.floor(counts * division.test_share + 0.5), np.minimum(1, counts - 1), counts - 1)
    drawn: Array = mixed[place < wanted[person]]
    return drawn


def lent(found: Interactions, test: Array, division: Division) -> Array:
    """Which events of the training select the model, bool (events,): some of what a share of the people chose."""
    out = np.zeros(len(found), bool)
    counts = np.bincount(found.person[~test], minlength=len(found.people))
    able = np.flatnonzero(counts > 1)
    number = round(len(able) * division.valid_share)
    if not number:
        return out
    generator = np.random.default_rng([division.seed, 11])
    people = np.zeros(len(found.people), bool)
    people[generator.permutation(able)[:number]] = True
    order = in_time(found)
    order = order[~test[order] & people[found.person[order]]]
    way = "last" if division.way in ("last", "time") else "within-user"
    share = division.test_share if 0 < division.test_share < 0.9 else 0.2
    out[_shares(found, order, Division(way, share, 0, division.seed), [division.seed, 13])] = True
    return out


def histories(found: Interactions, test: Array, division: Division, known: Array) -> Histories:
    """The examples of all parts.

    test: what is held back (events,). known: the number from 1 on under which the network knows each of `found.items`,
    0 for none (items,).
    """
    valid = lent(found, test, division)
    number = known[found.item]
    order = in_time(found)
    order = order[number[order] > 0]
    plain = order[~test[order] & ~valid[order]]
    befores = {"train": plain, "valid": plain, "test": order[~test[order]]}
    afters = {"train": order[:0], "valid": order[valid[order]], "test": order[test[order]]}
    people = len(found.people)
    chosen = _by_person(plain, found.person, people)
    friends = _friends(found, chosen, number)
    rows: dict[str, list[Array]] = {name: [] for name in ("history", "value", "target", "wanted", "friends", "often")}
    group: list[int] = []
    names: list[str] = []
    manifest, parts, entries = {}, {}, []
    for part in PARTS:
        before = _by_person(befores[part], found.person, people)
        after = _by_person(afters[part], found.person, people)
        begins = len(group)
        for who in range(people):
            if not len(before[who]) or (part != "train" and not len(after[who])):
                if len(after[who]):
                    reason = "nothing of this user is left to answer from"
                    entries.append(Entry(f"{found.file}#user {found.people[who]}", "event", reason))
                continue
            own, later = before[who], after[who]
            rows["history"].append(number[own])
            rows["value"].append(found.rating[own])
            rows["target"].append(number[later])
            rows["wanted"].append(found.rating[later])
            rows["friends"].append(friends[who][0])
            rows["often"].append(friends[who][1])
            group.append(who)
            names.append(f"{found.file}#user {found.people[who]}" + ("" if part == "train" else f" ({part})"))
            manifest[names[-1]] = _digest(found, own, later)
        parts[part] = np.arange(begins, len(group), dtype=np.int64)
    kinds = {"value": np.float32, "wanted": np.float32, "often": np.float32}
    columns: dict[str, Column] = {name: Ragged.of(each, kinds.get(name, np.int32)) for name, each in rows.items()}
    columns["group"] = np.array(group, np.int64)
    return Histories(columns, parts, names, manifest, tuple(entries))


def _by_person(events: Array, person: Array, people: int) -> list[Array]:
    """Events ordered by person -> those of each person, in order."""
    return np.split(events, np.searchsorted(person[events], np.arange(1, people)))


def _friends(found: Interactions, chosen: Sequence[Array], number: Array) -> list[tuple[Array, Array]]:
    """Items that the friends of each person chose, and how often; only what is there to train on."""
    nothing = np.empty(0, np.int64), np.empty(0, np.float32)
    told = [nothing] * len(found.people)
    if not len(found.links):
        return told
    links = found.links[np.argsort(found.links[:, 0], kind="stable")]
    for who, friends in enumerate(np.split(links[:, 1], np.searchsorted(links[:, 0], np.arange(1, len(told))))):
        items = number[np.concatenate([np.empty(0, np.int64), *(chosen[friend] for friend in friends)]).astype(int)]
        if len(items):
            which, counts = np.unique(items, return_counts=True)
            first = np.argsort(-counts, kind="stable")[:FRIENDS_KEPT]
            told[who] = which[first], (counts[first] / len(friends)).astype(np.float32)
    return told


def _digest(found: Interactions, own: Array, later: Array) -> str:
    """SHA-256 of a row's events, in names: the same whatever numbers items have."""
    digest = sha256()
    for events in (own, later):
        names = "\0".join([found.items[item] for item in found.item[events].tolist()])
        digest.update(names.encode("utf-8", "surrogatepass") + b"\1" + found.rating[events].astype("<f8").tobytes())
    digest.update(found.people[found.person[own[0]]].encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def each_once(examples: Examples) -> Examples:
    """Of each person the longest history: where folds are made of all parts, a person has a row in each."""
    who = examples.column("group")
    order = np.lexsort((examples.lengths("history"), who))
    return examples.take(np.sort(order[np.append(np.diff(who[order]) > 0, True)]))


def within(examples: Examples, name: str = "history") -> Array:
    """Places in the values of a ragged column of all events of these examples, in order."""
    column = examples.ragged(name)
    spans = zip(column.offsets[examples.rows], column.offsets[examples.rows + 1], strict=True)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first, last) for first, last in spans)]).astype(np.int64)


def three_tastes(seed: int) -> Interactions:
    """Events made up: three tastes with twenty items each; everybody has one of them, and a friend of the same."""
    generator = np.random.default_rng(seed)
    people, each = 330, 12
    taste = np.arange(people) % 3
    person = np.repeat(np.arange(people), each)
    own = np.argsort(generator.random((people, 20)), axis=1)[:, :each]
    stray = np.argsort(generator.random((people, 60)), axis=1)[:, :each]
    item = np.where(generator.random((people, each)) < 0.1, stray, 20 * taste[:, None] + own).ravel()
    _, first = np.unique(person * 60 + item, return_index=True)
    person, item = person[first], item[first]
    liked = np.where(item // 20 == taste[person], 4.0, 2.0) + generator.integers(0, 2, len(item))
    names = tuple(f"{'abc'[number // 20]}{number % 20}" for number in range(60))
    return Interactions(
        "made up", tuple(map(str, range(people))), names, person, item, liked,
        generator.permutation(len(item)).astype(np.float64), np.zeros(len(item), bool), True,
        attributes={name: (name[0],) for name in names},
        links=np.stack([np.arange(people), (np.arange(people) + 3) % people], 1),
    )  # fmt: skip
