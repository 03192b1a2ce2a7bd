"""Tables to learn from: targets, roles of columns, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from matinee.core.errors import DataError
from matinee.media.table_recognition import fits
from matinee.media.table_source import Table, TableRequest, contents, read_examples, read_source


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Sixty patients."""
    lines = ["patient,age,sex,visit,score,sick"]
    lines += [
        f"p{i // 3},{30 + i % 11},{'fm'[i % 2]},2024-{1 + i % 12:02d}-03,{i * 1.5},{'yes' if i % 5 == 0 else 'no'}"
        for i in range(60)
    ]
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(lines))
    return path


def read(path: Path, **given: object) -> Table:
    return read_examples(str(path), TableRequest(**given))  # type: ignore[arg-type]


def kinds(table: Table) -> set[str]:
    return {entry.kind for entry in table.entries}


def test_the_last_column_is_the_target_and_the_rarer_class_the_event(csv: Path) -> None:
    table = read(csv)
    assert table.terms.target == "sick" and table.terms.classes == ("no", "yes")
    assert "guessed" in table.facts["target"] and "decided" in table.facts["objective"]
    assert table.targets.sum() == 12 and len(table.values) == 60


def test_a_number_and_a_group(csv: Path) -> None:
    table = read(csv, target="score", group="patient")
    assert table.terms.classes == () and table.targets.dtype == np.float32
    assert len(set(table.groups)) == 20 and "patient" not in table.terms.schema.names
    assert "guessed" not in table.facts["target"]


