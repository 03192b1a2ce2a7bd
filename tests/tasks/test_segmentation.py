"""Segmentation, from folders of pictures and masks to answers."""

from __future__ import annotations

import base64
import io
import json
import runpy
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import matinee
from matinee.cli import main
from matinee.core.errors import DataError, SettingsError
from matinee.core.progress import Progress
from matinee.core.quick import Quick
from matinee.core.task import Batch
from matinee.media import mask_reading
from matinee.media.mask_classes import VOID
from matinee.media.mask_files import shrunk
from matinee.nets.mask_losses import PixelLoss, thinned
from matinee.nets.tiled import tiled
from matinee.tasks.segmentation import Segmentation

SIDE = (36, 48)  # height and width


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sky above a road, and a bright box on it; pixels and numbers."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(SIDE, np.uint8)
    mask[int(generator.integers(12, 22)) :] = 1
    top, left = generator.integers(20, 26), generator.integers(4, 34)
    mask[top : top + 8, left : left + 10] = 2
    colours = np.array([(120, 160, 230), (90, 90, 90), (200, 60, 50)])
    light = np.kron(generator.normal(0, 18, (6, 8, 1)), np.ones((6, 6, 1)))  # else all were near copies of each other
    pixels = colours[mask] + light + generator.normal(0, 10, (*SIDE, 3))
    return pixels.clip(0, 255).astype(np.uint8), mask


def write(root: Path, folder: str, masks: str, numbers: range) -> None:
    for number in numbers:
        pixels, mask = scene(number)
        for place, image in ((folder, Image.fromarray(pixels)), (masks, Image.fromarray(mask))):
            (root / place).mkdir(parents=True, exist_ok=True)
            image.save(root / place / f"{number:03}.png")


@pytest.fixture
def roads(tmp_path: Path) -> Path:
    """Split pictures with masks, and a list of classes."""
    root = tmp_path / "roads"
    for split, numbers in (("train", range(40)), ("val", range(40, 50)), ("test", range(50, 65))):
        write(root, split, f"{split}annot", numbers)
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    return root


def read(source: Path, quiet: Progress, **settings: object) -> matinee.Data:
    return matinee.read(source, progress=quiet, **settings)


def test_a_folder_is_read_in_its_own_splits(roads: Path, quiet: Progress) -> None:
    data = read(roads, quiet)
    assert isinstance(data.task, Segmentation) and data.task.classes == ("sky", "road", "car")
    assert {name: len(part) for name, part in data.splits().items()} == {"train": 40, "valid": 10, "test": 15}
    assert data.origin.given == {"train", "valid", "test"} and len(data.origin.manifest) == 130
    batch = data.task.collate(data.train.gather(np.arange(3)))
    for place in range(3):
        pixels, mask = scene(place)
        assert (batch.targets[place].numpy() == mask).all()
        assert (batch.inputs[place].permute(1, 2, 0).numpy() * 255).round() == pytest.approx(pixels)
    again = read(roads, quiet)
    assert again.task == data.task and again.digest() == data.digest()
    assert (
        sum(data.task.shares) == pytest.approx(1, abs=1e-5) and "sky" in data.origin.facts["of the pixels to train on"]
    )


def test_faults_are_in_the_ledger(roads: Path, quiet: Progress) -> None:
    train, masks = roads / "train", roads / "trainannot"
    (train / "000.png").write_bytes(b"no picture")
    (masks / "001.png").write_bytes((masks / "001.png").read_bytes()[:60])
    Image.fromarray(scene(2)[1][:20]).save(masks / "002.png")
    strange = scene(3)[1]
    strange[:6] = 17
    Image.fromarray(strange).save(masks / "003.png")
    Image.fromarray(np.full(SIDE, 200, np.uint8)).save(masks / "004.png")
    (masks / "005.png").unlink()
    (train / "006.png").unlink()
    Image.fromarray(scene(7)[1]).save(masks / "007.jpg")
    (masks / "007.png").unlink()
    data = read(roads, quiet)
    told = {entry.file: (entry.kind, entry.reason) for entry in data.origin.entries}
    assert told["train/000.png"][0] == "unreadable" and told["trainannot/001.png"][0] in ("unreadable", "truncated")
    assert told["trainannot/002.png"] == ("size-differs", "the mask has 48 x 20 pixels, its picture 48 x 36")
    assert told["trainannot/003.png"][0] == "event" and "288 pixels (16.7 %)" in told["trainannot/003.png"][1]
    assert told["trainannot/004.png"][0] == "no-label" and told["train/005.png"][0] == "no-label"
    assert told["trainannot/006.png"][0] == "no-picture" and told["trainannot/007.jpg"][0] == "lossy"
    assert len(told) == 8 and len(data.train) == 33
    third = [data.origin.names[row] for row in data.train.rows].index("train/003.png")
    assert (data.task.collate(data.train.gather(np.array([third]))).targets[0, :6] == VOID).all()
    assert matinee.check(data).errors  # more than a tenth of the files were lost


