"""Pictures with masks: which belong together, what their numbers mean, and how both are varied alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from matinee.core.errors import DataError
from matinee.core.moment import Moment
from matinee.media import mask_classes
from matinee.media.mask_augment import MaskPolicy, part_of, vary
from matinee.media.mask_classes import (
    CAMVID,
    VOID,
    ClassList,
    colour_of,
    decide,
    find_list,
    meant,
    published,
    read_list,
)
from matinee.media.mask_files import mask_colours, mask_numbers, shrunk, stretched
from matinee.media.mask_names import has_masks, pair
from matinee.media.mask_pictures import as_png, overlay, palette_of
from matinee.media.picture_sources import fits as fits_labels
from matinee.media.pictures import PictureError


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["train/a.jpg", "trainannot/a.png", "val/a.jpg", "valannot/a.png"], [("train/a.jpg", 0), ("val/a.jpg", 1)]),
        (["images/a.jpg", "masks/a.png"], [("images/a.jpg", -1)]),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationObject/a.png"], [("JPEGImages/a.jpg", -1)]),
        (["images/train/a.jpg", "labels/train/a.png"], [("images/train/a.jpg", 0)]),
        (["train/images/a.jpg", "train/masks/a.png"], [("train/images/a.jpg", 0)]),
        (["train_images/a.png", "train_masks/a.png"], [("train_images/a.png", 0)]),
        (["a.jpg", "a_mask.png", "b.jpg", "b_mask.png"], [("a.jpg", -1), ("b.jpg", -1)]),
        (["a.jpg", "a_L.png"], [("a.jpg", -1)]),
        (["x/a.jpg", "x/a.png"], [("x/a.jpg", -1)]),
        (["images/a_l.jpg", "masks/a_l.png"], [("images/a_l.jpg", -1)]),
        (["images/a.jpg", "masks/a_mask.png"], [("images/a.jpg", -1)]),
        (["data/images/a.jpg", "data/images/a_mask.png"], [("data/images/a.jpg", -1)]),
        (["701_StillsRaw_full/7.png", "LabeledApproved_full/7_L.png"], [("701_StillsRaw_full/7.png", -1)]),
        (
            [
                *("leftImg8bit/val/u/u_1_leftImg8bit.png", "gtFine/val/u/u_1_gtFine_labelIds.png"),
                *("gtFine/val/u/u_1_gtFine_color.png", "gtFine/val/u/u_1_gtFine_labelTrainIds.png"),
            ],
            [("leftImg8bit/val/u/u_1_leftImg8bit.png", 1)],
        ),
    ],
)
def test_names_tell_what_belongs_together(names: list[str], pairs: list[tuple[str, int]]) -> None:
    found = pair(names)
    assert list(zip(found.pictures, found.splits, strict=True)) == pairs
    assert {e.kind for e in found.entries} <= {"ignored"}
    assert all("color" not in mask and "Object" not in mask for mask in found.masks)


def test_the_classes_that_are_learned_are_taken_where_there_are_several_masks() -> None:
    for names in (["i/a.jpg", "gt/a_labelIds.png", "gt/a_labelTrainIds.png"],) * 2:
        found = pair([name.replace("i/", "images/") for name in reversed(names)])
        assert found.masks == ["gt/a_labelTrainIds.png"] and [e.kind for e in found.entries] == ["ignored"]


def test_what_has_no_partner_is_told() -> None:
    found = pair(["images/a.jpg", "images/b.jpg", "masks/a.png", "masks/c.png", "masks/.d.png", "notes.txt"])
    assert found.pictures == ["images/a.jpg"]
    assert {(e.file, e.kind) for e in found.entries} == {
        ("images/b.jpg", "no-label"), ("masks/c.png", "no-picture"), ("masks/.d.png", "ignored"),
    }  # fmt: skip


def test_folders_of_classes_are_no_masks_and_masks_are_no_classes(tmp_path: Path) -> None:
    for kind, folders in (("faces", ("with_mask", "without_mask")), ("scenes", ("images", "masks"))):
        for folder in folders:
            for number in range(3):
                path = tmp_path / kind / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8)).save(path)
    assert has_masks(str(tmp_path / "scenes")) and fits_labels(tmp_path / "scenes") is None
    assert not has_masks(str(tmp_path / "faces")) and fits_labels(tmp_path / "faces") == "class folders"


def png(pixels: np.ndarray, mode: str | None = None, palette: list[int] | None = None) -> bytes:
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(palette)
    written = io.BytesIO()
    (image.convert(mode) if mode else image).save(written, "PNG")
    return written.getvalue()


NUMBERS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


def test_numbers_are_read_from_grey_palettes_and_colours() -> None:
    colours = ("#000000", "#800000", "#008000")
    coloured = palette_of(colours)[NUMBERS]
    for raw, unknown in (
        (png(NUMBERS), 0),
        (png(NUMBERS, palette=list(range(3, 256)) * 3 + [0] * 9), 0),
        (png(NUMBERS.astype(np.uint16)), 0),
        (png(np.repeat(NUMBERS[..., None], 3, 2)), 0),
    ):
        numbers, strange = mask_numbers(raw, (), 10**6)
        assert numbers.tolist() == NUMBERS.tolist() and strange == unknown
    coloured[1, 2] = (1, 2, 3)
    numbers, strange = mask_numbers(png(coloured), colours, 10**6)
    assert numbers.tolist() == NUMBERS.tolist() and strange == 1
    assert mask_colours(png(coloured), 10**6) == {0, 0x800000, 0x008000, 0x010203}
    assert mask_colours(png(NUMBERS), 10**6) == set() and mask_colours(b"", 10**6) is None
    swapped = np.array([[1, 0, 2]], np.uint8)  # a palette in another order than the list says the same by its colours
    numbers, _ = mask_numbers(png(swapped, palette=[128, 0, 0, 0, 0, 0, 0, 128, 0]), colours, 10**6)
    assert numbers.tolist() == [[0, 1, 2]]
    numbers, _ = mask_numbers(png(np.array([[True, False]])), (), 10**6)
    assert numbers.tolist() == [[255, 0]]


def test_grey_colours_in_a_list_are_found_in_grey_masks() -> None:
    greys, mask = ("#000000", "#ffffff", "#808080"), np.array([[0, 128, 255]], np.uint8)
    assert mask_numbers(png(mask), greys, 10**6)[0].tolist() == [[0, 2, 1]]
    assert mask_numbers(png(NUMBERS), greys, 10**6)[0].tolist() == NUMBERS.tolist()  # numbers after all
    assert mask_numbers(png(mask), ("#000000", "#ff0000"), 10**6)[0].tolist() == mask.tolist()


def test_what_is_no_mask_is_refused() -> None:
    written = io.BytesIO()
    Image.fromarray(NUMBERS).save(written, "JPEG")
    wide = png(np.array([[0, 70], [300, 0]], np.uint16))
    for raw, kind in ((written.getvalue(), "lossy"), (wide, "unreadable"), (b"", "empty"), (png(NUMBERS)[:40], "")):
        with pytest.raises(PictureError) as caught:
            mask_numbers(raw, (), 10**6)
        assert caught.value.kind == kind or not kind
    with pytest.raises(PictureError, match="limit"):
        mask_numbers(png(NUMBERS), (), 5)


def test_a_mask_keeps_its_numbers_when_it_shrinks() -> None:
    big = np.kron(NUMBERS, np.ones((4, 4), np.uint8))
    assert shrunk(big, (2, 3)).tolist() == NUMBERS.tolist()
    assert shrunk(shrunk(big, (2, 3)), (8, 12)).tolist() == big.tolist()


def test_a_picture_is_stretched_and_nothing_is_cut() -> None:
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, :4], picture[:, -4:] = 250, 120
    pixels, size = stretched(picture, (10, 10, 3), 10**6)
    assert size == (10, 40) and pixels[5, 0, 0] > 200 and 90 < pixels[5, -1, 0] < 150


@pytest.mark.parametrize(
    ("text", "ids", "names", "colours"),
    [
        ("road\nsky\n", (0, 1), ("road", "sky"), ()),
        ("7 road\n8 traffic light\n", (7, 8), ("road", "traffic light"), ()),
        ("7: road\n11: sky\n", (7, 11), ("road", "sky"), ()),
        ("name,r,g,b\nroad,128,64,128\nsky,0,0,255\n", (0, 1), ("road", "sky"), ("#804080", "#0000ff")),
        ("128 64 128\troad\n0 0 255\tsky\n", (0, 1), ("road", "sky"), ("#804080", "#0000ff")),
        ("# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:0,0,255::\n", (0, 1), ("road", "sky"),
         ("#804080", "#0000ff")),
        ("Pixel Value, Class\n0, road\n5, sky\n", (0, 5), ("road", "sky"), ()),
    ],
)  # fmt: skip
def test_lists_of_classes(
    text: str, ids: tuple[int, ...], names: tuple[str, ...], colours: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_list(str(tmp_path / "classes.txt")) == ClassList(ids, names, colours)


@pytest.mark.parametrize("text", ["", "300 road\n", "road\nroad\n", "1 2 3\n"])
def test_lists_that_say_nothing_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"classes\.txt"):
        read_list(str(tmp_path / "classes.txt"))


def test_published_layouts_name_their_classes() -> None:
    assert published(["trainannot/a.png"]) == CAMVID
    assert [colour_of(n) for n in (0, 1, 2, 15, 255)] == ["#000000", "#800000", "#008000", "#c08080", "#e0e0c0"]
    voc, cityscapes = published(["SegmentationClass/a.png"]), published(["gtFine/val/a_gtFine_labelIds.png"])
    assert voc is not None and len(voc.names) == 21 and voc.names[15] == "person"
    assert cityscapes is not None and dict(zip(cityscapes.ids, cityscapes.names, strict=True))[26] == "car"
    assert published(["masks/a.png"]) is None


def test_numbers_that_are_meant() -> None:
    def counts(**told: int) -> list[int]:
        return [told.get(f"n{number}", 0) for number in range(256)]

    soft = counts(n0=800, n1=5, n128=20, n254=5, n255=170)
    assert meant(soft, None, False) == [0, 255]  # black and white with soft edges
    assert meant(soft, ClassList((0, 1), ("field", "weed")), False) == [0, 255]
    assert meant(counts(n0=800, n1=100, n255=100), None, False) == [0, 1, 255]
    assert meant(soft, ClassList((0, 5), ("field", "weed")), False) == [0, 1, 128, 254, 255]
    three = ClassList((0, 1, 2), ("sky", "road", "car"))
    assert meant(counts(n0=5000, n1=400, n3=1), three, False) == [0, 1, 3]  # a stray pixel
    assert meant(counts(n1=500, n3=400), three, True) == [1, 3]
    for wrong in (counts(n1=500, n2=1, n3=400), counts(n0=9, n1=500, n3=400, n255=9)):
        with pytest.raises(DataError, match="number 3, and the list names 3 classes from 0"):
            meant(wrong, three, False)
    assert find_list(["train/_classes.csv", "train/1.jpg", "valid/_classes.csv"]) == "valid/_classes.csv"


def test_classes_are_decided() -> None:
    camvid = decide(range(12), CAMVID, (), "")
    assert camvid.names[-1] == "Bicyclist" and len(camvid.ids) == 11 and 11 in camvid.ignored
    assert decide([0, 40], CAMVID, (), "").names == ("0", "40")  # the folders alone are called so
    assert decide([*range(12), 200], CAMVID, (), "") == camvid  # a stray pixel is no class
    assert decide([0, 255], None, (), "").names == ("background", "foreground")
    assert decide([0, 255], ClassList((0, 1), ("field", "weed")), (), "").ids == (0, 255)
    assert decide([0, 1, 255], None, (), "").ids == (0, 1)
    assert decide([0, 1, 2], None, (), "1").ids == (0, 2)
    assert decide(range(12), CAMVID, (), "sky, 3").names[:2] == ("Building", "Pole")
    assert decide([0, 1], None, ("#ff0000", "#00ff00"), "").names == ("#ff0000", "#00ff00")
    for present, ignore in (([0], ""), ([0, 1, 2], "9"), ([0, 1], "1")):
        with pytest.raises(DataError):
            decide(present, None, (), ignore)
    with pytest.raises(DataError, match="254"):
        decide(range(256), ClassList(tuple(range(256)), tuple(map(str, range(256)))), (), "")
    assert VOID == mask_classes.VOID == 255


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A picture whose brightness is its mask's number over 10."""
    masks = torch.from_numpy(np.random.default_rng(0).integers(0, 10, (4, 16, 20), dtype=np.uint8))
    masks = masks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return (masks.float() / 10)[:, None].repeat(1, 3, 1, 1), masks


