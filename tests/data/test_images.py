"""Folders of images: modes, sizes, classes and invalid files."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from isthmus.data import load, read_image_folder
from isthmus.data.images import match_channels, read_image, read_images

GREY = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)


def read_one(folder, size=None, dtype=np.uint8):
    X, labels, _ = read_image_folder(folder, size)
    assert X.dtype == dtype
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
    note = "placed 1 of 2 images with transparent pixels on white"
    Image.new("RGBA", (4, 4), (0, 0, 0, 255)).save(tmp_path / "b.png")  # nothing to see through
    assert read_image_folder(tmp_path)[2] == (note,)


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
    dtype, white = (np.float32, 1) if mode == "I;16" else (np.uint8, 255)
    expected = np.zeros((4, 4))
    expected[1, 1] = white
    np.testing.assert_array_equal(read_one(tmp_path, dtype=dtype), expected)


def test_bilevel_images(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path), 255 * (GREY > 100))


DEEP = np.arange(48).reshape(6, 8) * 87  # below 4096: one of 8 bits per 257 levels


@pytest.mark.parametrize(
    ("name", "dtype", "white"),
    [
        ("a.png", np.uint16, 65535),
        ("a.tif", np.uint16, 65535),
        ("a.tif", ">u2", 65535),
        ("a.tif", np.int32, 65535),
        ("a.tif", np.float32, 1),
    ],
)
def test_more_than_8_bits_stay_distinct(tmp_path, name, dtype, white):
    pixels = DEEP / 65535 if white == 1 else DEEP
    Image.fromarray(pixels.astype(dtype)).save(tmp_path / name)
    X, _, notes = read_image_folder(tmp_path)
    assert X.dtype == np.float32
    assert len(np.unique(X)) == 48  # 17 or fewer in 8 bits
    np.testing.assert_allclose(X[0], DEEP / 65535, rtol=1e-6)
    assert "read 1 of 1 images with more than 8 bits; all images become floats in [0, 1]" in notes
    assert notes[-1].startswith("the brightest pixel is 0.0624 of white")


def test_zero_is_white_in_a_tiff_that_says_so(tmp_path):
    pixels = DEEP.astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_image_folder(tmp_path)[0][0], 1 - DEEP / 65535, rtol=1e-6)


def test_images_of_8_and_16_bits_share_one_scale(tmp_path):
    Image.new("RGB", (8, 6), (255, 51, 0)).save(tmp_path / "a.png")
    Image.fromarray((DEEP * 16).astype(np.uint16)).save(tmp_path / "b.png")
    X, _, notes = read_image_folder(tmp_path, (6, 8))
    assert X.shape == (2, 3, 6, 8)
    np.testing.assert_allclose(X[0, :, 0, 0], [1, 0.2, 0])
    np.testing.assert_allclose(X[1], np.stack([DEEP * 16 / 65535] * 3), rtol=1e-6)
    assert notes[0].startswith("read 1 of 2 images with more than 8 bits")


def test_16_bits_are_resized_and_padded_with_white(tmp_path):
    Image.fromarray(np.full((4, 8), 1000, np.uint16)).save(tmp_path / "a.png")
    X, _, notes = read_image_folder(tmp_path, 4)
    np.testing.assert_allclose(X[0, :, 0], [1, 1000 / 65535, 1000 / 65535, 1], rtol=1e-6)
    assert "resized 1 of 1 images to 4x4 (height x width)" in notes


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (GREY.astype(np.float32) - 5, "run from -5 to 230, but must be within 0 to 1;"),
        (GREY.astype(np.int32) * 1000, "run from 0 to 235000, but must be within 0 to 65535;"),
        (np.full((4, 4), np.nan, np.float32), "run from nan to nan"),
        (np.full((4, 4), -3.4e38, np.float32), "must be within 0 to 1"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif: .*{message}"):
        read_image_folder(tmp_path)


def write_16_bit_png(path, pixels, colour_type):
    """Write an RGB (2) or grey and alpha (4) PNG of 16 bits, which Pillow cannot."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width, _ = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def write_tiff(path, bits):
    """Write a TIFF of one pixel; bands after the third have no meaning."""
    n, values = len(bits), bytes(range(len(bits) * 2))
    tags = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, n, 200), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 300), (277, 3, 1, n), (278, 3, 1, 1), (279, 4, 1, sum(bits) // 8)]
    tags += [(338, 3, 1, 0)] * (n > 3)
    directory = struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        directory += struct.pack("<HHII", tag, kind, count, value)
    content = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    content = content.ljust(200, b"\0") + struct.pack(f"<{n}H", *bits)
    path.write_bytes(content.ljust(300, b"\0") + values)


@pytest.mark.parametrize("colour_type", [2, 4])
def test_what_pillow_cuts_to_8_bits_is_noted(tmp_path, colour_type):
    pixels = np.full((4, 4, {2: 3, 4: 2}[colour_type]), 60000)
    write_16_bit_png(tmp_path / "a.png", pixels, colour_type)
    X, _, notes = read_image_folder(tmp_path)
    assert X.dtype == np.uint8
    assert any(note.startswith("read 1 of 1 images with 16 bits per colour at 8") for note in notes)


def test_bits_and_bands_of_tiff_that_are_left_out_are_noted(tmp_path):
    write_tiff(tmp_path / "a.tif", [16, 16, 16])
    write_tiff(tmp_path / "b.tif", [8, 8, 8, 8])
    X, _, notes = read_image_folder(tmp_path)
    assert X.shape == (2, 3, 1, 1)
    assert notes == (
        "left out the bands after the third of 1 of 2 images",
        "read 1 of 2 images with 16 bits per colour at 8 bits, which is all that Pillow reads",
    )


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_one(tmp_path)[:, 0, 0].tolist() == [255, 0, 0]
    assert read_image_folder(tmp_path)[2] == ("converted 1 of 1 images from CMYK to RGB",)


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


@pytest.mark.parametrize("extension", ["gif", "tif", "png", "webp"])
def test_every_page_and_frame_is_an_image(tmp_path, extension):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200, 90)]
    options = {"lossless": True} if extension == "webp" else {}
    more = frames[1:]
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=more, **options)
    frames[1].save(tmp_path / "b.png")
    images = read_images(tmp_path)
    assert images.X[:, 0, 0].tolist() == [10, 200, 90, 200]
    assert images.notes == ("read 3 pages or frames of 1 of 2 files as images",)
    assert images.ids["file"].tolist() == [f"a.{extension}"] * 3 + ["b.png"]
    assert images.ids["page"].tolist() == [1, 2, 3, 1]
    assert load(tmp_path).groups.tolist() == [0, 0, 0, 1]  # held out together
    with pytest.raises(ValueError, match=r"expected one image, got 3 pages or frames"):
        read_image(tmp_path / f"a.{extension}")


