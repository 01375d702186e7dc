"""Folders of images: modes, sizes, classes and invalid files."""

import numpy as np
import pytest
from PIL import Image

from isthmus.data import read_image_folder

GREY = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)


def read_one(folder, size=None):
    X, labels, _ = read_image_folder(folder, size)
    assert X.dtype == np.uint8
    assert X.flags.c_contiguous
    assert labels is None
    return X[0]


@pytest.mark.parametrize("extension", ["png", "bmp", "gif", "tif", "tiff", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_grey_images_stay_grey_in_every_lossless_format(tmp_path, extension, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(read_one(tmp_path), GREY)


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "webp"])
def test_lossy_formats(tmp_path, extension):
    Image.new("L", (8, 6), 100).save(tmp_path / f"a.{extension}")
    np.testing.assert_allclose(read_one(tmp_path).astype(int), 100, atol=3)


def test_one_colour_image_makes_all_rgb(tmp_path):
    Image.new("RGB", (8, 6), (255, 0, 10)).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.png")
    X, *_ = read_image_folder(tmp_path)
    assert X.shape == (2, 3, 6, 8)
    assert X[0, :, 0, 0].tolist() == [255, 0, 10]
    for channel in X[1]:
        np.testing.assert_array_equal(channel, GREY)


def test_transparency_becomes_white(tmp_path):
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    half.putpixel((0, 0), (255, 0, 0, 0))
    half.putpixel((1, 0), (255, 0, 0, 255))
    half.save(tmp_path / "a.png")
    X = read_one(tmp_path)
    assert X[:, 0, 0].tolist() == [255, 255, 255]  # not the red beneath
    assert X[:, 0, 1].tolist() == [255, 0, 0]
    assert X[:, 3, 3].tolist() == [204, 204, 204]


@pytest.mark.parametrize("mode", ["LA", "P", "1", "L", "I;16"])
def test_transparency_of_other_modes(tmp_path, mode):
    black_and_clear = Image.new("LA", (4, 4), (0, 255))
    black_and_clear.putpixel((1, 1), (0, 0))
    options: dict = {}
    image = black_and_clear
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.putpixel((1, 1), 1)
        options = {"transparency": b"\xff\x00"}
    elif mode != "LA":
        clear = {"1": 1, "L": 7, "I;16": 700}[mode]
        image = Image.new(mode, (4, 4), 0)
        image.putpixel((1, 1), clear)
        options = {"transparency": clear if mode != "1" else 255}
    image.save(tmp_path / "a.png", **options)
    expected = np.zeros((4, 4))
    expected[1, 1] = 255
    np.testing.assert_array_equal(read_one(tmp_path), expected)


def test_bilevel_images(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path), 255 * (GREY > 100))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path, extension):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(read_one(tmp_path), GREY)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(tmp_path, dtype):
    Image.fromarray(GREY.astype(dtype) * 1000 - 5).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .* do not have 8 or 16 bits"):
        read_image_folder(tmp_path)


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_one(tmp_path)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "tif lzw"])
def test_exif_orientation_is_applied(tmp_path, extension):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    stripes = np.zeros((16, 32), dtype=np.uint8)
    stripes[8:] = 255  # white below becomes white at the left
    extension, *compression = extension.split()
    options = {"compression": "tiff_lzw"} if compression else {}
    Image.fromarray(stripes).save(tmp_path / f"a.{extension}", exif=exif, **options)
    X = read_one(tmp_path)
    assert X.shape == (32, 16)
    assert X[:, :7].min() > 245
    assert X[:, 9:].max() < 10


def test_animations_give_their_first_frame(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_one(tmp_path) == 10).all()


