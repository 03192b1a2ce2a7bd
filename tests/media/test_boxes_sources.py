"""Boxes as people have them: five ways to write them down, and what is wrong with some."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matinee.core.errors import DataError
from matinee.core.progress import Progress
from matinee.core.reading import recognised
from matinee.core.task import Data
from matinee.media.boxes import Box, Marked, usable
from matinee.media.boxes_files import split_of
from matinee.media.boxes_formats import FormatError, coco, kitti, line_kind, voc, yaml_names, yolo
from matinee.media.boxes_listing import fits, listed
from matinee.media.boxes_tools import labelme
from matinee.tasks.object_detection import ObjectDetection

WIDTH, HEIGHT = 120, 90
BOXES = {"a": [("car", 10, 20, 50, 60)], "b": [("car", 5, 5, 40, 30), ("tree", 60, 10, 110, 80)], "c": []}


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((WIDTH, HEIGHT)).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def annotation(boxes: list[tuple[str, int, int, int, int]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in boxes
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>"


def make(root: Path, kind: str) -> str:
    """The same three pictures and boxes in each of the ways."""
    folder = {"VOC": "JPEGImages", "YOLO": "images/train2017", "KITTI": "image_2"}.get(kind, "photos")
    for number, name in enumerate(BOXES):
        picture(root / folder / f"{name}.jpg", number)
    if kind == "VOC":
        for name, boxes in BOXES.items():
            write(root / "Annotations" / f"{name}.xml", annotation(boxes))
    if kind == "YOLO":
        write(root / "data.yaml", "path: .  # here\ntrain: images/train2017\nval: images/train2017\nnc: 2\n"
                                  "names:\n  0: car\n  1: 'tree'\n")  # fmt: skip
        for name, boxes in BOXES.items():
            lines = [
                f"{['car', 'tree'].index(label)} {(a + c) / 2 / WIDTH} {(b + d) / 2 / HEIGHT} "
                f"{(c - a) / WIDTH} {(d - b) / HEIGHT}"
                for label, a, b, c, d in boxes
            ]
            write(root / "labels" / "train2017" / f"{name}.txt", "\n".join(lines))
    if kind == "KITTI":
        for name, boxes in BOXES.items():
            lines = [f"{label} 0.00 0 -1.5 {a}.0 {b}.0 {c}.0 {d}.0 1 1 1 1 1 1 1" for label, a, b, c, d in boxes]
            write(root / "label_2" / f"{name}.txt", "\n".join(lines))
    if kind == "COCO":
        images = [
            {"id": n, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT} for n, name in enumerate(BOXES)
        ]
        flat = [(n, box) for n, boxes in enumerate(BOXES.values()) for box in boxes]
        told = [
            {"id": i, "image_id": n, "category_id": {"car": 3, "tree": 7}[label], "bbox": [a, b, c - a, d - b]}
            for i, (n, (label, a, b, c, d)) in enumerate(flat)
        ]
        names = [{"id": 3, "name": "car"}, {"id": 7, "name": "tree"}]
        write(root / "boxes.json", json.dumps({"images": images, "annotations": told, "categories": names}))
    if kind == "CSV":
        rows = [f"photos/{name}.jpg,{label},{a},{b},{c},{d}" for name, boxes in BOXES.items()
                for label, a, b, c, d in boxes]  # fmt: skip
        write(root / "boxes.csv", "\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows, "photos/c.jpg,,,,,"]))
    return str(root)


def read(source: str, **settings: object) -> Data:
    return ObjectDetection(**settings).read(source, Progress(quiet=True))  # type: ignore[arg-type]


def reasons(data: Data) -> str:
    return "\n".join(f"{entry.file} {entry.kind} {entry.reason}" for entry in data.origin.entries)


@pytest.mark.parametrize("kind", ["VOC", "YOLO", "KITTI", "COCO", "CSV"])
def test_the_same_boxes_are_read_however_they_are_written(kind: str, tmp_path: Path) -> None:
    source = make(tmp_path / "set", kind)
    assert kind in str(fits(source)) and recognised(source) is ObjectDetection
    data = read(source, test_share=0.0, valid_share=0.0)
    assert isinstance(data.task, ObjectDetection)
    assert data.task.classes == ("car", "tree") and data.task.counts == (2, 1) and data.task.pictures == 3
    boxes, labels = data.train.ragged("boxes"), data.train.ragged("label")
    for row in data.train.rows.tolist():
        stem = Path(data.origin.names[row]).stem
        assert [data.task.classes[k - 1] for k in labels[row]] == [label for label, *_ in BOXES[stem]]
        assert boxes[row] == pytest.approx(np.array([sides for _, *sides in BOXES[stem]]).reshape(-1, 4), abs=1e-3)
    assert (data.train.column("size") == (WIDTH, HEIGHT)).all()
    inputs = data.task.collate(data.train.gather(np.arange(3))).inputs
    assert inputs.shape[1] == 4 and inputs[:, -1].max() == pytest.approx(WIDTH / data.task.width, rel=0.02)
    assert not [entry for entry in data.origin.entries if entry.kind not in ("ignored",)], reasons(data)
    again = read(source, test_share=0.0, valid_share=0.0)
    assert again.digest() == data.digest()


def test_boxes_that_cannot_be_right_are_told(tmp_path: Path) -> None:
    source = make(tmp_path / "set", "VOC")
    wrong = [
        ("car", 300, 10, 340, 40), ("car", 50, 10, 20, 40), ("car", 30, 30, 30, 60), ("car", 90, 60, 140, 85),
        ("car", 10, 20, 50, 60), ("car", 10, 20, 50, 60),
    ]  # fmt: skip
    write(tmp_path / "set" / "Annotations" / "a.xml", annotation(wrong))
    data = read(source, test_share=0.0, valid_share=0.0)
    told = reasons(data)
    for words in (
        "outside of the picture",
        "ends before it begins",
        "is empty",
        "cut at the edge",
        "same as a box before",
    ):
        assert words in told, words
    row = next(r for r in data.train.rows.tolist() if data.origin.names[r].endswith("a.jpg"))
    assert data.train.ragged("boxes")[row].tolist() == [[90, 60, WIDTH, 85], [10, 20, 50, 60]]


def test_what_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    source = make(tmp_path / "set", "VOC")
    root = tmp_path / "set"
    picture(root / "JPEGImages" / "lone.jpg", 7)
    write(root / "Annotations" / "gone.xml", annotation([("car", 1, 1, 20, 20)]))
    write(root / "Annotations" / "broken.xml", "<annotation><object>")
    picture(root / "JPEGImages" / "broken.jpg", 8)
    write(root / "Annotations" / "odd.xml", annotation([("car", 1, 1, 20, 20)], (500, 100)))
    picture(root / "JPEGImages" / "odd.jpg", 9)
    write(root / "Annotations" / "cut.xml", annotation([("car", 1, 1, 20, 20)]))
    (root / "JPEGImages" / "cut.jpg").write_bytes((root / "JPEGImages" / "a.jpg").read_bytes()[:300])
    told = reasons(read(source, test_share=0.0, valid_share=0.0))
    assert "lone.jpg no-label" in told and "gone.xml missing" in told and "broken.xml unreadable" in told
    assert "odd.jpg no-label its boxes are told for 500 x 100 pixels" in told and "cut.jpg" in told


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    declared = '<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">'
    bomb = f'<?xml version="1.0"?><!DOCTYPE a [{declared}]><annotation>&y;</annotation>'
    for raw in (bomb.encode(), bomb.encode("utf-16")):
        with pytest.raises(FormatError, match="entities"):
            voc(raw)
    with pytest.raises(FormatError, match="nested"):
        voc(b"<a>" * 200)
    with pytest.raises(FormatError, match="no XML"):
        voc(b"\x00\xff")
    source = make(tmp_path / "set", "VOC")
    write(tmp_path / "set" / "Annotations" / "a.xml", bomb)
    assert "entities" in reasons(read(source, test_share=0.0, valid_share=0.0))


def test_lines_of_labels() -> None:
    lines = "0 .5 .5 .2 .4\n\n1 .1 .1 .3 .1 .3 .5\nx 1 2\n0 100 100 20 20\n0 nan .5 .1 .1"
    marked = yolo(lines, {"0": "car", "1": "1"})
    assert [box.label for box in marked.boxes] == ["car", "1", "car"] and len(marked.notes) == 2
    assert marked.boxes[0].sides == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert marked.boxes[1].sides == pytest.approx((0.1, 0.1, 0.3, 0.5))  # a polygon
    kept, notes, refused = usable(marked, (100, 50))
    assert len(kept) == 2 and "no numbers" in notes[-1] and not refused
    assert kept[0].sides == pytest.approx((40, 15, 60, 35))
    regions = kitti("DontCare -1 -1 -10 1 2 30 40 -1 -1 -1 -1 -1 -1 -1\nCar 0 0 0 1 2 3")
    assert regions.boxes[0].region and not regions.boxes[0].label and len(regions.notes) == 1
    assert [line_kind(text) for text in ("0 .1 .2 .3 .4", "Car " + "1 " * 14, "a b", "", "1 200 3 4 5")] == [
        "yolo", "kitti", "", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "names:\n  0: car\n  1: tree\ntrain: a\n", "names: [car, 'tree']\ntrain: a",
        'names: {0: car, 1: "tree"}\ntrain: a',
        "train: a\nnames:\n- car\n- tree # old\nnc: 2", "train: a\nnames:\n  - car\n  - tree\n",
        "train: a\nnames: [\n  'car',\n  'tree'\n]\n",
        '"train": a # here\n"names": # below\n  "0": car # old\n  1 : "tree"\nfar:' + " " * 200_000 + "-",
    ],
)  # fmt: skip
def test_names_of_classes_in_a_data_file(text: str) -> None:
    assert yaml_names(text) == ({"0": "car", "1": "tree"}, [("train", "a")])


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"images": 3, "annotations": [], "categories": []}', b"[" * 100_000, b'{"images": ['],
)
def test_json_that_tells_no_boxes(raw: bytes) -> None:
    with pytest.raises(FormatError):
        coco(raw)


def test_strange_values_in_json_are_passed_over() -> None:
    told, notes = coco(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": "x"}, {"id": [2]}, 5],
                "annotations": [
                    {"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}, {"image_id": 1, "bbox": "no"},
                    {"image_id": {}, "bbox": [1, 2, 3, 4]},
                    {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 10**400]},
                    {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
                ],
                "categories": [{"id": 1, "name": "cat"}, None],
            }
        ).encode()
    )  # fmt: skip
    assert len(told) == 1 and told[0].boxes == [Box("cat", (1, 2, 4, 6), True, "annotation 5")]
    assert len(told[0].notes) == 3
    assert notes == [
        "2 images have no id of their own or no file_name",
        "1 annotations are of images that it does not list",
    ]


def test_boxes_for_another_size_are_scaled_where_the_proportions_agree() -> None:
    marked = Marked("a", boxes=[Box("cat", (10, 10, 30, 50))], size=(200, 100))
    assert usable(marked, (100, 50))[0][0].sides == (5, 5, 15, 25)
    assert "200 x 100" in usable(marked, (50, 100))[2]


def test_splits_are_those_of_folders_and_lists(tmp_path: Path) -> None:
    assert [split_of(n) for n in ("images/train2017/1.jpg", "a/valid/1.jpg", "boxes_test.json", "photos/1.jpg")] == [
        0, 1, 2, -1,
    ]  # fmt: skip
    source = make(tmp_path / "set", "VOC")
    for name, stem in (("train", "a"), ("val", "b"), ("test", "c"), ("trainval", "a\nb")):
        write(tmp_path / "set" / "ImageSets" / "Main" / f"{name}.txt", stem + "\n")
    data = read(source)
    assert [len(part) for part in data.splits().values()] == [1, 1, 1]
    assert data.origin.given == {"train", "valid", "test"}


def test_changes_are_told(tmp_path: Path) -> None:
    source = make(tmp_path / "set", "VOC")
    data = read(source, test_share=0.0, valid_share=0.0)
    assert data.task.changes(source, data.origin.manifest) == {"changed": [], "missing": [], "new": []}
    write(tmp_path / "set" / "Annotations" / "a.xml", annotation([("car", 11, 20, 50, 60)]))
    picture(tmp_path / "set" / "JPEGImages" / "d.jpg", 11)
    write(tmp_path / "set" / "Annotations" / "d.xml", annotation([("car", 11, 20, 50, 60)]))
    (tmp_path / "set" / "JPEGImages" / "b.jpg").unlink()
    told = data.task.changes(source, data.origin.manifest)
    assert told == {"changed": ["JPEGImages/a.jpg"], "missing": ["JPEGImages/b.jpg"], "new": ["JPEGImages/d.jpg"]}


def test_a_trained_task_reads_in_its_own_terms(tmp_path: Path) -> None:
    source = make(tmp_path / "set", "CSV")
    known = ObjectDetection(classes=("tree", "house"), counts=(5, 5), pictures=9, height=64, width=96, channels=1)
    data = known.read(source, Progress(quiet=True))
    assert data.task.names() == () and data.train.array("image").shape[1:] == (64, 96, 1)
    assert [e for e in data.origin.entries if e.kind == "unknown-label" and "car" in e.file]
    every = np.concatenate([part.rows for part in data.splits().values()])
    assert {int(k) for row in every for k in data.train.ragged("label")[row]} == {1}


def test_one_file_beside_its_pictures_is_a_source(tmp_path: Path) -> None:
    make(tmp_path / "set", "COCO")
    data = read(str(tmp_path / "set" / "boxes.json"), test_share=0.0, valid_share=0.0)
    assert len(data.train) == 3 and recognised(str(tmp_path / "set" / "boxes.json")) is ObjectDetection


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    for source, words in ((tmp_path / "none", "no such file"), (tmp_path, "tells no boxes")):
        with pytest.raises(DataError, match=words):
            listed(str(source))
    make(tmp_path / "set", "VOC")
    for path in (tmp_path / "set" / "JPEGImages").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of 3 pictures"):
        read(str(tmp_path / "set"))


def test_a_dot_in_a_name_is_part_of_it(tmp_path: Path) -> None:
    for split, name in (("train", "cell_jpg.rf.1a2b"), ("valid", "cell_jpg.rf.1a2b"), ("train", "cell_jpg.rf.3c")):
        picture(tmp_path / "set" / split / "images" / f"{name}.jpg", len(split) + len(name))
        write(tmp_path / "set" / split / "labels" / f"{name}.txt", "0 .5 .5 .2 .2")
    found = listed(str(tmp_path / "set"))
    told = {marked.told: (marked.name, marked.split) for marked in found.marked}
    assert told == {
        f"{split}/labels/cell_jpg.rf.{end}.txt": (f"{split}/images/cell_jpg.rf.{end}.jpg", number)
        for split, end, number in (("train", "1a2b", 0), ("valid", "1a2b", 1), ("train", "3c", 0))
    }


@pytest.mark.parametrize("kind", ["VOC", "YOLO", "KITTI", "COCO", "CSV"])
@pytest.mark.parametrize("wrapped", ["", "set/"])
def test_a_zip_is_read_as_its_folder(kind: str, wrapped: str, tmp_path: Path) -> None:
    plain = read(make(tmp_path / "set", kind), test_share=0.0, valid_share=0.0)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*")):
            if path.is_file():
                archive.write(path, wrapped + path.relative_to(tmp_path / "set").as_posix())
        archive.writestr("../../out.xml", "<annotation></annotation>")
        archive.writestr("__MACOSX/._a.jpg", "x")
    assert fits(str(tmp_path / "set.zip")) == f"a zip of {kind} boxes"
    data = read(str(tmp_path / "set.zip"), test_share=0.0, valid_share=0.0)
    assert data.task.classes == plain.task.classes and data.task.counts == plain.task.counts
    assert [name.removeprefix(wrapped) for name in data.origin.names] == list(plain.origin.names)
    assert "out.xml outside" in reasons(data)
    assert not any(data.task.changes(str(tmp_path / "set.zip"), data.origin.manifest).values())


def test_a_zip_without_boxes_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing here")
    for name in ("broken.zip", "none.zip"):
        assert fits(str(tmp_path / name)) is None
        with pytest.raises(DataError):
            listed(str(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        "photos/a.jpg,10,20,50,60,car\nphotos/b.jpg,5,5,40,30,car\nphotos/c.jpg,,,,,\n",
        "photos/c.jpg,,,,,\r\nphotos/a.jpg,10,20,50,60,car\r\nphotos/b.jpg,5,5,40,30,car\r\n",
        "\ufeffphotos/c.jpg;;;;;\nphotos/a.jpg;car;10;20;50;60\nphotos/b.jpg;car;5;5;40;30\n",
    ],
)
def test_a_table_needs_no_header(text: str, tmp_path: Path) -> None:
    for number, name in enumerate(BOXES):
        picture(tmp_path / "photos" / f"{name}.jpg", number)
    write(tmp_path / "boxes.csv", text)
    listing = listed(str(tmp_path))
    assert fits(str(tmp_path / "boxes.csv")) == "CSV boxes"
    assert [[box.sides for box in marked.boxes] for marked in listing.marked] == [
        [(10, 20, 50, 60)], [(5, 5, 40, 30)], []
    ]  # fmt: skip


def test_rows_that_end_early_or_name_nothing_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 1)
    write(
        tmp_path / "boxes.csv", "file,label,x1,y1,x2,y2,IsGroupOf\na.jpg,car,1,2,30,40,1\na.jpg,car,1\n,car,1,2,3,4,0\n"
    )
    listing = listed(str(tmp_path / "boxes.csv"))
    assert listing.marked[0].boxes[0].region and len(listing.marked[0].notes) == 1
    assert any("names no picture" in entry.reason for entry in listing.entries)


def test_labels_may_lie_beside_their_pictures_and_a_data_file_stands_for_its_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("one/a", "one/b", "two/a")):
        picture(tmp_path / f"{name}.JPG", number)
        write(tmp_path / f"{name}.txt", "0 .5 .5 .4 .4\n")
    write(tmp_path / "classes.txt", "car\n")
    write(tmp_path / "data.yaml", "train:\n  - one\nval: lists/val.txt\nnames: [car]\n")
    write(tmp_path / "lists" / "val.txt", "./one/b.JPG\n../two/a.JPG\n")
    write(tmp_path / "notes.xml", "<annotation")  # one stray file does not decide
    assert fits(str(tmp_path)) and fits(str(tmp_path / "data.yaml")) == "YOLO boxes"
    for source in (tmp_path, tmp_path / "data.yaml"):
        listing = listed(str(source))
        assert [(m.name, m.split, len(m.boxes)) for m in listing.marked] == [
            ("one/a.JPG", 0, 1), ("one/b.JPG", 0, 1), ("two/a.JPG", 1, 1)
        ]  # fmt: skip


def test_a_name_that_several_pictures_have_is_not_guessed(tmp_path: Path) -> None:
    for folder in ("train", "val", "left", "right"):
        picture(tmp_path / folder / "1.jpg", 1)
    rows = {"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1, "name": "car"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}]}  # fmt: skip
    write(tmp_path / "annotations" / "instances_val2017.json", json.dumps(rows))
    write(tmp_path / "annotations" / "more.json", json.dumps(rows))
    listing = listed(str(tmp_path))
    assert [(marked.name, marked.split) for marked in listing.marked] == [("val/1.jpg", 1)]
    assert any("several pictures are called 1.jpg" in entry.reason for entry in listing.entries)


def test_what_labels_of_other_programs_say(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / "images" / f"test_{seed}.jpg", seed)
        write(tmp_path / "labels" / f"test_{seed}.txt", "1 .5 .5 .2 .4 .1 .1 .2 .2\n")
        write(tmp_path / "__MACOSX" / "labels" / f"._test_{seed}.txt", "1 .5 .5 .2 .4\n")
    write(tmp_path / "data.yaml", "kpt_shape: [2, 2]\nnames: [cat, dog]\n")
    found = listed(str(tmp_path))
    assert [marked.split for marked in found.marked] == [-1, -1, -1]  # their names say nothing of splits
    assert found.marked[0].boxes[0].sides == pytest.approx((0.4, 0.3, 0.6, 0.7))  # points are not corners
    assert {entry.reason for entry in found.entries} == {"a hidden file"}

    write(tmp_path / "labels" / "test_2.txt", "2 .5 .5 .2 .4\n")
    with pytest.raises(DataError, match="classes from 1 to 2, and the list of their names counts from 0"):
        listed(str(tmp_path))
    write(tmp_path / "labels" / "test_1.txt", "0 .5 .5 .2 .4\n")
    assert "class 2, which has no name" in listed(str(tmp_path)).marked[2].notes[0]


def test_a_table_of_centres_in_utf_16(tmp_path: Path) -> None:
    picture(tmp_path / "ü 1.jpg", 1)
    text = "image\tx_center\ty_center\twidth\theight\tlabel\nü 1.jpg\t20\t10\t6\t8\tcat\n"
    (tmp_path / "boxes.tsv").write_text(text, encoding="utf-16")
    assert fits(str(tmp_path)) == "CSV boxes"
    assert listed(str(tmp_path)).marked[0].boxes[0].sides == (17, 6, 23, 14)


def test_what_cvat_and_labelme_write(tmp_path: Path) -> None:
    picture(tmp_path / "cvat" / "images" / "ü 1.jpg", 1)
    shapes = (
        '<box label="cat" xtl="4" ytl="5" xbr="14" ybr="9"/><box label="cat" xtl="4" ytl="5" xbr="14" ybr="9" '
        'rotation="90"/><polygon label="dog" points="1,2;9,2;9,12"/><ellipse label="dog" cx="9" cy="9" rx="3" ry="2"/>'
        '<box label="cat" xtl="four"/><polygon label="dog" points="1;2"/><cuboid label="cat"/><tag label="day"/>'
    )
    text = (
        f'<annotations><image name="ü 1.jpg" width="{WIDTH}" height="{HEIGHT}">{shapes}</image><track/></annotations>'
    )
    write(tmp_path / "cvat" / "annotations.xml", text)
    found = listed(str(tmp_path / "cvat"))
    assert [(box.label, *map(round, box.sides)) for box in found.marked[0].boxes] == [
        ("cat", 4, 5, 14, 9), ("cat", 7, 2, 11, 12), ("dog", 1, 2, 9, 12), ("dog", 6, 7, 12, 11),
    ]  # fmt: skip
    assert len(found.marked[0].notes) == 3 and "1 tracks in a film" in found.entries[0].reason

    picture(tmp_path / "me" / "1.jpg", 1)
    told = [{"label": "cat", "points": points, "shape_type": "rectangle"} for points in ([[9, 8], [1, 2]], [["x", 1]])]
    told += [{"label": "dog", "points": [[1, 2], [9, 2], [9, 12]]}, {"label": "dog", "shape_type": "circle"}, 7]
    told.append({"label": "dog", "shape_type": "circle", "points": [[9, 9], [6, 13]]})
    said = {"shapes": told, "imagePath": "..\\elsewhere\\old.jpg", "imageWidth": None, "imageData": "A" * 200_000}
    write(tmp_path / "me" / "1.json", json.dumps(said))
    assert fits(str(tmp_path / "me")) == "LabelMe boxes"
    marked = listed(str(tmp_path / "me")).marked[0]
    assert [(box.label, *box.sides) for box in marked.boxes] == [
        ("cat", 1, 2, 9, 8), ("dog", 1, 2, 9, 12), ("dog", 4, 4, 14, 14),
    ]  # fmt: skip
    assert len(marked.notes) == 3
    with pytest.raises(FormatError, match="no list of shapes"):
        labelme(b"[]")
