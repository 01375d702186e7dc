"""Sprites: factors, images and the speed of rendering."""

import time

import numpy as np
import pytest

from isthmus.data import sprites


def index_of(**codes):
    row = [codes.get(name, 0) for name in sprites.FACTOR_NAMES]
    return int(np.ravel_multi_index(row, sprites.FACTOR_SIZES))


def test_every_index_has_its_factors():
    assert np.prod(sprites.FACTOR_SIZES) == sprites.N_SPRITES == 737_280
    assert index_of(posY=1) == 1
    assert index_of(posX=1) == 32
    assert index_of(shape=1) == 6 * 40 * 32 * 32
    indices = np.random.default_rng(0).choice(sprites.N_SPRITES, 1000)
    codes = sprites.factors(indices)
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(np.ravel_multi_index(codes.T, sprites.FACTOR_SIZES), indices)


def test_images_are_binary_and_deterministic():
    indices = np.arange(0, sprites.N_SPRITES, 997)
    images = sprites.render(indices)
    assert images.shape == (len(indices), 64, 64)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    np.testing.assert_array_equal(images, sprites.render(indices))
    np.testing.assert_array_equal(images[5], sprites.render([indices[5]])[0])


def test_no_shape_is_clipped():
    # A larger window finds nothing more, and the window stays in the picture at each place.
    inside = sprites._outlines(16).sum(axis=(3, 4))
    np.testing.assert_array_equal(inside, sprites._outlines(24).sum(axis=(3, 4)))
    corners = [index_of(scale=5, posX=x, posY=y) for x in (0, 31) for y in (0, 31)]
    areas = (sprites.render(corners) > 0).sum(axis=(1, 2))
    assert len(set(areas)) == 1


def centre(image):
    return np.argwhere(image).mean(axis=0)


def test_positions_move_the_shape_right_and_down():
    images = sprites.render([index_of(), index_of(posX=31), index_of(posY=31)])
    start, right, down = map(centre, images)
    np.testing.assert_allclose(right - start, [0, 31])
    np.testing.assert_allclose(down - start, [31, 0])


def test_scale_enlarges_in_proportion():
    for shape in range(3):
        images = sprites.render([index_of(shape=shape, scale=s) for s in range(6)])
        areas = (images > 0).sum(axis=(1, 2))
        assert (np.diff(areas) > 0).all()
        np.testing.assert_allclose(areas[5] / areas[0], 4, rtol=0.15)


def test_orientation_is_counter_clockwise_and_periodic():
    heart = [index_of(shape=2, scale=5, orientation=o) for o in range(40)]
    images = sprites.render(heart)
    np.testing.assert_array_equal(images[0], images[39])
    assert len(np.unique(images[:39].reshape(39, -1), axis=0)) == 39
    ellipse = sprites.render([index_of(shape=1, scale=5, orientation=5)])[0]  # about 46 degrees
    rows, columns = np.argwhere(ellipse).T
    assert np.corrcoef(rows, columns)[0, 1] < -0.5  # rising to the right


def test_shapes_match_their_names():
    square, ellipse, heart = (sprites.render([index_of(shape=s, scale=5)])[0] > 0 for s in range(3))
    sides = [np.ptp(where) + 1 for where in np.nonzero(square)]
    assert square.sum() == sides[0] * sides[1]
    assert sides[0] == sides[1]
    height, width = (np.ptp(where) + 1 for where in np.nonzero(ellipse))
    np.testing.assert_allclose(ellipse.sum(), np.pi / 4 * height * width, rtol=0.12)
    rows = np.flatnonzero(heart.any(axis=1))
    assert heart[rows[0]].sum() > heart[rows[-1]].sum()  # lobes above, a point below
    np.testing.assert_array_equal(heart[:, :33], heart[:, 32::-1])


def test_samples_are_distinct_and_seeded():
    images, codes = sprites.sample(500, random_state=3)
    assert images.shape == (500, 64, 64)
    assert len(np.unique(codes, axis=0)) == 500
    np.testing.assert_array_equal(codes, sprites.sample(500, random_state=3)[1])
    assert (codes != sprites.sample(500, random_state=4)[1]).any()
    np.testing.assert_array_equal(
        images, sprites.render(np.ravel_multi_index(codes.T, sprites.FACTOR_SIZES))
    )


def test_masks_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        sprites._masks()[0] = 0


@pytest.mark.parametrize("indices", [[-1], [737_280], [0.5], 3, [[1, 2]], ["1"]])
def test_bad_indices(indices):
    for function in (sprites.render, sprites.factors):
        with pytest.raises(ValueError, match="indices must be"):
            function(indices)


def test_no_indices_give_no_images():
    assert sprites.render([]).shape == (0, 64, 64)


@pytest.mark.parametrize("n", [0, -1, 737_281])
def test_bad_sample_sizes(n):
    with pytest.raises(ValueError, match="n must be from 1 to 737,280"):
        sprites.sample(n)


def test_rendering_is_fast():
    indices = np.random.default_rng(0).choice(sprites.N_SPRITES, 10_000)
    sprites.render(indices[:1])  # draws the masks
    start = time.process_time()  # whatever else the machine does
    sprites.render(indices)
    assert len(indices) / (time.process_time() - start) > 10_000