def test_what_cannot_be_learned_from_is_refused(roads: Path, tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(DataError, match="1 class"):
        read(roads, quiet, ignore="sky,2")
    with pytest.raises(DataError, match=r"--ignore tree: there is no such class\. The classes are sky, road, car"):
        read(roads, quiet, ignore="tree")
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        read(roads, quiet, class_list=str(tmp_path / "nowhere.txt"))
    (tmp_path / "bad" / "images").mkdir(parents=True)
    (tmp_path / "bad" / "masks").mkdir()
    for folder in ("images", "masks"):
        (tmp_path / "bad" / folder / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of 1 pictures"):
        read(tmp_path / "bad", quiet)
    (tmp_path / "bad" / "masks" / "1.png").unlink()
    with pytest.raises(DataError, match="no picture with a mask: expected"):
        read(tmp_path / "bad", quiet, task="segmentation")
    (tmp_path / "bad" / "masks" / "mask one.png").write_bytes(b"")  # pictures and masks are no classes of pictures
    with pytest.raises(DataError, match=r"images/1\.png and masks/mask one\.png have no counterpart of their name"):
        read(tmp_path / "bad", quiet)


def test_classes_are_left_out_and_named(roads: Path, quiet: Progress) -> None:
    data = read(roads, quiet, ignore="sky")
    assert data.task.classes == ("road", "car") and data.task.ids == (1, 2)
    batch = data.task.collate(data.train.gather(np.arange(2)))
    assert batch.targets[0].unique().tolist() == [0, 1, VOID]
    assert not data.origin.entries
    (roads / "classes.txt").unlink()  # without it the folders are taken for CamVid's
    assert read(roads, quiet).task.classes[:3] == ("Sky", "Building", "Pole")


def test_pictures_of_many_sizes_and_masks_in_colours(tmp_path: Path, quiet: Progress) -> None:
    colours = np.array([(10, 20, 30), (200, 0, 0), (0, 0, 250)], np.uint8)
    for number in range(24):
        pixels, mask = scene(number)
        size = (48 + 4 * (number % 3), 36)
        for folder, array in (("images", pixels), ("labels", colours[mask])):
            (tmp_path / "s" / folder).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(array).resize(size, Image.Resampling.NEAREST)
            image.save(tmp_path / "s" / folder / f"{number}.png")
    data = read(tmp_path / "s", quiet, picture_size=24)
    assert data.task.classes == ("#0000fa", "#0a141e", "#c80000") and data.task.height == 24
    (tmp_path / "s" / "class_dict.csv").write_text("name,r,g,b\nsky,10,20,30\nroad,200,0,0\ncar,0,0,250\n")
    named = read(tmp_path / "s", quiet, picture_size=24, groups=r"(\d)\.png")
    assert named.task.classes == ("sky", "road", "car") and named.task.colours[1] == "#c80000"
    parts = {name: {data.origin.names[row][-5] for row in part.rows} for name, part in named.splits().items()}
    assert not parts["train"] & parts["test"] and parts["test"]
    one, other = (d.task.collate(d.train.gather(np.arange(1))) for d in (data, data))
    assert torch.equal(one.targets, other.targets)


def test_colours_are_classes_only_where_most_masks_have_them(roads: Path, quiet: Progress) -> None:
    colours = np.array([(10, 20, 30), (200, 0, 0), (0, 0, 250)], np.uint8)
    Image.fromarray(colours[scene(3)[1]]).save(roads / "trainannot" / "003.png")
    told = {entry.file: entry.reason for entry in read(roads, quiet).origin.entries}
    assert told == {"trainannot/003.png": "a mask in colours where others are in numbers"}
    for path in roads.glob("*annot/*.png"):
        Image.fromarray(colours[scene(int(path.stem))[1]]).save(path)
    with pytest.raises(DataError, match="does not say which colour is which class"):
        read(roads, quiet)
    (roads / "classes.txt").write_text("7,sky,10,20,30\n1,road,200,0,0\n4,car,0,0,250\n")
    assert read(roads, quiet).task.ids == (7, 1, 4)  # type: ignore[attr-defined]


def test_lists_of_names_say_the_splits(tmp_path: Path, quiet: Progress) -> None:
    write(tmp_path / "voc", "JPEGImages", "SegmentationClass", range(12))
    write(tmp_path / "voc", "JPEGImages", "other", range(12, 15))
    lists = tmp_path / "voc" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(f"{n:03}" for n in range(8)))
    (lists / "val.txt").write_bytes("\r\n".join(f"{n:03}" for n in range(8, 11)).encode("utf-8-sig"))
    data = read(tmp_path / "voc", quiet, test_share=0.0, task="segmentation")
    assert (len(data.train), len(data.valid)) == (8, 3) and data.task.classes[:2] == ("background", "aeroplane")
    assert {entry.kind for entry in data.origin.entries} == {"ignored"}


def test_the_whole_way(roads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["--network", "tiny", "--epochs", "8", "--batch-size", "8", "--out", str(run), "--quiet"]
    assert main(["train", str(roads), *given]) == 0
    capsys.readouterr()
    told = json.loads((run / "evaluation.json").read_text())
    assert told["scores"]["mean_iou"]["value"] > 0.6
    assert told["scores"]["mean_iou"]["low"] > told["baselines"]["trivial"]["mean_iou"]
    page = (run / "report.html").read_text("utf-8")
    assert all(words in page for words in ("What the colours of masks mean", "Found worst"))
    (tmp_path / "bad.png").write_bytes(b"GIF89a")
    wide = tmp_path / "wide.png"
    Image.fromarray(scene(70)[0]).resize((96, 36)).save(wide)
    files = [str(roads / "test" / "050.png"), str(tmp_path / "bad.png"), str(wide)]
    assert main(["predict", str(run), *files, "--json", "--quiet"]) == 1
    first, bad, last = json.loads(capsys.readouterr().out)["answers"]
    assert "error" in bad and abs(sum(first["shares"].values()) - 1) < 1e-5
    drawn = Image.open(io.BytesIO(base64.b64decode(last["mask"])))
    assert drawn.size == (last["width"], last["height"])
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["mask"]))))
    assert mask.shape == SIDE and (mask == scene(50)[1]).mean() > 0.8
    shares = np.bincount(mask.ravel(), minlength=3) / mask.size
    assert first["shares"]["sky"] == pytest.approx(shares[0], abs=1e-5)
    (roads / "testannot" / "051.png").write_bytes((roads / "testannot" / "052.png").read_bytes())
    assert main(["evaluate", str(run), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"]["changed"] == ["testannot/051.png"]


def test_a_zip_is_read_like_its_folder(roads: Path, tmp_path: Path, quiet: Progress) -> None:
    with zipfile.ZipFile(tmp_path / "roads.ZIP", "w") as archive:
        for path in sorted(roads.rglob("*")):
            archive.write(path, f"all of it/{path.relative_to(roads)}")
        archive.writestr("../outside/trainannot/1.png", b"")
        archive.writestr("all of it/train/.hidden.png", b"")
    one, other = (read(source, quiet) for source in (roads, tmp_path / "roads.ZIP"))
    assert other.task == one.task and {e.kind for e in other.origin.entries} == {"outside", "ignored"}
    for name, part in one.splits().items():
        assert len(part) == len(other.splits()[name]), name
    rows = np.arange(4)
    both = [data.task.collate(data.test.gather(rows)) for data in (one, other)]
    assert torch.equal(both[0].inputs, both[1].inputs) and torch.equal(both[0].targets, both[1].targets)
    assert not any(other.task.changes(str(tmp_path / "roads.ZIP"), other.origin.manifest).values())
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="no zip file"):
        read(tmp_path / "broken.zip", quiet, task="segmentation")


def large(root: Path, numbers: range) -> None:
    """Scenes four times as large as a tile in each direction."""
    for number in numbers:
        pixels, mask = scene(number)
        for place, array in (("images", pixels), ("masks", mask)):
            (root / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.repeat(4, 0).repeat(4, 1)[: 100 + number]).save(root / place / f"{number}.png")


def test_large_pictures_are_learned_and_answered_in_tiles(tmp_path: Path, quiet: Progress) -> None:
    large(tmp_path / "s", range(6))
    data = read(tmp_path / "s", quiet, tile=64, test_share=0.3, valid_share=0.2, task="segmentation")
    task = data.task
    assert isinstance(task, Segmentation) and (task.height, task.width) == (64, 64)
    sides = {name: {data.origin.names[row] for row in part.rows} for name, part in data.splits().items()}
    assert sum(map(len, sides.values())) == 6 == len(set.union(*sides.values()))  # no picture on two sides
    assert sum(map(len, data.splits().values())) == 6 * 2 * 3 and not data.origin.entries
    assert not [problem for problem in matinee.check(data).problems if "same content" in problem.words]
    first = task.collate(data.train.gather(np.arange(len(data.train)))).targets
    assert VOID not in first.unique() and len(data.origin.manifest) == 12
    torch.manual_seed(0)
    network = replace(task, network="tiny").build().eval()
    model = matinee.Model(replace(task, network="tiny"), network)
    small = tmp_path / "small.png"
    Image.fromarray(scene(9)[0]).save(small)
    answers = model.predict([tmp_path / "s" / "images" / "5.png", small])
    assert [(a["height"], a["width"]) for a in answers] == [(105, 192), SIDE]
    with pytest.raises(SettingsError, match="multiple of 32"):
        read(tmp_path / "s", quiet, tile=50, task="segmentation")
    with pytest.raises(SettingsError, match="instead of --picture-size"):
        read(tmp_path / "s", quiet, tile=64, picture_size=100, task="segmentation")


def test_tiles_have_no_seams_and_leave_nothing_out() -> None:
    picture = torch.randint(0, 255, (3, 150, 333), dtype=torch.uint8)

    def brightest(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape[2:] == (64, 64) and pixels.max() <= 1
        return pixels

    assert torch.equal(tiled(brightest, picture, 64), picture.float().argmax(0).to(torch.uint8))
    assert torch.equal(tiled(brightest, picture[:, :20, :9], 64), picture[:, :20, :9].float().argmax(0).byte())
    place = torch.linspace(0, 1, 64)  # each tile is sure of itself in its own way: the answer changes between, once

    def slope(pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack((pixels[:, 0] * 0 + place, pixels[:, 0] * 0 + 1 - place), 1)

    found = tiled(slope, picture[:, :64], 64)
    assert (found[0] == found[-1]).all() and found.unique().tolist() == [0, 1]


def test_files_are_written_in_the_size_of_the_picture(roads: Path, tmp_path: Path) -> None:
    task = replace(Segmentation().toy().task, channels=3, height=36, width=48)
    torch.manual_seed(0)
    model = matinee.Model(task, task.build().eval())
    wide = tmp_path / "ein Bild ü.png"
    Image.fromarray(scene(70)[0]).resize((96, 72)).save(wide)
    answer = {"file": str(wide), **model.predict([wide])[0]}
    files = task.files(answer)
    mask = Image.open(io.BytesIO(files[".png"]))
    assert mask.mode == "P" and mask.size == (96, 72) == Image.open(io.BytesIO(files[".overlay.jpg"])).size
    inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["mask"]))))
    assert (np.asarray(mask) == shrunk(inside, (72, 96))).all()
    assert list(task.files({**answer, "file": "gone.png"})) == [".png"]
    with torch.inference_mode():
        outputs = task.infer(model.network, task.encode([wide, wide]))
        told = task.decode_for(outputs, torch.empty(0), [wide, scene(70)[0]])
    assert [(each["height"], each["width"]) for each in told] == [(72, 96), SIDE]


