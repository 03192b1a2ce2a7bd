"""Finding things in pictures: from files to a report."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import matinee
from matinee.cli import main
from matinee.core.errors import SettingsError
from matinee.core.model import Model
from matinee.core.moment import Moment
from matinee.core.pieces import Gallery
from matinee.core.progress import Progress
from matinee.media.boxes_toy import pictures_with_boxes
from matinee.media.thumbnails import knows_up, thumbnails
from matinee.tasks.object_detection import ObjectDetection

NAMES = ("square", "disc")


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """The toy pictures as PASCAL VOC files, larger than they are learned."""
    image, boxes, labels = pictures_with_boxes(60, 1)
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "shapes" / folder).mkdir(parents=True)
    for number, (pixels, mine, kinds) in enumerate(zip(image, boxes, labels, strict=True)):
        picture = Image.fromarray(pixels[..., 0]).resize((96, 96))
        picture.save(tmp_path / "shapes" / "JPEGImages" / f"{number}.png")
        objects = "".join(
            f"<object><name>{NAMES[kind - 1]}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
            f"<ymax>{d}</ymax></bndbox></object>"
            for kind, (a, b, c, d) in zip(kinds, 2 * mine, strict=True)
        )
        text = f"<annotation>{objects}</annotation>"
        (tmp_path / "shapes" / "Annotations" / f"{number}.xml").write_text(text)
    return tmp_path / "shapes"


def test_from_files_to_answers_in_the_pictures_own_pixels(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--picture-size", "64", "--size", "s", "--epochs", "12", "--batch-size", "8", "--quiet", "--json"]
    assert main(["train", str(shapes), "--out", "run", *given]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["test"]["ap_50"] > 0.5
    page = Path("run/report.html").read_text("utf-8")
    assert "Pictures by lot" in page and "AP at .5" in page
    asked = [str(shapes / "JPEGImages" / "0.png"), "nothing.png", "--quiet", "--json", "--threshold", "0.45"]
    assert main(["predict", "run", *asked, "--out", "drawn"]) == 1
    with Image.open("drawn/1.jpg") as drawn:
        assert drawn.size == (96, 96) and not Path("drawn/2.jpg").exists()
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert "error" in answers[1] and answers[0]["found"] == len(answers[0]["boxes"])
    _, boxes, labels = pictures_with_boxes(60, 1)
    hits = 0
    for row in answers[0]["boxes"]:
        far = np.abs(2 * boxes[0] - np.array(row["box"])).max(1)
        hits += far.min() < 12 and NAMES[labels[0][far.argmin()] - 1] == row["label"]
    assert hits >= 1 and 0.45 <= answers[0]["boxes"][0]["probability"] <= 1


def test_true_boxes_stand_beside_the_found_ones() -> None:
    data = ObjectDetection(threshold=0.3).toy()
    batch = data.task.collate(data.train.gather(np.arange(2)))
    true = batch.targets["boxes"]
    outputs = torch.full((2, 2, 6), -9.0)
    outputs[:, :, :4] = torch.cat((true[:, :1], true[:, :1] + 30), 1)  # the first is right, the other nowhere
    outputs[torch.arange(2), 0, 3 + batch.targets["label"][:, 0]] = 4.0
    outputs[:, 1, 4] = 2.0
    pieces = data.task.show_scored(outputs, batch)
    assert len(pieces) == 2 and all(isinstance(piece, Gallery) for piece in pieces)
    plain = data.task.show(batch.inputs, outputs)
    assert not np.array_equal(pieces[0].pictures[0].pixels, plain[0].pictures[0].pixels)  # type: ignore[attr-defined]


def test_words_that_the_font_cannot_write_are_spelled(tmp_path: Path) -> None:
    Image.new("L", (50, 40), "white").save(tmp_path / "a.png")
    boxes = [{"label": "\u8f66", "probability": 0.7, "box": [3.0, 3, 30, 30]}]
    raw = ObjectDetection(classes=("\u8f66",), counts=(1,)).files({"file": str(tmp_path / "a.png"), "boxes": boxes})
    drawn = np.asarray(Image.open(io.BytesIO(raw[".jpg"])))
    assert drawn.shape == (40, 50, 3) and (drawn < 200).any()


def test_pictures_of_any_shape_are_laid_whole(quiet: Progress) -> None:
    task = ObjectDetection(classes=("a",), counts=(1,), pictures=1, height=64, width=96, channels=3)
    wide, high = np.full((50, 200, 3), 255, np.uint8), np.full((300, 30), 255, np.uint8)
    inputs, errors = task.encode_each([wide, "missing.jpg", high])
    assert inputs.shape == (2, 4, 64, 96) and list(errors) == [1]
    assert inputs[0, -1].max() == pytest.approx(200 / 96) and (inputs[0, -1] > 0).sum() == 96 * 24
    assert inputs[1, -1].max() == pytest.approx(300 / 64) and (inputs[1, -1] > 0).any(0).sum() == 6
    assert (inputs[:, 0][inputs[:, -1] > 0] == 1).all() and (inputs[:, 0][inputs[:, -1] == 0] < 0.5).all()


def test_a_turned_photograph_is_found_upright(tmp_path: Path) -> None:
    task = ObjectDetection(classes=("a",), counts=(1,), pictures=1, height=64, width=64, channels=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "white").save(tmp_path / "turned.jpg", exif=exif)
    inputs = task.encode([str(tmp_path / "turned.jpg")])
    assert (inputs[0, -1] > 0).any(0).sum() == 32 and (inputs[0, -1] > 0).any(1).sum() == 64


def test_the_recipe_for_photographs_moves_boxes_along() -> None:
    data = ObjectDetection().toy()
    wanted = replace(data.task, mosaic=0.5, zoom=0.3, shift=0.1, colour=0.2, mirror="both")
    batch = wanted.collate(data.train.gather(np.arange(16)))
    varied = wanted.augment(batch, Moment(2))
    assert varied.inputs.shape == batch.inputs.shape and not torch.equal(varied.inputs, batch.inputs)
    assert varied.targets["boxes"].shape[:2] == varied.targets["label"].shape
    large = replace(data.task, height=320, width=320)
    chosen = large.choose(replace(data, task=large), None)
    assert (chosen.mosaic, chosen.zoom, chosen.network) == (0.0, 0.4, "pyramid")


def test_which_side_is_up_is_told_from_the_pictures() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (120, 16, 16, 1)).astype(np.uint8)
    sky = noise // 2
    sky[:, :8] += 100
    assert knows_up(sky, np.arange(120)) and not knows_up(noise, np.arange(120))
    assert knows_up(noise, np.arange(5))  # too few to tell
    laid = np.full((120, 20, 16, 1), 114, np.uint8)
    laid[:, :16] = noise  # the paper below tells which side is up, but not of what is seen
    assert knows_up(laid, np.arange(120))
    within = np.full((120, 2), 16)
    assert not knows_up(laid, np.arange(120), within)
    assert np.allclose(thumbnails(laid, np.arange(9), within), thumbnails(noise, np.arange(9)), atol=1e-3)


def test_several_networks_answer_as_one() -> None:
    data = ObjectDetection().toy()
    task = data.task.choose(data, None)
    inputs = task.collate(data.train.gather(np.arange(3))).inputs
    outputs = [task.infer(task.build().eval(), inputs) for _ in range(2)]
    assert len(task.decode(task.merge(outputs))) == 3


def test_a_class_alone_is_enough(quiet: Progress) -> None:
    data = ObjectDetection(classes=("thing",)).toy()
    labels = data.train.ragged("label")
    one = replace(labels, values=np.ones_like(labels.values))
    task = replace(data.task, classes=("thing",), counts=(300,))
    parts = {name: replace(part, columns={**part.columns, "label": one}) for name, part in data.splits().items()}
    findings = matinee.check(replace(data, task=task, **parts))
    assert not findings.errors
    model = task.trivial(parts["train"])
    assert (
        isinstance(model, Model)
        and model.network(task.collate(parts["train"].gather(np.arange(2))).inputs).shape[2] == 5
    )


@pytest.mark.parametrize(
    "fields", [{"height": 9999}, {"classes": ("a", "b"), "counts": (1,)}, {"pictures": -1}]
)  # fmt: skip
def test_facts_that_cannot_be_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        ObjectDetection(**fields)  # type: ignore[arg-type]


@pytest.mark.real
def test_blood_cells_are_read_with_their_published_splits(real: Path, quiet: Progress) -> None:
    data = ObjectDetection(picture_size=320).read(str(real / "bccd"), quiet)
    assert [len(part) for part in data.splits().values()] == [205, 87, 72]
    assert data.task.classes == ("Platelets", "RBC", "WBC") and data.train.array("image").shape[1:] == (256, 320, 3)


@pytest.mark.real
def test_eighty_classes_are_read_from_a_yolo_folder(real: Path, quiet: Progress) -> None:
    data = ObjectDetection(picture_size=320).read(str(real / "coco128"), quiet)
    assert len(data.task.classes) == 71 and data.task.classes[0] == "airplane"