def test_masks_move_with_their_pictures() -> None:
    pictures, masks = scene()
    for share in (1.0, 0.5):
        moved, with_them = vary(pictures, masks, MaskPolicy(flip=True, zoom=1.5), Moment(5), share)
        assert moved.shape[2:] == with_them.shape[1:] == part_of((128, 160), share)
        inside = with_them != VOID
        assert 0.5 < inside.float().mean() <= 1 and with_them.unique().numel() > 3
        off = ((moved[:, 0] * 10 - with_them).abs() > 0.01) & inside
        assert off.float().mean() < 0.25  # where a pixel lies between two fields
        again = vary(pictures, masks, MaskPolicy(flip=True, zoom=1.5), Moment(5), share)
        assert torch.equal(moved, again[0]) and torch.equal(with_them, again[1])


def test_nothing_asked_is_nothing_done() -> None:
    pictures, masks = scene()
    same, also = vary(pictures, masks, MaskPolicy(), Moment(1))
    assert same is pictures and also is masks
    assert part_of((64, 200), 0.5) == (64, 200) and part_of((360, 480), 0.5) == (192, 256)


def test_a_mask_drawn_and_written_comes_back() -> None:
    colours = ("#ff0000", "#00ff00", "#0000ff")

    read = Image.open(io.BytesIO(as_png(NUMBERS % 3, colours)))
    assert np.asarray(read).tolist() == (NUMBERS % 3).tolist()
    assert np.asarray(read.convert("RGB"))[0, 1].tolist() == [0, 255, 0]
    laid = overlay(np.full((2, 3, 1), 100, np.uint8), NUMBERS, colours)
    assert laid[1, 2].tolist() == [100, 100, 100] and laid[0, 0, 0] > 180 > laid[0, 0, 1]
