"""Augmentation: does what the policy says, nothing else, and the same every time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from matinee.core.errors import SettingsError
from matinee.core.moment import Moment
from matinee.media.augment import Policy, augment, grown, mixup, views

EVERYTHING = Policy(flip=True, crop=2, scale=0.2, rotate=10, colour=0.3, cutout=4)
EACH = [
    Policy(flip=True),
    Policy(crop=2),
    Policy(flip=True, crop=3),
    Policy(scale=0.2),
    Policy(rotate=15),
    Policy(colour=0.4),
    Policy(cutout=5),
    EVERYTHING,
]


def _pictures(channels: int = 3, count: int = 8) -> Tensor:
    return torch.rand(count, channels, 12, 10, generator=torch.Generator().manual_seed(99))


@pytest.mark.parametrize("policy", EACH)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_each_policy_varies_and_keeps_shape_range_format_and_is_repeatable(
    policy: Policy, channels: int, channels_last: bool
) -> None:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = _pictures(channels).contiguous(memory_format=memory_format)
    original = images.clone()
    first = augment(images, policy, Moment(3))
    again = augment(images, policy, Moment(3))
    other = augment(images, policy, Moment(4))
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert first.is_contiguous(memory_format=memory_format)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, original)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


@pytest.mark.parametrize("policy", EACH)
def test_memory_format_does_not_change_the_numbers(policy: Policy) -> None:
    images = _pictures()
    plain = augment(images, policy, Moment(5))
    last = augment(images.contiguous(memory_format=torch.channels_last), policy, Moment(5))
    assert torch.allclose(plain, last, atol=1e-5)


def test_the_zero_policy_gives_the_input_back_and_draws_nothing() -> None:
    images = _pictures()
    assert augment(images, Policy(), Moment()) is images
    assert augment(images[:0], EVERYTHING, Moment()).shape == (0, 3, 12, 10)


def test_flip_mirrors_left_to_right() -> None:
    images = _pictures(count=64)
    varied = augment(images, Policy(flip=True), Moment())
    mirrored = (varied == images.flip(3)).flatten(1).all(1)
    kept = (varied == images).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 16 < int(mirrored.sum()) < 48


def test_given_flips_replace_chance() -> None:
    images = _pictures(count=4)
    flips = torch.tensor([True, False, True, False])
    varied = augment(images, Policy(flip=True), Moment(), flips)
    assert torch.equal(varied[0::2], images[0::2].flip(3))
    assert torch.equal(varied[1::2], images[1::2])
    assert augment(images, Policy(crop=1), Moment(), flips).shape == images.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_a_translation_with_reflected_borders(channels: int) -> None:
    images = _pictures(channels, count=32)
    varied = augment(images, Policy(crop=2), Moment())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    windows = padded.unfold(2, 12, 1).unfold(3, 10, 1)
    same = (windows == varied[:, :, None, None]).flatten(4).all(4).all(1)
    found = same.flatten(1).sum(1)
    assert bool((found >= 1).all())
    assert int(same.any(0).sum()) > 12  # of 25 places, most are taken by 32 pictures


def test_crop_larger_than_the_picture_stays_within() -> None:
    images = torch.rand(6, 1, 3, 4)
    assert augment(images, Policy(crop=50), Moment()).shape == images.shape


def test_rotation_and_scale_leave_a_centred_disc_in_place() -> None:
    row, column = torch.meshgrid(torch.arange(33.0), torch.arange(65.0), indexing="ij")
    disc = ((row - 16) ** 2 + (column - 32) ** 2 < 8**2).float()[None, None].expand(16, 1, 33, 65)
    turned = augment(disc, Policy(rotate=180), Moment())
    # Farther out the reflected border shows the disc again.
    assert float((turned - disc)[..., 16:49].abs().mean()) < 0.025
    scaled = augment(disc, Policy(scale=0.25), Moment())
    areas = scaled.sum((1, 2, 3)) / disc.sum((1, 2, 3))
    assert 0.6 < float(areas.min()) < 0.95
    assert 1.05 < float(areas.max()) < 1.6


def test_rotation_turns_by_the_angle_in_pictures_that_are_not_square() -> None:
    bar = torch.zeros(1, 1, 41, 81)
    bar[..., 19:22, 25:56] = 1
    turned = [augment(bar, Policy(rotate=90), Moment(seed)) for seed in range(12)]
    # A turned bar keeps its area; a sheared or stretched one does not.
    assert all(abs(float(one[..., 20:61].sum()) / float(bar.sum()) - 1) < 0.1 for one in turned)


def test_cutout_hides_at_most_its_square() -> None:
    images = _pictures(count=64)
    varied = augment(images, Policy(cutout=4), Moment())
    hidden = (varied != images).any(1).flatten(1).sum(1)
    assert int(hidden.max()) == 16
    assert int(hidden.min()) >= 4


def test_mixup_mixes_pictures_and_targets_by_the_same_share() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    targets = torch.arange(8)
    mixed, mixed_targets = mixup(images, targets, 8, 0.4, Moment())
    again, _ = mixup(images, targets, 8, 0.4, Moment())
    assert torch.equal(mixed, again)
    assert torch.allclose(mixed_targets.sum(1), torch.ones(8))
    assert torch.allclose(mixed[:, 0, 0, 0], mixed_targets @ torch.arange(8.0), atol=1e-4)
    assert bool((mixed_targets.argmax(1) == torch.arange(8)).all())
    same, same_targets = mixup(images, targets, 8, 0.0, Moment())
    assert same is images
    assert same_targets is targets


@pytest.mark.parametrize("setting", [{"crop": -1}, {"rotate": -5.0}, {"colour": 1.5}])
def test_impossible_policies_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting))):
        Policy(**setting)  # type: ignore[arg-type]


def test_pictures_grow_with_the_training_and_are_whole_in_its_last_quarter() -> None:
    images = torch.rand(4, 3, 32, 40)

    def sides(policy: Policy) -> list[tuple[int, ...]]:
        shares = (0.0, 0.3, 0.5, 0.7, 0.8, 1.0)
        return [tuple(augment(images, policy, Moment(), factor=grown(share)).shape[2:]) for share in shares]

    expected = [(20, 24), (20, 24), (24, 32), (28, 36), (32, 40), (32, 40)]
    assert sides(Policy()) == sides(Policy(crop=2)) == sides(EVERYTHING) == expected


def test_shrinking_is_the_antialiased_bilinear_one_of_torch() -> None:
    images = torch.rand(4, 3, 32, 40)
    shrunk = augment(images, Policy(), Moment(), factor=0.625)
    expected = torch.nn.functional.interpolate(images, (20, 24), mode="bilinear", antialias=True)
    assert torch.allclose(shrunk, expected, atol=1e-6)


def test_small_pictures_are_not_shrunk() -> None:
    images = _pictures()
    assert augment(images, Policy(), Moment(), factor=0.625) is images


def test_colour_is_brightness_contrast_and_saturation_one_after_the_other() -> None:
    images = torch.rand(5, 3, 6, 6)
    moment = Moment(4)
    brightness, contrast, saturation = (0.8 + 0.4 * moment.uniform("colour", 5, 3)).T[:, :, None, None, None]
    mean = images.mean((1, 2, 3), keepdim=True)
    varied = (images - mean) * contrast + mean * brightness
    grey = (varied * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    expected = torch.lerp(grey, varied, saturation).clamp(0, 1)
    assert torch.allclose(augment(images, Policy(colour=0.2), moment), expected, atol=1e-6)


@pytest.mark.parametrize(("named", "count"), [("one", 1), ("two", 2), ("six", 6)])
def test_views_share_one_whole_and_show_the_same_picture(named: str, count: int) -> None:
    images = _pictures()
    seen = views(images, named)
    assert len(seen) == count
    assert sum(share for _, share in seen) == pytest.approx(1)
    assert all(view.shape == images.shape for view, _ in seen)
    assert torch.equal(seen[0][0], images)
    assert count < 2 or torch.equal(seen[1][0], images.flip(3))


def test_a_part_of_a_batch_is_varied_as_in_the_whole() -> None:
    images = _pictures(count=9)
    whole = augment(images, EVERYTHING, Moment(7))
    part = augment(images[4:], EVERYTHING, Moment(7, first=4))
    assert torch.allclose(whole[4:], part, atol=1e-6)