def test_a_picture_is_shown_beside_what_is_true() -> None:
    data = Segmentation().toy()
    batch = data.task.collate(data.test.gather(np.arange(3)))
    pieces = data.task.show_scored(torch.zeros(3, 3, 12, 12), batch)  # type: ignore[attr-defined]
    wrong = [100 * ((t != VOID) & (t != 0)).mean() for t in batch.targets.numpy()]
    assert [piece.pictures[2].words for piece in pieces] == [f"{w:.1f} % of the pixels differ (red)" for w in wrong]


def test_a_mirror_image_is_asked_too() -> None:
    task = replace(Segmentation().toy().task, views="two")
    torch.manual_seed(0)
    network, pictures = task.build().eval(), torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        one, other = task.infer(network, pictures), task.infer(network, pictures.flip(3))
    assert torch.allclose(one, other.flip(3), atol=1e-5)


def test_many_pairs_are_read_by_processes_as_few_are_by_threads(
    roads: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    (roads / "valannot" / "041.png").write_bytes(b"no mask")
    few = read(roads, quiet)
    monkeypatch.setattr(mask_reading, "FEW", 1)
    monkeypatch.setenv("MATINEE_CACHE", str(roads.parent / "other"))
    many = read(roads, quiet)
    assert many.task == few.task and many.origin.entries == few.origin.entries and len(many.origin.entries) == 1
    for name in ("image", "mask", "sha256", "size", "numbers"):
        rows = few.train.rows
        assert np.array_equal(few.train.columns.get(name, rows)[:], many.train.columns.get(name, rows)[:])


def test_the_example_of_the_road_ahead_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "tasks" / "segmentation.md"
    (tmp_path / "ahead.py").write_text(page.read_text("utf-8").split("```python\n")[1].split("```")[0], "utf-8")
    Image.fromarray(scene(1)[0]).save(tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    toy = replace(Segmentation().toy().task, channels=3, height=36, width=48, network="constant")
    for classes in (("Road", "Car", "Bicyclist", "Pedestrian"), ("Car", "Road", "Bicyclist", "Pedestrian")):
        task = replace(toy, classes=classes, ids=(0, 1, 2, 3), colours=("#000000",) * 4, shares=(0.25,) * 4)
        network = task.build().eval()
        with torch.no_grad():
            network.get_parameter("logits")[0] = 1  # the first class everywhere
        matinee.Model(task, network).save(tmp_path / "runs" / "camvid-1")
        runpy.run_path("ahead.py")
    assert capsys.readouterr().out.splitlines() == ["(0.0, None)", "(1.0, 0.0)"]


def test_the_loss_is_that_of_the_pixels_in_the_middle() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 8, 10), dtype=torch.uint8)
    masks[0, :2] = VOID
    truth = masks[:, 1::2, 1::2].long()
    each = torch.nn.functional.cross_entropy(logits, truth.clamp(max=2), reduction="none") * (truth != VOID)
    assert torch.allclose(PixelLoss((1.0,) * 3)(logits, masks), each.mean())
    assert torch.equal(thinned(masks, 4, 5).long(), truth) and torch.equal(thinned(masks, 8, 10), masks)
    weighed = PixelLoss((1.0, 2.0, 1.0))(logits, masks)
    assert torch.allclose(weighed, (each * (1 + (truth == 1))).mean())
    halves = [PixelLoss((1.0,) * 3)(logits[i : i + 1], masks[i : i + 1]) for i in (0, 1)]
    assert torch.allclose(sum(halves) / 2, each.mean())  # as several processes see it
    assert PixelLoss((1.0,) * 3, edge=2.0)(logits, masks) > each.mean()
    assert PixelLoss((1.0,) * 3)(logits, torch.full_like(masks, VOID)) == 0


