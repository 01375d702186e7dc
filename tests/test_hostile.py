"""Untrusted files: they run no code, allocate little memory and raise a one-line error."""

import base64
import contextlib
import gzip
import io as streams
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save, save_file

import isthmus
from isthmus import data
from isthmus.applications.anomaly_detection import AnomalyDetector
from isthmus.applications.compression import CompressedCodes
from isthmus.applications.generation import LatentSampler
from isthmus.applications.retrieval import LatentIndex
from isthmus.bulk.files import find_files
from isthmus.data import limits
from isthmus.data.audio import read_audio_folder
from isthmus.data.columns import Columns
from isthmus.data.parquet_limits import uncompressed_size
from isthmus.data.wav import AudioClip, read_wav, resample, wav_bytes, write_wav
from isthmus.persistence.integrity import with_checksums
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS, read_columns

ROWS = np.random.default_rng(0).random((60, 4))
SMALL = {"n_components": 2, "hidden": (4,), "epochs": 1, "random_state": 0}


@contextlib.contextmanager
def limited(seconds=6.0, megabytes=500):
    """Check that a block uses little CPU time, including first imports, and little memory."""
    before, start = _peak(reset=True), time.process_time()
    yield
    assert time.process_time() - start < seconds
    assert _peak() - before < megabytes


def _peak(reset=False):
    """Return the peak memory of this process in megabytes; `reset` restarts it if possible."""
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check_raises(read, *args, match=None, error=ValueError):
    """Check that a reader raises a one-line error within the limits, and return the message."""
    with limited(megabytes=250), pytest.raises(error, match=match) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
    return str(caught.value)


def npy_header(shape, dtype="<f8"):
    stream = streams.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def zip_of(members, method=zipfile.ZIP_DEFLATED):
    stream = streams.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _zigzag(n, length=0):
    """Return a Thrift varint, padded to a length."""
    n, out = 2 * n, []
    while n >= 128 or len(out) + 1 < length:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


ZEROS = 100 * 2**20
DEEP = b"[" * 100_000


# Found by fuzzing: these column metadata abort the process in pyarrow ("terminate called").
ABORTS_PYARROW = (
    "c-nPVQE%Ev5VmO!<)W%es~UlnhX^UCC$&A}gfvt+RcjKADWQcV*!XmcytXk;Y{S_mK+^n!`w#bYZ}$`Kp%3>T?l;_9"
    "A5OZblWukm1Oi<FJ3BM`%{Q~VBR-;Lo?GKKxy>4v;FxC&9UG}H?|x;tXWX-w)R^RwTj}-K_T^nHtuvdS|Nif<e;2hx"
    "dioTm1biQ{Y=QxR=iKueOaz?;^@#k8xd-_B%nNp$W=FH#Yb^T+C~;4?C&Y`1S+H!HWm4cv=6PRkEmJEn>11ehEl=l?"
    "47agkq*<Ne9`7X5Y`DYJw!o8P$O<#5waixLFvo0h8<_%=+{}P02invhEPQf%x%H)tiIhsbSYMfOCguqFGLTS$Is7h}"
    "$t4Ik665hSMo43PN`1=x!{+{E=d)fy0E&RYtW7YO%ubR42uvZ)QfIl(iNmFOWWbT4Py%#w>X%2UwcI*P5F?%J>%OUn"
    ">EFJ&%{snmjV_FyJMjE4`*!=s+w2wSK*|QXZ(G@y+gV@tEKv9Z*M(IW=|Kcbp31#GhyoQYBIfUYf<=sXLBXvF>>^6X"
    "v0U?FQ5Vy?h{k=Q%np3V=$SEtf!80;3}F-yrDsLDsYg1fZnKsTzK(Ab`}tY<)j{@dj>#g0te$<yAXYsf&~bZuw7<7Z"
    "V9qc{f@E>`a{E3^xEv;25ysFX%kBk^p}WhW96vf(N)}u$rn_i)$pQ2N(+Vtdavj|bt-A#(c$o@bK?V1ED>zKG4|65;"
    ")uSkI@F1czZtqCN151y30VV1>IM9PJ0qKwRAm|MV&b1YUPR}P=VgEJ%I-k9}r!r^UeVr#ZCjA&Sn;(?7@w-m{zVSU7"
    "Mf(UL)IjlgkI)_xZB$0cMkSl-L~+4BB=hmiULTg?^%RBLWipF&CQc=uOd>@%2Y+#2_S}Icwf0n@evK=w2>U0_2S>!#"
    "xEkn6;Yz;j*|J~lV$XDCXK2e_p^KGs;xjOnQCKS>$JlLl4Zi_8G@Pujjgq`CAIYIys@|AVYe;ZT)VxXTZJ`*NN`9aU"
    "acoVU#T>Miyi0s>y%pjTiKq27Wpt$qE8<FJ*k8U;cbf%6A~xihN}&(<SK29!4ZiuI)hhCqD!Oqlb>48OEz;Cx7xwe*"
    "Q{Y+&9Ze}*Vxif`o<Xr%t)^5vvz^WZ-o_aG%h8+rT7WH%=jlo-)XK$K9<q1re2uH-jjr2jL#UU&!qwA4ER^~BWrJd1"
    "rNy_EX4jOCXLabD4(<86$#8zeSMyvKOU(}U%8^F$gL9zg=ZkQba9;WOICa2m`FOVqwJV2{bIxN`EX?zT`@nxFt*#yR"
    "TM^u$8BTnrXiRzUR<AU*>T2XpNLm+H>TXBnL%Q#tpA*M@c-~Ok_`HT~xQ}hM-Z3lgaJmNz#oe#*ZF|LQyo#>`zS5|u"
    "o|1iK-mF00ev6;n!#5qOua7mQ%ws?&I@ue6PZjR@6~#6xF38nub1a9IQdNNbZgizMp!K|zh1w+=oSasRi)XL7hF|Yv"
    "VUJ>*jQ2*h%VVcQ-)oyZ@kx#+Ad_$W@;}ZVwRk{U1?>f0sywHS0nG*#+ho`KGw?iUkR}2TT|&q}M+8J{Oqv9YX5)O;"
    "F2rd+nGPa~H$*DY{(&Za1Q8rW`pFSp8^k`{Gxa;3pwf7A@u$XkG)}0Kbl<elOq7lZb(z#fv?qES{lKKR`+D&6z=~cO"
    "{r)T3gtsS6b~|prnM3$n6n~hbZyDwz{3HAy>wU&*"
)


