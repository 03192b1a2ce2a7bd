"""Readers of interactions: every form, every fault in the ledger or in one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.core.errors import DataError
from matinee.media.histories import Division, held_back, histories
from matinee.media.interaction_files import find, fits
from matinee.media.interactions import Columns, Interactions, read_interactions
from matinee.media.item_numbers import numbered, selected

FORMS = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,100\n1,20,3,90\n2,10,5,80\n",
    "ratings.dat": "1::10::4::978300760\n1::20::3::978300750\n2::10::5::978300740\n",
    "u.data": "1\t10\t4\t881250949\n1\t20\t3\t881250940\n2\t10\t5\t881250930\n",
    "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "1\t10\t4\t100\n1\t20\t3\t90\n2\t10\t5\t80\n",
    "reviews.jsonl": "".join(
        json.dumps({"reviewerID": u, "asin": i, "overall": r, "unixReviewTime": t}) + "\n"
        for u, i, r, t in (("1", "10", 4.0, 100), ("1", "20", 3.0, 90), ("2", "10", 5.0, 80))
    ),
    "dates.tsv": "user\titem\tscore\tdate\n1\t10\t4\t2020-01-03\n1\t20\t3\t2020-01-02\n2\t10\t5\t2020-01-01\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    assert fits(tmp_path / name)
    found = read_interactions(tmp_path / name)
    pairs = [(found.people[p], found.items[i]) for p, i in zip(found.person, found.item, strict=True)]
    assert pairs == [("1", "10"), ("1", "20"), ("2", "10")]
    assert found.rating.tolist() == [4, 3, 5] and found.rated and np.all(np.diff(found.time) < 0)


def test_baskets_titles_attributes_and_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "outer" / "ml"
    folder.mkdir(parents=True)
    (folder / "user_movies.txt").write_text("1 10 20 30 40 50\n2 10\n3 20 30\n")
    (folder / "movies.dat").write_bytes(
        "10::Amélie (2001)::Comedy|Romance\n20::Alien (1979)::Horror\n".encode("latin-1")
    )
    found = read_interactions(tmp_path / "outer")
    assert len(found) == 8 and not found.rated
    assert found.titles["10"] == "Amélie (2001)" and found.attributes["10"] == ("Comedy", "Romance")


def test_faults_are_in_the_ledger(tmp_path: Path) -> None:
    good = "".join(f"{u},{i},{3 + i % 3},{1000 - i}\n" for u in range(8) for i in range(6))
    bad = ",5,3,1\n7,,3,1\n7,9,many,1\n7,9,3,yesterday\n7,9\n1,2,5,2000\n"
    (tmp_path / "ratings.csv").write_bytes(
        b"user_id,item_id,rating,timestamp\n" + (good + bad).encode() + b"8,\xff\xfe,3,1\n"
    )
    (tmp_path / "trust.txt").write_text("1 2 1\n3 nobody 1\n")
    found = read_interactions(tmp_path / "ratings.csv")
    reasons = " ".join(entry.reason for entry in found.entries)
    for words in ("no user", "no item", "rating is no number", "neither a number nor a date", "2 values where 4",
                  "UTF-8", "another row names too", "who chose nothing"):  # fmt: skip
        assert words in reasons, words
    assert len(found) == 48 and found.rating[(found.person == 1) & (found.item == 2)].tolist() == [5]
    assert found.links.tolist() == [[1, 2]]


def test_wrong_columns_say_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer,thing,stars\nann,tea,4\nbob,tea,5\n")
    with pytest.raises(
        DataError, match=r"no column that looks like the user; there are: customer, thing, stars\. --user-column"
    ):
        read_interactions(tmp_path / "a.csv")
    assert len(read_interactions(tmp_path / "a.csv", Columns(user="customer", item="thing"))) == 2
    with pytest.raises(DataError, match="no column 'person'"):
        read_interactions(tmp_path / "a.csv", Columns(user="person", item="thing"))


def test_rows_that_are_mostly_broken_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n" + "a,b\n" + ",x\n" * 9)
    with pytest.raises(DataError, match="9 of 10 rows cannot be used"):
        read_interactions(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("user,item\n,\n")
    with pytest.raises(DataError):
        read_interactions(tmp_path / "b.csv")


def test_what_names_no_user_is_not_recognised(tmp_path: Path) -> None:
    for name, text in {"a.csv": "text,label\nhello,1\n", "b.txt": "hello world\nbye\n", "c.jsonl": '{"a": 1}\n',
                       "d.csv": "1,2,3\n4,5,6\n", "e.csv": "item_id,price\n1,2\n"}.items():  # fmt: skip
        (tmp_path / name).write_text(text)
        assert fits(tmp_path / name) == "", name


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "ratings.csv"
    for raw in (noise, b"user,item,rating,timestamp\n1,2,3,4\n" + noise):
        path.write_bytes(raw)
        try:
            found = read_interactions(path)
        except DataError:
            continue
        assert len(found) > 0 and found.item.max() < len(found.items)


def made(times: list[float] | None = None) -> Interactions:
    person = np.repeat(np.arange(20), 6)
    item = np.tile(np.arange(6), 20) + np.repeat(np.arange(20) % 3, 6)
    when = np.array(times or np.arange(120)[::-1], float)
    return Interactions("x.csv", tuple(map(str, range(20))), tuple(map(str, range(8))), person, item,
                        np.full(120, 4.0), when, np.zeros(120, bool), True)  # fmt: skip


def test_the_ways_of_dividing() -> None:
    found = made()
    lot = held_back(found, Division("random", 0.2, 0, 0))
    assert (lot == (np.random.default_rng(0).random(120) >= 0.8)).all()
    each = held_back(found, Division("within-user", 1 / 3, 0, 0))
    assert (np.bincount(found.person[each]) == 2).all()
    last = held_back(found, Division("last", 0.2, 0, 0))
    assert (np.flatnonzero(last) == np.arange(0, 120, 6)).all()  # times run backwards
    late = held_back(found, Division("time", 0.25, 0, 0))
    assert (np.flatnonzero(late) == np.arange(30)).all()


def test_rows_hold_nothing_of_what_is_held_back() -> None:
    found = made()
    division = Division("within-user", 0.2, 0.5, 0)
    rows = histories(found, held_back(found, division), division, np.arange(1, 9))
    history, target, group = rows.columns["history"], rows.columns["target"], rows.columns["group"]
    train = {int(group[row]): set(history[row].tolist()) for row in rows.parts["train"]}
    for part in ("valid", "test"):
        assert len(rows.parts[part])
        for row in rows.parts[part]:
            held = set(target[row].tolist())
            assert held and not held & set(history[row].tolist()) and not held & train[int(group[row])]
    assert len(set(rows.names)) == len(rows.names) == len(group) and set(rows.manifest) == set(rows.names)


def test_rows_that_come_later_leave_the_parts_as_they_are() -> None:
    found = made()
    more = replace(found, person=np.append(found.person, 0), item=np.append(found.item, 7),
                   rating=np.append(found.rating, 3.0), time=np.append(found.time, 500.0),
                   test=np.append(found.test, False))  # fmt: skip
    for way in ("random", "within-user"):
        division = Division(way, 1 / 3, 0, 0)
        before, after = held_back(found, division), held_back(more, division)
        others = found.person > 0
        assert (before[others] == after[:-1][others]).all()
        assert not (after[:-1] & ~before).any()  # what was learned from is not asked for


def test_a_model_that_reads_again_divides_what_it_knew() -> None:
    found = made()
    first = selected(found, None, 10)
    known = [first.items[number] for number in np.unique(first.item)]
    assert len(known) < len(found.items)
    again = selected(found, None, 1, known)
    assert (again.person == first.person).all() and (again.item == first.item).all()
    assert "does not know" in again.entries[-1].reason


def test_numbers_of_items_tell_nothing_of_what_is_held_back() -> None:
    found = made()
    test = found.item != 3
    test[:40] = False
    known, items = numbered(found, test, ())
    assert items[0] == "3" and len(items) == len(found.items)  # items of the test alone come last
    assert [items[number - 1] for number in known] == list(found.items)


def test_of_a_pair_told_twice_the_latest_counts(tmp_path: Path) -> None:
    rows = ["user,item,rating,timestamp", "1,10,5,200", "1,20,3,100", "1,10,2,100", "2,10,1,7"]
    (tmp_path / "ratings.csv").write_text("\n".join(rows))
    found = read_interactions(tmp_path / "ratings.csv")
    assert found.rating.tolist() == [5, 3, 1] and found.time.tolist() == [200, 100, 7]


def test_a_division_of_recbole_is_kept(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\n"
    for part, rows in (("test", "1\t30\n"), ("train", "1\t10\n2\t10\n"), ("valid", "1\t20\n")):
        (tmp_path / f"small.{part}.inter").write_text(head + rows)
    found = read_interactions(tmp_path)
    assert [found.items[item] for item in found.item] == ["10", "10", "20", "30"]
    assert found.test.tolist() == [False, False, False, True]


def test_links_between_names_need_no_header(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,rating\nann,tea,4\nbob,tea,5\ncy,tea,1e300\ncy,tea,1\n")
    (tmp_path / "friends.csv").write_text("ann,bob\nbob,cy\n")
    found = read_interactions(tmp_path)
    assert found.links.tolist() == [[0, 1], [1, 2]]
    assert any("beyond" in entry.reason for entry in found.entries) and np.abs(found.rating).max() == 5


def test_one_event_stays_where_it_is() -> None:
    found = Interactions("x", ("a", "b"), ("x", "y"), np.array([0, 1, 1]), np.array([0, 0, 1]),
                         np.full(3, np.nan), np.full(3, np.nan), np.zeros(3, bool))  # fmt: skip
    assert held_back(found, Division("last", 0.2, 0, 0)).tolist() == [False, False, True]
    assert held_back(found, Division("within-user", 0.5, 0, 0))[0] == False  # noqa: E712 - a numpy bool


def test_a_given_test_is_kept(tmp_path: Path) -> None:
    (tmp_path / "u1.base").write_text("".join(f"{u}\t{i}\t3\t88125094{i}\n" for u in range(4) for i in range(5)))
    (tmp_path / "u1.test").write_text("".join(f"{u}\t9\t4\t881250999\n" for u in range(4)))
    assert find(tmp_path / "u1.base").test == tmp_path / "u1.test"
    found = read_interactions(tmp_path / "u1.base")
    assert found.test.sum() == 4 and set(found.item[found.test].tolist()) == {found.items.index("9")}