@pytest.mark.parametrize("network", ["tiny", "light", "strong", "linear"])
def test_networks_take_pictures_of_any_size_and_have_a_quick_form(network: str) -> None:
    task = replace(Segmentation().toy().task, network=network, channels=3)
    torch.manual_seed(0)
    built = task.build().eval()
    for size in ((24, 24), (45, 70)):
        pictures = torch.rand(2, 3, *size)
        with torch.no_grad():
            outputs = task.infer(built, pictures)
            assert outputs.shape[:2] == (2, 3) and outputs.shape[2] >= size[0] // 4
            if isinstance(built, Quick):
                assert torch.allclose(built.quick(torch.float32)(pictures), outputs, atol=1e-4)


def test_rare_classes_count_for_more_and_one_on_average() -> None:
    task = Segmentation().toy().task
    costs = task._costs()
    assert costs[0] < costs[2] < costs[1] < 10 * costs[0]
    assert sum(c * s for c, s in zip(costs, task.shares, strict=True)) == pytest.approx(1)
    plain = replace(task, class_weights="none")
    batch = Batch(torch.zeros(1), torch.zeros(1, 4, 4, dtype=torch.uint8))
    assert plain.loss(torch.zeros(1, 3, 4, 4), batch).item() == pytest.approx(np.log(3))


@pytest.mark.real
def test_streets_are_read_with_their_published_splits(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "camvid", progress=quiet)
    assert [len(part) for part in data.splits().values()] == [367, 101, 233] and not data.origin.entries
    assert len(data.task.classes) == 11  # type: ignore[attr-defined]