class TestBombs:
    def test_gzip(self, tmp_path):
        head = bytes([0, 0, 8, 1]) + struct.pack(">I", ZEROS)
        packer = zlib.compressobj(9, wbits=31)
        blocks = [packer.compress(head)] + [packer.compress(bytes(2**20)) for _ in range(100)]
        (tmp_path / "bomb").write_bytes(b"".join(blocks) + packer.flush())
        message = check_raises(data.read_idx, tmp_path / "bomb", match="would become 104,857,600")
        assert "ISTHMUS_MAX_BYTES=104857600" in message

    def test_gzip_is_read_if_its_size_is_allowed(self, tmp_path, monkeypatch):
        n = limits.FREE_BYTES + 1
        head = bytes([0, 0, 8, 1]) + struct.pack(">I", n)
        (tmp_path / "zeros").write_bytes(gzip.compress(head + bytes(n), 1))
        check_raises(data.read_idx, tmp_path / "zeros", match="would become")
        monkeypatch.setenv(limits.ENV_VARIABLE, str(n))
        assert data.read_idx(tmp_path / "zeros").shape == (n,)

    def test_npz(self, tmp_path):
        content = npy_header((ZEROS // 8,)) + bytes(ZEROS)
        (tmp_path / "bomb.npz").write_bytes(zip_of({"X.npy": content}))
        check_raises(data.load, tmp_path / "bomb.npz", match="would become 104,8")
        (tmp_path / "bomb.npy").write_bytes((tmp_path / "bomb.npz").read_bytes())  # wrong suffix
        check_raises(data.load, tmp_path / "bomb.npy", match="would become 104,8")

    def test_codes(self, tmp_path):
        arrays = {"low": np.zeros(1), "high": np.ones(1)}
        meta = {"format": 1, "n_rows": ZEROS, "bits": 8, "coding": "zlib", "model": "x"}
        for name, payload in (
            ("a", zlib.compress(bytes(ZEROS))),
            ("b", bytes(ZEROS)),
        ):
            arrays["payload"] = np.frombuffer(payload, np.uint8)
            arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
            check_raises(CompressedCodes.load, tmp_path / f"{name}.npz", match="become")

    @pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
    def test_unsupported_zip_compression(self, tmp_path, method):
        content = zip_of({"X.npy": npy_header((1,)) + bytes(8)}, method)
        (tmp_path / "a.npz").write_bytes(content)
        check_raises(data.load, tmp_path / "a.npz")

    def test_zip_with_a_false_directory(self, tmp_path):
        content = bytearray(zip_of({"X.npy": npy_header((ZEROS // 8,)) + bytes(ZEROS)}))
        directory = content.index(b"PK\x01\x02")
        content[directory + 24 : directory + 28] = struct.pack("<I", 1000)
        (tmp_path / "a.npz").write_bytes(content)
        check_raises(data.load, tmp_path / "a.npz", match="damaged")

    @pytest.mark.parametrize(
        ("form", "side"), [("PNG", 5000), ("GIF", 5000), ("TIFF", 5000), ("PNG", 12_000)]
    )
    def test_image(self, tmp_path, form, side):
        options = {"compression": "tiff_adobe_deflate"} if form == "TIFF" else {}
        Image.new("L", (side, side)).save(tmp_path / "a.png", form, **options)
        check_raises(data.read_image_folder, tmp_path, match="would become|pixels, got more")

    def test_images_too_large_in_total(self, tmp_path):
        Image.new("L", (4000, 4000)).save(tmp_path / "0.png")
        for i in range(1, 20):
            os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
        check_raises(data.read_image_folder, tmp_path, 4000, match="20 images: its .* would become")

    def test_text_in_a_png(self, tmp_path):
        def chunk(name, content):
            return (
                struct.pack(">I", len(content))
                + name
                + content
                + struct.pack(">I", zlib.crc32(name + content))
            )

        stream = streams.BytesIO()
        Image.new("L", (2, 2)).save(stream, "PNG")
        good = stream.getvalue()
        text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(ZEROS)))
        (tmp_path / "a.png").write_bytes(good[:33] + text + good[33:])
        with limited(), contextlib.suppress(ValueError):
            data.read_image_folder(tmp_path)

    def test_parquet(self, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        long = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, "i4"), ["a" * 200_000])
        for name, table in {
            "rows": pa.table({"x": pa.array(np.zeros(10**7))}),
            "texts": pa.table({"x": long}),
        }.items():
            pq.write_table(table, tmp_path / f"{name}.parquet", store_schema=False)
            check_raises(data.read_table, tmp_path / f"{name}.parquet", match="would become")

    @pytest.mark.parametrize("compression", [None, "zstd"])
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    @pytest.mark.parametrize("rows", [50, 1000])
    def test_sizes_in_parquet_pages_and_footer_agree(self, tmp_path, compression, version, rows):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rng, path = np.random.default_rng(0), tmp_path / "a.parquet"
        columns = {"a": rng.normal(size=1000), "b": rng.choice(["x", "y" * 9000], 1000)}
        options = {"compression": compression, "data_page_version": version}
        pq.write_table(pa.table(columns), path, row_group_size=rows, data_page_size=500, **options)
        meta = pq.read_metadata(path)
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        expected = sum(g.column(j).total_uncompressed_size for g in groups for j in range(2))
        assert uncompressed_size(path) == expected

    def test_parquet_file_that_aborts_pyarrow(self, tmp_path):
        pytest.importorskip("pyarrow")
        content = zlib.decompress(base64.b85decode(ABORTS_PYARROW))
        (tmp_path / "a.parquet").write_bytes(content)
        check_raises(data.read_table, tmp_path / "a.parquet", match="expected a Parquet file")

    def test_parquet_footer_with_false_sizes(self, tmp_path, monkeypatch):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        content = pa.table({"x": pa.array(["\0" * ZEROS])})
        pq.write_table(content, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
        meta = pq.read_metadata(tmp_path / "a.parquet")
        assert uncompressed_size(tmp_path / "a.parquet") > ZEROS
        whole = (tmp_path / "a.parquet").read_bytes()
        size = meta.row_group(0).total_byte_size
        sizes = [_zigzag(n) for n in (size, meta.row_group(0).column(0).total_uncompressed_size)]
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        false = whole[footer:]
        for text in sizes:
            false = false.replace(text, _zigzag(1000, len(text)))
        (tmp_path / "a.parquet").write_bytes(whole[:footer] + false)
        assert pq.read_metadata(tmp_path / "a.parquet").row_group(0).total_byte_size == 1000
        check_raises(data.read_table, tmp_path / "a.parquet", match="would become")

    def test_audio_with_distant_sampling_rates(self, tmp_path):
        write_wav(tmp_path / "a.wav", AudioClip(np.zeros((1, 100)), 1))
        for name in "bc":
            write_wav(tmp_path / f"{name}.wav", AudioClip(np.zeros((1, 100)), 2**31 - 1))
        check_raises(read_audio_folder, tmp_path, match="would become")
        with pytest.raises(ValueError, match="would become"):
            resample(np.zeros((1, 10)), 44_100, 2**30 + 1)
        assert resample(np.zeros((1, 44_100)), 44_100, 48_000).shape == (1, 48_000)


class TestHeaders:
    @pytest.mark.parametrize(
        "content",
        [
            npy_header((10**12,)),
            npy_header((2**62, 2**62)),
            npy_header((-1, 3)),
            npy_header((10**9,), "<U100000000"),
            npy_header((3,), "|O") + b"\x80\x04K\x01.",
            b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
            b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1),
        ],
    )
    def test_npy(self, tmp_path, content):
        (tmp_path / "a.npy").write_bytes(content)
        check_raises(data.load, tmp_path / "a.npy")
        (tmp_path / "a.npz").write_bytes(zip_of({"X.npy": content}))
        check_raises(data.load, tmp_path / "a.npz")

    def test_npz_member_that_is_not_an_array(self, tmp_path):
        members = {"X": b"no array", "y.npy": npy_header((2,)) + bytes(16)}
        (tmp_path / "a.npz").write_bytes(zip_of(members))
        check_raises(data.load, tmp_path / "a.npz", match="its member X is not an array")

    def test_npz_labels_must_be_numbers_or_strings(self, tmp_path):
        np.savez(tmp_path / "a.npz", X=np.zeros((2, 2)), y=np.zeros(2, [("a", "i4")]))
        check_raises(data.load, tmp_path / "a.npz", match="labels must be numbers or strings")

    def test_wav(self, tmp_path):
        good = wav_bytes(AudioClip(np.zeros((1, 10)), 8000))[0]
        at = good.index(b"data") + 4
        for name, content in {
            "long": good[:at] + struct.pack("<I", 2**32 - 2) + good[at + 4 :],
            "chunks": good[:12] + (b"junk" + bytes(4)) * 200_000 + good[12:],
            "no format": good[:12] + good[at - 4 :],
        }.items():
            (tmp_path / f"{name}.wav").write_bytes(content)
            check_raises(read_wav, tmp_path / f"{name}.wav", match="expected a valid WAV file")

    def test_streamed_wav_without_a_length(self, tmp_path):
        good = wav_bytes(AudioClip(np.zeros((1, 10)), 8000))[0]
        at = good.index(b"data") + 4
        content = good[:at] + b"\xff" * 4 + good[at + 4 :]
        (tmp_path / "a.wav").write_bytes(content)
        with limited(), contextlib.suppress(ValueError):
            assert read_wav(tmp_path / "a.wav").samples.shape == (1, 10)

    def test_tables(self, tmp_path):
        for content, message in {
            b"," * 200_000: "at most 100,000 columns",
            b"a,b\n1,2\n" + b"1\n" * 10: "row 3 has 1",
            b'"' + b"x" * 200_000: "field larger than",
            "a,b\n1,2\n".encode("utf-16"): "UTF-8",
            bytes(range(256)): "UTF-8",
        }.items():
            (tmp_path / "a.csv").write_bytes(content)
            check_raises(data.read_table, tmp_path / "a.csv", match=message)

    def test_long_column_names_give_a_short_one_line_error(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(b'"a\nb",c\n1,2\n')
        columns = data.read_table(tmp_path / "a.csv")[2]
        (tmp_path / "b.csv").write_bytes(b'"x\ny",' + b"z" * 9999 + b"\n1,2\n")
        check_raises(data.read_table, tmp_path / "b.csv", None, columns, match="columns differ")


class TestPaths:
    def test_image_links_out_of_the_folder_are_not_followed(self, tmp_path):
        outside, inside = tmp_path / "outside", tmp_path / "inside"
        for folder in (outside, inside):
            folder.mkdir()
            Image.new("L", (4, 4)).save(folder / "own.png")
        (inside / "link.png").symlink_to(outside / "own.png")
        (inside / "all").symlink_to(outside)
        (inside / "same.png").symlink_to(inside / "own.png")
        X, _, notes = data.read_image_folder(inside)
        assert len(X) == 2
        assert notes == ("skipped links to other folders: 2",)

    def test_audio_links_out_of_the_folder_are_not_followed(self, tmp_path):
        outside, inside = tmp_path / "outside.wav", tmp_path / "inside"
        inside.mkdir()
        for path in (outside, inside / "own.wav"):
            write_wav(path, AudioClip(np.zeros((1, 20)), 8000))
        (inside / "link.wav").symlink_to(outside)
        sounds = read_audio_folder(inside, 10)
        assert set(sounds.files) == {0}
        assert sounds.notes == ("skipped links to other folders: 1",)

    def test_parquet_links_out_of_the_folder_are_not_followed(self, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet")
        pa = pytest.importorskip("pyarrow")
        inside = tmp_path / "in"
        inside.mkdir()
        for path in (inside / "own.parquet", tmp_path / "secret.parquet"):
            parquet.write_table(pa.table({"a": [1.0, 2.0]}), path)
        (inside / "link.parquet").symlink_to(tmp_path / "secret.parquet")
        (inside / "same.parquet").symlink_to(inside / "own.parquet")
        (inside / "hop").symlink_to(tmp_path)
        (inside / "nested.parquet").symlink_to("hop/secret.parquet")
        read = data.load(inside)
        assert len(read.X) == 4
        assert read.notes == ("skipped links to other folders: 2",)
        with pytest.warns(UserWarning, match="in: skipped links to other folders: 2"):
            found = find_files([str(inside)])
        assert {path.resolve().name for path in found} == {"own.parquet"}
        for name in ("own.parquet", "same.parquet"):
            (inside / name).unlink()
        with pytest.raises(ValueError, match="expected Parquet files, found none"):
            data.load(inside)

    @pytest.mark.parametrize("suffix", ["npy", "csv", "npz"])
    def test_bulk_inputs_that_are_links_out_of_the_folder_are_skipped(self, tmp_path, suffix):
        inside = tmp_path / "in"
        inside.mkdir()
        for path in (inside / f"own.{suffix}", tmp_path / f"secret.{suffix}"):
            path.write_bytes(b"1,2\n")
        (inside / f"link.{suffix}").symlink_to(tmp_path / f"secret.{suffix}")
        (inside / f"pipe.{suffix}").symlink_to("/dev/zero")
        os.mkfifo(inside / f"fifo.{suffix}")
        with pytest.warns(UserWarning, match="skipped links to other folders: 1"):
            assert find_files([str(inside)]) == [inside / f"own.{suffix}"]

    @pytest.mark.parametrize("name", ["c/0/0", "zarr.json", "c"])
    def test_zarr_links_out_of_the_folder_are_refused(self, tmp_path, name):
        zarr = pytest.importorskip("zarr")
        store = tmp_path / "a.zarr"
        zarr.create_array(store, shape=(4, 2), chunks=(4, 2), dtype="f4")[:] = np.ones((4, 2))
        (store / name).rename(tmp_path / "elsewhere")
        (store / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=f"a.zarr: .*{name}.* is a link out"):
            data.load(store)

    def test_named_pipes_do_not_block(self, tmp_path):
        for name in ("a.npy", "a.png", "a.wav", "a.csv", "a.parquet", "a.npz", "model.safetensors"):
            os.mkfifo(tmp_path / name)
        for name in ("a.npy", "a.csv", "a.npz", "a.parquet"):
            check_raises(data.load, tmp_path / name, error=(ValueError, FileNotFoundError))
        check_raises(read_wav, tmp_path / "a.wav", error=FileNotFoundError)
        check_raises(data.read_image_folder, tmp_path, match="found none")
        check_raises(read_audio_folder, tmp_path, match="found none")
        check_raises(CompressedCodes.load, tmp_path / "a.npz", error=FileNotFoundError)

    def test_names_in_an_archive_create_no_files(self, tmp_path):
        content = npy_header((1, 1)) + bytes(8)
        (tmp_path / "a.npz").write_bytes(zip_of({"../../X.npy": content, "/tmp/y.npy": content}))
        before = sorted(tmp_path.parent.iterdir())
        check_raises(data.load, tmp_path / "a.npz", match="an array named X")
        assert sorted(tmp_path.parent.iterdir()) == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    isthmus.VAE(**SMALL).fit(ROWS).save(folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def run(saved, tmp_path):
    for name, content in saved.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def change(folder, *path, value):
    """Change an entry of config.json and update its checksum, as an attacker would."""
    file = folder / CONFIG
    config = json.loads(file.read_text())
    sums = config.pop("sha256")
    sums.pop("this file")
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    config = with_checksums(config, {})
    file.write_text(json.dumps(config))


HUGE = [2**31, 10**12, 2**63, 10**400]
CHANGES = [
    *((("params", "n_components"), n) for n in HUGE),
    *((("params", "hidden"), [n]) for n in HUGE),
    (("params", "hidden"), [4] * 100_000),
    (("params", "hidden"), [[4]]),
    (("params", "random_state"), 10**400),  # found by fuzzing
    (("params", "hidden"), [0] * 1000),  # found by fuzzing: the message quoted all of it
    (("params", "hidden"), [10**9, 10**9]),
    *((("fitted", "feature_shape"), [n]) for n in HUGE),
    (("fitted", "feature_shape"), [4.0]),
    (("fitted", "feature_shape"), [1] * 40),
    (("fitted", "feature_shape"), -4),
    *((("fitted", "n_features_in"), n) for n in (*HUGE, 5, None, "4", True)),
    (("fitted", "likelihood"), "categorical:1000000000"),
    (("fitted", "likelihood"), "categorical:" + "9" * 5000),
    (("fitted", "likelihood"), "x" * 1_000_000),
    (("fitted", "likelihood"), ",".join(f"categorical:{i}" for i in range(2, 100_000))),
    (("fitted", "likelihood"), None),
    (("fitted", "scaling"), "os.system"),
    (("fitted", "n_iter"), float("nan")),
    (("fitted", "feature_names_in"), ["a"]),
    (("fitted", "feature_names_in"), [1, 2, 3, 4]),
    (("fitted", "context"), {"classes": list(range(10**5)), "n_numbers": 0}),
    (("fitted", "context"), {"classes": [[1], [2]], "n_numbers": 0}),
    (("fitted", "context"), {"classes": None, "n_numbers": 10**12}),
    (("fitted", "context"), {"classes": None, "n_numbers": 2, "scale": [0, 0]}),
    (("fitted", "columns"), {"library": "antigravity", "columns": []}),
    (("fitted", "columns"), []),
    (("estimator",), "os.system"),
    (("estimator",), "isthmus.estimators.VAE"),
    (("estimator",), ["vae"]),
    (("estimator",), "x" * 10**6),
    (("params",), None),
    (("params", "nonlinearity"), "x" * 10**6),
    (("params", "backbone"), "os.system"),
    (("params", "backbone"), {"custom": True}),
    (("params", "learning_rate"), float("inf")),
    (("params", "x" * 10**6), 1),
    (("data",), []),
    (("data",), {"name": ["x"]}),
    (("versions",), {"torch": []}),
    (("held_out",), {"a": {"b": 1}}),
    (("format",), 10**400),
]


@pytest.mark.parametrize(("path", "value"), CHANGES, ids=lambda v: repr(v)[:40])
def test_excessive_or_invalid_configuration_raises(run, path, value):
    change(run, *path, value=value)
    check_raises(isthmus.load, run)


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior_family": "flow", "n_components": 10**5},
        {"prior": "flow", "n_components": 10**5},
        {"posterior_family": "flow", "hidden": [10**9]},
        {"backbone": "spectral"},
        {"backbone": "pyramid"},
        {"backbone": "conv1d", "kernel_size": 10**9 + 1},
        {"prior": "vamp", "prior_modes": 10**9},
        {"prior": "mixture", "prior_modes": 10**9},
        {"posterior_family": "full-normal", "n_components": 10**9},
    ],
    ids=str,
)
def test_excessive_settings_of_other_parts_raise(run, settings):
    config = json.loads((run / CONFIG).read_text())
    config["params"] |= settings
    config["fitted"] |= {"feature_shape": [2**28], "n_features_in": 2**28}
    del config["sha256"]
    (run / CONFIG).write_text(json.dumps(config))
    check_raises(isthmus.load, run)


@pytest.mark.parametrize(
    "entries",
    [
        {("fitted", "feature_shape"): [2**30], ("fitted", "n_features_in"): 2**30},
        {("fitted", "likelihood"): "categorical:1000000000"},
        {("params", "n_components"): 10**9},
        {("params", "n_components"): 10**5, ("params", "posterior_family"): "flow"},
        {("params", "prior"): "vamp", ("params", "prior_modes"): 10**9},
    ],
)
def test_custom_backbone_is_not_called_for_a_false_size(run, entries):
    change(run, "params", "backbone", value={"custom": True})
    for path, value in entries.items():
        change(run, *path, value=value)
    found = "not of shape" if ("fitted", "feature_shape") in entries else "would become"
    with limited(), pytest.raises(ValueError, match=found):
        isthmus.load(run, backbone=lambda shapes: pytest.fail("was called"))


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        b'{"a":' * 100_000,
        b"[" + b"{}," * 600_000 + b"{}]",
        b"9" * 10_000,
        b"\xff\xfe\x00",
        b"null",
        b" " * 2**25,
        b'{"format": 1, "format": [',
    ],
    ids=lambda c: repr(c[:12]),
)
def test_invalid_json_raises(run, content):
    (run / CONFIG).write_bytes(content)
    check_raises(isthmus.load, run)
    check_raises(read_columns, run)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", len(DEEP)) + DEEP,
        struct.pack("<Q", 2) + b"{}",
        b"\x80\x04\x95",
        (lambda h: struct.pack("<Q", len(h)) + h)(
            b'{"model.x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
        ),
        save({"model.x": torch.zeros(3, dtype=torch.bfloat16)}),
    ],
    ids=lambda c: repr(c[:12]),
)
def test_invalid_weights_raise(run, content):
    (run / WEIGHTS).write_bytes(content)
    check_raises(isthmus.load, run, match="holds no valid model")
    change(run, "data", "name", value="x")  # without the checksum of the weights
    check_raises(isthmus.load, run, match="holds no valid model")


@pytest.mark.parametrize("shift", [np.zeros(9), np.full(4, np.nan), np.zeros((2, 2))])
def test_scaling_of_another_shape_raises(run, shift):
    tensors = load_file(run / WEIGHTS)
    save_file(tensors | {"scaler.shift": torch.tensor(shift)}, run / WEIGHTS)
    change(run, "data", "name", value="x")
    check_raises(isthmus.load, run, match="scaling")


def test_pickles_are_not_loaded(run):
    marker = run / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    import pickle

    (run / WEIGHTS).write_bytes(pickle.dumps(Evil()))
    check_raises(isthmus.load, run)
    torch.save(Evil(), run / WEIGHTS)
    check_raises(isthmus.load, run)
    np.save(run / "a.npy", np.array([Evil()], object), allow_pickle=True)
    check_raises(data.load, run / "a.npy")
    np.savez(run / "a.npz", X=np.array([Evil()], object))
    check_raises(data.load, run / "a.npz")
    check_raises(CompressedCodes.load, run / "a.npz")
    assert not marker.exists()


def test_names_in_a_file_import_no_module(run):
    (run / "evil_module.py").write_text("raise SystemExit('ran')")
    good = {"name": "a", "kind": "number", "dtype": "float64"}
    for saved in (
        {"library": "evil_module", "columns": [good]},
        {"library": "pandas", "columns": [good | {"dtype": "U999999999"}]},
        {"library": "pandas", "columns": [good | {"kind": "date"}]},
        {"library": "pandas", "columns": [good | {"categories": ["a"]}]},
        {"library": "pandas", "columns": [good | {"low": float("nan"), "high": 1.0}]},
        {"library": "pandas", "columns": [good | {"name": {"a": 1}}]},
        {"library": "pandas", "columns": [good | {"more": 1}]},
        {"library": "pandas", "columns": [good | {"kind": "category", "categories": [[1]]}]},
        {"library": "pandas", "columns": good},
        [],
    ):
        check_raises(Columns.from_json, saved, match="columns:")


def test_polars_dtype_must_be_a_type(tmp_path):
    pytest.importorskip("polars")
    column = {"name": "a", "kind": "number", "dtype": "read_csv"}
    columns = Columns.from_json({"library": "polars", "columns": [column]})
    check_raises(columns.to_frame, np.zeros((1, 1)), match="no type 'read_csv'")


# ---------------------------------------------------------------------- damage


def flip(content, bit):
    out = bytearray(content)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def equal(a, b):
    return (
        a.get_params() == b.get_params()
        and a.history_ == b.history_
        and all(torch.equal(v, b.model_.state_dict()[k]) for k, v in a.model_.state_dict().items())
        and np.array_equal(a.scaler_.shift, b.scaler_.shift)
        and np.array_equal(a.scaler_.scale, b.scaler_.scale)
        and a.feature_shape_ == b.feature_shape_
        and a.n_iter_ == b.n_iter_
    )


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, HISTORY])
def test_flipped_bit_is_detected_or_harmless(run, saved, name):
    whole = isthmus.load(run)
    content, outcomes = saved[name], []
    bits = np.random.default_rng(0).choice(8 * len(content), 200, replace=False)
    for bit in bits:
        (run / name).write_bytes(flip(content, int(bit)))
        try:
            again = isthmus.load(run)
        except (ValueError, FileNotFoundError) as error:
            outcomes.append("detected" if "\n" not in str(error) else "several lines")
        else:
            assert equal(again, whole)
            outcomes.append("equal")
    assert set(outcomes) <= {"detected", "equal"}
    assert outcomes.count("detected") > (0.95 if name != CONFIG else 0.8) * len(bits)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, HISTORY])