def test_the_most_common_size_is_the_default(tmp_path):
    for name, size in {"a": (8, 8), "b": (4, 4), "c": (4, 4), "d": (2, 4)}.items():
        Image.new("L", size, 0).save(tmp_path / f"{name}.png")
    X, _, notes = read_image_folder(tmp_path)
    assert X.shape == (4, 4, 4)
    assert notes == ("resized 2 of 4 images to 4x4 (height x width)",)
    assert X[3].tolist() == [[255, 0, 0, 255]] * 4  # padded with white, not stretched


@pytest.mark.parametrize(("size", "shape"), [(5, (5, 5)), ((3, 9), (3, 9)), ([2, 4], (2, 4))])
def test_a_given_size(tmp_path, size, shape):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    X, _, notes = read_image_folder(tmp_path, size)
    assert X.shape == (1, *shape)
    assert notes == (f"resized 1 of 1 images to {shape[0]}x{shape[1]} (height x width)",)
    assert read_image_folder(tmp_path, (6, 8))[2] == ()


@pytest.mark.parametrize("size", [0, -3, (4, 0), (4,), (1, 2, 3), 2.5, "64", True])
def test_bad_sizes(tmp_path, size):
    with pytest.raises(ValueError, match="size must be one or two positive whole numbers"):
        read_image_folder(tmp_path, size)


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)


def test_subfolders_are_classes(tmp_path):
    for value, name in enumerate(["dogs/b.png", "cats/z.png", "dogs/a.png", "cats/deep/y.png"]):
        save(tmp_path / name, value)
    (tmp_path / "empty").mkdir()
    X, labels, notes = read_image_folder(tmp_path)
    assert X[:, 0, 0].tolist() == [3, 1, 2, 0]
    assert labels.tolist() == ["cats", "cats", "dogs", "dogs"]
    assert labels.dtype.kind == "U"
    assert notes == ()


def test_images_outside_subfolders_have_an_empty_label(tmp_path):
    save(tmp_path / "cats" / "a.png")
    save(tmp_path / "b.png")
    _, labels, notes = read_image_folder(tmp_path)
    assert labels.tolist() == ["", "cats"]
    assert notes == ("images in no subfolder, with an empty label: 1",)


def test_other_files_are_noted_and_hidden_ones_skipped(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / ".hidden" / "b.png")
    for name in ("readme.txt", ".DS_Store", "._a.png"):
        (tmp_path / name).write_text("no image")
    X, labels, notes = read_image_folder(tmp_path)
    assert len(X) == 1
    assert labels is None
    assert notes == ("skipped files that are not images: 1",)


def test_links_out_of_the_folder_are_skipped(tmp_path):
    save(tmp_path / "inside" / "a.png")
    save(tmp_path / "outside" / "secret.png")
    root = tmp_path / "inside"
    (root / "b.png").symlink_to(root / "a.png")
    (root / "c.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "d").symlink_to(tmp_path / "outside")
    (root / "e").symlink_to(root)
    X, labels, notes = read_image_folder(root)
    assert len(X) == 2
    assert labels is None
    assert notes == ("skipped links to other folders: 3",)


def damaged_png(tmp_path):
    save(tmp_path / "good.png")
    return (tmp_path / "good.png").read_bytes()[:-30]


def eps(tmp_path):
    """Return an EPS file, for which Pillow would run Ghostscript."""
    Image.new("L", (4, 4)).save(tmp_path / "good.eps")
    return (tmp_path / "good.eps").read_bytes()


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("content", [b"", b"no image", damaged_png, eps])
def test_invalid_images_are_named(tmp_path, content, size):
    content = content(tmp_path) if callable(content) else content
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png: expected a valid image") as caught:
        read_image_folder(tmp_path, size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [11, 20])  # Pillow itself warns of the one, refuses the other
@pytest.mark.parametrize("size", [None, 4])
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, side, size):
    Image.new("L", (side, side)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb\.png: expected at most 100 pixels"):
        read_image_folder(tmp_path, size)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"expected images .*png.*, found none"):
        read_image_folder(tmp_path)


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder of images"):
        read_image_folder(tmp_path / "nowhere")