def test_usual_names_go_before_the_last_column(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_text("price,rooms,area\n" + "\n".join(f"{100 + 7 * i},{i % 4},{i * i % 50}" for i in range(30)))
    assert read(path).terms.target == "price"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "sik"}, "no column 'sik'; there are: patient, age"),
        ({"ignore": ("agge",)}, "--ignore: there is no column 'agge'; there are"),
        ({"categories": ("x",)}, "--categories: there is no column"),
        ({"group": "family"}, "no column 'family'"),
        ({"ignore": ("sick",), "target": "sick"}, "the column to predict"),
        ({"target": "patient", "objective": "number"}, "are no numbers"),
        ({"event": "maybe"}, "never 'maybe'; there are: no, yes"),
        ({"event": ">3"}, "compares numbers"),
        ({"target": "age", "event": ">99"}, "in no row"),
        ({"ignore": ("age", "sex", "visit", "score", "patient")}, "no column is left"),
    ],
)
def test_wrong_words_are_told_with_what_there_is(csv: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(csv, **given)


def test_events_by_rule_and_by_words(csv: Path) -> None:
    assert read(csv, target="age", event=">=35").terms.classes == ("not >=35", ">=35")
    assert read(csv, event="no").terms.classes == ("yes", "no")
    assert read(csv, target="age", event="30, 31").targets.sum() == 12


def test_bad_rows_are_in_the_ledger(csv: Path) -> None:
    with open(csv, "ab") as file:
        file.write(b"\np9,old,f,2024-01-01,3,no")  # text in a column of numbers
        file.write(b"\np9,30,f,2024-01-01,3,")  # no target
        file.write(b"\n\n,,,,,yes")  # empty
        file.write(b"\np9,30,f")  # too short
        file.write(b"\np9,30,\xff\xfe,2024-01-01,3,no\n")  # no UTF-8
    table = read(csv, ignore=("patient",))
    assert kinds(table) == {"ignored", "no-label", "empty", "row-length", "not-utf-8"}
    told = [entry for entry in table.entries if "old" in entry.reason]
    assert told[0].file == "patients.csv#62" and "taken as missing" in told[0].reason
    assert len(table.values) == 61 and np.isnan(table.values[-1, 0])


def test_constant_and_empty_columns_are_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,y\n" + "\n".join(f"{i % 9},same,?,{i % 2}" for i in range(40)))
    told = {entry.file: entry.reason for entry in read(path).entries}
    assert "constant" in told["column b"] and "missing" in told["column c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,a,y\n1,2,3\n2,3,4\n", "seems to name the columns, but several are called 'a'"),
        ("a,y\n1,?\n2,\n", "no row has a target"),
        ("a,y\n" + "\n".join(f"{i % 7},5.5" for i in range(20)), "nothing to learn"),
        ("a,y\n" + "\n".join(f"{i % 7},word{i}" for i in range(20)), "no classes to learn"),
        ("", "is empty"),
        ("y\n1\n2\n", "no column is left"),
    ],
)
def test_tables_that_cannot_be_learned_from(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read(path, **({"objective": "number"} if "5.5" in text else {}))


def test_a_model_reads_in_its_own_terms(csv: Path, tmp_path: Path) -> None:
    terms = read(csv, ignore=("patient",)).terms
    other = tmp_path / "new.csv"
    other.write_text("sex,age,score,visit,sick\nf,31,2,2024-01-01,yes\nx,,3,2024-01-02,perhaps\nm,33,4,2024-01-03,no\n")
    table = read_examples(str(other), TableRequest(), terms)
    assert table.targets.tolist() == [1, 0] and kinds(table) == {"unknown-label"}
    other.write_text("sex,age,visit,sick\nf,31,2024-01-01,yes\n")
    with pytest.raises(DataError, match="the column 'score' is missing"):
        read_examples(str(other), TableRequest(), terms)


def test_numbers_of_rows_without_a_name_are_no_input(tmp_path: Path) -> None:
    path = tmp_path / "pandas.csv"
    path.write_text(",a,y\n" + "\n".join(f"{i},{i % 9},{i % 2}" for i in range(40)))
    table = read(path)
    assert table.terms.schema.names == ("a",) and table.terms.target == "y"


def test_equal_rows_are_alike_but_not_where_they_must_be(csv: Path, tmp_path: Path) -> None:
    with open(csv, "a") as file:
        file.write("\np0,30,f,2024-01-03,0.0,no")
    table = read(csv)
    assert table.alike[0] == table.alike[-1] and len(set(table.alike.tolist())) == 60 and not table.terms.repeats
    few = tmp_path / "few.csv"
    few.write_text("class,sex,survived\n" + "\n".join(f"{i % 3},{'fm'[i % 2]},{i % 5 % 2}" for i in range(90)))
    table = read(few, target="survived")
    assert table.terms.repeats and "equal rows" in table.facts
    assert len(set(table.manifest.values())) == 90 == len(contents(read_source(str(few))[0], True))


def test_samples_come_with_scikit_learn() -> None:
    pytest.importorskip("sklearn")
    cancer = read_examples("breast-cancer", TableRequest())
    assert cancer.values.shape == (569, 30) and cancer.terms.classes == ("benign", "malignant")
    assert cancer.targets.sum() == 212
    diabetes = read_examples("diabetes", TableRequest())
    assert diabetes.values.shape == (442, 10) and diabetes.targets.mean() == pytest.approx(152.13, abs=0.01)
    assert fits("diabetes") == "the data set diabetes"


LETTERS = "ACGT" * 5


@pytest.mark.parametrize(
    ("header", "row", "fitting"),
    [
        ("a,b,y", "{i},{j},{k}", True),
        ("colour,size,buys", "red{k},s{j},{k}", True),
        ("file,label", "pictures/{i}.jpg,{k}", False),
        ("userId,movieId,rating", "{j},{i},{k}", False),
        ("text,label", "this is the sentence number {i} of many,{k}", False),
        ("sequence,label", LETTERS + "AC,{k}", False),
        ("word", "w{i}", False),
        ("1,22,3", "{i},{j}{i},{k}", False),
        ("title,label", "这是第{i}个中文新闻标题,{k}", False),
        ("userID,friendID", "{i},{j}", False),
    ],
)
def test_what_looks_like_a_table(tmp_path: Path, header: str, row: str, fitting: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + "\n".join(row.format(i=i * 7 % 40, j=i % 5, k=i % 2) for i in range(40)))
    assert (fits(str(path)) is not None) == fitting


def test_two_rows_are_no_table_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert fits(str(tmp_path / "t.csv")) is None and fits(str(tmp_path / "none.csv")) is None


cells = st.sampled_from(["", "1", "2.5", "yes", "no", "?", "a b", '"', "2024-01-01", "\x00", "é", "1e400", ",", "\n"])
lines = st.lists(cells, max_size=6).map(",".join)


@settings(max_examples=150)
@drawn(
    text=st.lists(lines, max_size=14).map("\n".join) | st.binary(max_size=120),
    objective=st.sampled_from(["auto", "number"]),
)
def test_any_file_is_read_or_refused_in_words(
    text: str | bytes, objective: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    fits(str(path))
    try:
        table = read(path, objective=objective)
    except DataError as error:
        assert str(error) and "\n" not in str(error)[:20]
        return
    assert len(table.values) == len(table.targets) == len(table.names) == len(table.groups) > 0
    assert not np.isinf(table.values).any() and set(table.names) <= set(table.manifest)


def test_spreadsheets_of_europe(tmp_path: Path) -> None:
    path = tmp_path / "häuser.csv"
    rows = [f"{i},{i % 9};{1 + i % 7}.{200 + i};1,{100 + i};31.{1 + i % 12 if i % 12 in (0, 2, 4, 6) else 1}.2024;"
            f'"Weg {i % 4};\nHof";{150 + i},5 €' for i in range(40)]  # fmt: skip
    text = "Fläche;Einwohner;Höhe;gebaut;Adresse;Preis\n" + "\n".join(rows)
    for lead, encoding in (("", "utf-8-sig"), ("sep=;\r\n", "utf-8-sig"), ("", "utf-16")):
        path.write_text(lead + text, encoding=encoding, newline="")
        table = read(path, target="Preis")
        assert table.terms.classes == () and table.targets[3] == 153.5
        assert table.values[3, :3].tolist() == [pytest.approx(3.3), 4203, pytest.approx(1.103)]
        assert table.terms.schema.kinds == ("number", "number", "number", "date", "category")
        assert "Fläche, Einwohner, Höhe, Preis" in table.facts["decimal commas"]
        assert table.names[0] == f"häuser.csv#{4 if lead else 3}"  # lines of the file, the last of those of a row
    known = table.terms
    path.write_text("\n".join(text.split("\n")[:3]) + "\n", encoding="utf-8")
    again = read_examples(str(path), TableRequest(), known)
    assert again.values[0].tolist() == table.values[0].tolist() and again.manifest.items() <= table.manifest.items()


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        (["1,234", "5,678"], "number", 1234),  # thousands, as long as nothing speaks against it
        (["1.234", "5.678"], "number", 1.234),
        (["1,5", "2.5"], "category", None),  # both marks: nobody knows
        (["1,5", "a"], "category", None),
        (["0,125", "0,250"], "number", 0.125),
        (["-1.234,5", "12,5 %"], "number", -1234.5),
        (["1,234.5", "1,000"], "number", 1234.5),
    ],
)
def test_what_a_comma_means(tmp_path: Path, column: list[str], kind: str, value: float | None) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("x\ty\n" + "\n".join(f"{column[i % 2]}\t{i % 3}" for i in range(30)))
    table = read(path)
    assert table.terms.schema.kinds == (kind,)
    assert value is None or table.values[0, 0] == pytest.approx(value)