def test_truncated_file_is_detected(run, saved, name):
    for n in np.linspace(0, len(saved[name]) - 2, 20).astype(int):
        (run / name).write_bytes(saved[name][:n])
        check_raises(isthmus.load, run)


def test_models_without_checksums_load(run):
    config = json.loads((run / CONFIG).read_text())
    del config["sha256"]
    (run / CONFIG).write_text(json.dumps(config, indent=2))
    assert isthmus.load(run).transform(ROWS).shape == (60, 2)


def test_error_for_an_edited_configuration_says_what_to_do(run):
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text.replace('"epochs": 1', '"epochs": 2'))
    check_raises(isthmus.load, run, match="remove its entry 'sha256' if you edited it yourself")


def test_flipped_bit_in_a_saved_application_is_detected(tmp_path):
    model = isthmus.VAE(**SMALL).fit(ROWS)
    sampler = LatentSampler.from_fitted(model, source="mixture", n_modes=2).fit(ROWS)
    index = LatentIndex.from_fitted(model).fit(ROWS)
    detector = AnomalyDetector(model, score_method="latent", random_state=0).fit(ROWS)
    rng = np.random.default_rng(0)
    for made, load, answer in (
        (sampler, LatentSampler.load, lambda use: use.sample(3, random_state=0)),
        (index, LatentIndex.load, lambda use: use.kneighbors(ROWS[:3])[0]),
        (detector, AnomalyDetector.load, lambda use: use.decision_function(ROWS[:3])),
    ):
        folder = tmp_path / type(made).__name__
        made.save(folder, **({"models": False} if made is detector else {}))
        wanted, found = answer(load(folder, model)), 0
        for file in list(folder.iterdir()):
            content = file.read_bytes()
            for bit in rng.integers(0, 8 * len(content), 60):
                file.write_bytes(flip(content, int(bit)))
                try:
                    np.testing.assert_array_equal(answer(load(folder, model)), wanted)
                except ValueError:
                    found += 1
            file.write_bytes(content)
        assert found > 108