def test_previews_and_reduced_copies_are_left_out(tmp_path):
    page, small = Image.new("L", (8, 8), 9), Image.new("L", (2, 2), 7)
    small.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    page.convert("RGB").save(tmp_path / "b.jpg", "MPO", save_all=True, append_images=[small])
    images = read_images(tmp_path)
    assert images.X.shape == (2, 8, 8)
    assert images.notes == (
        "left out previews, reduced copies or masks in a.tif: 1",
        "left out previews, reduced copies or masks in b.jpg: 1",
    )


def test_pages_of_other_sizes_are_checked_and_resized(tmp_path, monkeypatch):
    pages = [Image.new("L", (4, 4)), Image.new("L", (20, 20))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert read_images(tmp_path, 4).X.shape == (2, 4, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"a\.tif: expected at most 100 pixels"):
        read_images(tmp_path, 4)


def test_the_most_common_size_is_the_default(tmp_path):
    for name, size in {"a": (8, 8), "b": (4, 4), "c": (4, 4), "d": (2, 4)}.items():
        Image.new("L", size, 0).save(tmp_path / f"{name}.png")
    X, _, notes = read_image_folder(tmp_path)
    assert X.shape == (4, 4, 4)
    assert notes == ("resized 2 of 4 images to 4x4 (height x width)",)
    assert X[3].tolist() == [[255, 0, 0, 255]] * 4  # padded with white, not stretched


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(200, 1), (1, 300), (400, 2)])
def test_lines_become_one_pixel_thick(tmp_path, shape, dtype):
    Image.fromarray(np.zeros(shape, dtype)).save(tmp_path / "a.png")
    X, _, _ = read_image_folder(tmp_path, 8)
    assert (X[0] == 0).sum() == 8
    assert (X[0] == (255 if dtype == np.uint8 else 1)).sum() == 56


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


def test_channels_follow_the_model():
    grey, red = np.full((2, 4, 4), 9, np.uint8), np.zeros((2, 3, 4, 4), np.uint8)
    red[0, 0] = 255
    X, note = match_channels(grey, (3, 4, 4))
    assert (X.shape, note) == ((2, 3, 4, 4), None)
    assert (X == 9).all()
    X, note = match_channels(red, (4, 4))
    assert (X[0] == 76).all()  # the luminance of red
    assert note == "converted 1 of 2 images from colour to grey, as the model takes"
    assert match_channels(red / 255, (1, 4, 4))[0].shape == (2, 1, 4, 4)
    assert match_channels(grey, (5, 5))[0] is grey  # another size is an error, later