def test_a_quotation_mark_that_is_never_closed_is_found(csv: Path) -> None:
    text = csv.read_text().replace("p1,33,", 'p1,"33,', 1)
    csv.write_text(text)
    with pytest.raises(DataError, match="line 5: a quotation mark is opened there and never closed"):
        read(csv)


def test_rows_without_an_event_can_be_read_for_a_model(csv: Path, tmp_path: Path) -> None:
    text = csv.read_text().split("\n")
    (tmp_path / "well.csv").write_text("\n".join([text[0], *(row for row in text if row.endswith(",no"))]))
    (tmp_path / "ill.csv").write_text("\n".join([text[0], *(row for row in text if row.endswith(",yes"))]))
    for given in (
        {"event": "yes"},
        {"event": "no"},
        {"target": "age", "event": ">=35"},
        {"target": "age", "event": "30,31"},
    ):
        request = TableRequest(**given)
        known = read_examples(str(csv), request).terms
        tables = [read_examples(str(tmp_path / name), request, known) for name in ("well.csv", "ill.csv")]
        assert [len(table.targets) for table in tables] == [48, 12] and not any(
            kinds(t) & {"unknown-label"} for t in tables
        )


def test_columns_that_may_be_identifiers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{842302 + 7919 * i * i},{i * 37 % 101},{(i * 7) % 60},{i % 9},{i % 2}" for i in range(60)]
    path.write_text("record,customerID,place,a,y\n" + "\n".join(rows))
    table = read(path)
    assert "record: every row has a whole number of its own" in table.facts["perhaps identifiers"]
    assert table.terms.schema.names == ("record", "a")  # places are 0 to 59 in some order: numbers of rows


def test_dates_that_may_mean_two_days_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "when,seen,y\n"
        + "\n".join(f"{1 + i % 12}/{1 + i % 9}/2024,{i % 12 + 1}/{i % 28 + 1}/2024,{i % 2}" for i in range(40))
    )
    assert "in when: no value says otherwise" in read(path).facts["dates"]


def test_ten_thousand_columns_are_read_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    wide = 10_000
    rows = [",".join(str((i * j) % 97) for i in range(wide)) + f",{j % 2}" for j in range(1, 13)]
    path.write_text("\n".join([",".join(f"g{i}" for i in range(wide)) + ",y", *rows]))
    began = time.process_time()
    table = read(path)
    assert table.values.shape[1] > 9_000 and time.process_time() - began < 10
    assert len(table.facts["left out"]) < 1000