# --------------------------------------------------------------------- settings


@pytest.mark.parametrize("value", ["-1", "2GB", "0", "9" * 30, "nan"])
def test_invalid_memory_limit_raises(monkeypatch, value):
    monkeypatch.setenv(limits.ENV_VARIABLE, value)
    with pytest.raises(ValueError, match="ISTHMUS_MAX_BYTES must be a whole number"):
        limits.allowed_memory(1)


def test_package_does_not_load_pickles():
    """Search the package for calls that load code."""
    root = os.path.dirname(isthmus.__file__)
    pattern = r"pickle\.load\|allow_pickle=True\|joblib\.load\|torch\.load\|eval(\|exec("
    found = subprocess.run(
        ["grep", "-rn", "--include=*.py", pattern, root], capture_output=True, text=True
    ).stdout.splitlines()
    assert [line for line in found if ".eval()" not in line] == []


def test_fuzz_targets_accept_their_seeds():
    """Every reader accepts the valid files from which fuzzing starts."""
    pytest.importorskip("pyarrow")
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "fuzz"))
    try:
        from targets import TARGETS
    finally:
        sys.path.pop(0)
    for name in TARGETS:
        if name == "structure" or name.startswith("resealed"):
            continue  # choose entries to change by bytes of atheris
        seeds, target = TARGETS[name]()
        for seed in seeds:
            target(seed)
