"""Folders of images and of arrays, and preprocessing."""

from __future__ import annotations

import builtins
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_models import model, one
from onnx import TensorProto
from PIL import Image

from onnxprune.data import images, open_data
from onnxprune.data.preprocess import parse
from onnxprune.errors import DataError, UsageError

M = one("N", 3, 8, 8)
FREE = one("N", 3, "H", "W")
MEAN, STD = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")
RNG = np.random.default_rng(0)


def picture(height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray, **options: object) -> np.ndarray:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path, **options)
    return pixels


def first(data: object, target: object, preprocess: str | None = "scale=1") -> np.ndarray:
    return open_data(data, target, preprocess=preprocess).batch(0, 1)["x"][0]


def fails(match: str, data: object, target: object, preprocess: str | None = None, kind: type = DataError) -> str:
    with pytest.raises(kind, match=match) as caught:
        open_data(data, target, preprocess=preprocess)
    return str(caught.value)


# ---- folders ---------------------------------------------------------------------------------------------------------
def test_images_sorted_by_name_with_subfolders(tmp_path: Path) -> None:
    names = ["b.png", "a.BMP", "c/d.png", "e.webp"]
    made = {n: save(tmp_path, n, picture(), **({"lossless": True} if n.endswith("webp") else {})) for n in names}
    (tmp_path / "labels.txt").write_text("1")
    (tmp_path / ".hidden.png").write_text("1")
    c = open_data(tmp_path, M, preprocess="scale=1/255")
    assert c.samples == 4 and c.source == f"{tmp_path.name}/ (4 images)"
    for row, name in enumerate(["a.BMP", "b.png", "c/d.png", "e.webp"]):
        want = np.moveaxis(made[name], 2, 0) * np.float32(1 / 255)
        np.testing.assert_allclose(c.batch(row, row + 1)["x"][0], want, rtol=1e-6)


def test_the_scale_must_be_said_for_floats_but_not_for_bytes(tmp_path: Path) -> None:
    pixels = save(tmp_path, "a.png", picture())
    assert "imagenet" in fails("nothing says how the pixels are scaled", tmp_path, M)
    fails("nothing says", tmp_path, M, "resize=8")
    for dtype in (TensorProto.UINT8, TensorProto.INT32):
        found = first(tmp_path, one("N", 8, 8, 3, dtype=dtype), None)
        assert np.array_equal(found, pixels)
    fails("do not apply", tmp_path, one("N", 8, 8, 3, dtype=TensorProto.UINT8), "scale=1/255", UsageError)


def test_channels_exif_and_depth(tmp_path: Path) -> None:
    pixels = picture(8, 8, 4)
    save(tmp_path, "rgba/a.png", pixels)
    assert np.array_equal(first(tmp_path / "rgba", M), np.moveaxis(pixels[:, :, :3], 2, 0))
    assert np.array_equal(first(tmp_path / "rgba", one("N", 4, 8, 8)), np.moveaxis(pixels, 2, 0))
    grey = save(tmp_path, "grey/a.png", picture(8, 8, 1))
    assert np.array_equal(first(tmp_path / "grey", M), np.moveaxis(grey.repeat(3, 2), 2, 0))
    assert np.array_equal(first(tmp_path / "grey", one("N", 1, 8, 8)), np.moveaxis(grey, 2, 0))
    palette = Image.fromarray(picture()).quantize(16)
    palette.info["transparency"] = 0
    (tmp_path / "p").mkdir()
    palette.save(tmp_path / "p/a.png", transparency=bytes(range(16)))
    assert first(tmp_path / "p", M).shape == (3, 8, 8)
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.full((8, 8), 0x8123, np.uint16)).save(tmp_path / "deep/a.png")
    assert (first(tmp_path / "deep", M) == 0x81).all()
    tall = picture(8, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    save(tmp_path, "exif/a.png", tall, exif=exif)
    assert np.array_equal(first(tmp_path / "exif", one("N", 3, 4, 8)), np.moveaxis(np.rot90(tall, -1), 2, 0))


def test_sizes(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture(16, 12))
    save(tmp_path, "b.png", picture(10, 12))
    assert open_data(tmp_path, M, preprocess="scale=1").batch(0, 2)["x"].shape == (2, 3, 8, 8)
    assert "resize=224x224" in fails("different sizes: a.png is 16x12, b.png is 10x12", tmp_path, FREE, "scale=1")
    for steps, size in (("resize=6x7", (6, 7)), ("resize=9,crop=5x8", (5, 8)), ("crop=10x12", (10, 12))):
        found = open_data(tmp_path, FREE, preprocess=f"scale=1,{steps}").batch(0, 2)["x"]
        assert found.shape == (2, 3, *size)
    assert open_data(tmp_path, M, preprocess="scale=1,resize=9").batch(0, 2)["x"].shape == (2, 3, 8, 8)
    fails("different sizes", tmp_path, FREE, "scale=1,resize=9")
    fails("less than crop=11x11", tmp_path, FREE, "scale=1,crop=11")
    fails("images of 9x9, which do not fit", tmp_path, M, "scale=1,crop=9", UsageError)
    fails("images of 9x9, which do not fit", tmp_path, one("N", 3, 8, "W"), "scale=1,crop=9", UsageError)


def test_imagenet_is_torchvisions(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture(300, 400))
    image = Image.open(tmp_path / "a.png").resize((int(256 * 400 / 300), 256), Image.Resampling.BILINEAR)
    top, left = 16, round((image.width - 224) / 2)
    want = (np.asarray(image)[top : top + 224, left : left + 224] / np.float32(255) - MEAN) / STD
    for target in (FREE, one("N", 3, 224, 224)):
        np.testing.assert_allclose(first(tmp_path, target, "imagenet"), np.moveaxis(want, 2, 0), atol=1e-5)
    nhwc = one("N", 224, 224, 3)
    np.testing.assert_allclose(first(tmp_path, nhwc, "imagenet"), want, atol=1e-5)
    assert first(tmp_path, one("N", 3, 299, 299), "imagenet").shape == (3, 299, 299)
    assert first(tmp_path, one("N", 3, 40, 80), "imagenet").shape == (3, 40, 80)
    assert first(tmp_path, FREE, "imagenet,resize=40,crop=32").shape == (3, 32, 32)
    fails("mean has 3 values, input .* has 1 channels", tmp_path, one("N", 1, 8, 8), "imagenet", UsageError)


def test_colour_and_statistics(tmp_path: Path) -> None:
    pixels = save(tmp_path, "a.png", picture())
    found = first(tmp_path, M, "mean=104|117|123,std=2,color=bgr")
    want = (pixels[:, :, ::-1].astype("f4") - np.array([104, 117, 123], "f4")) / 2
    np.testing.assert_allclose(found, np.moveaxis(want, 2, 0), rtol=1e-6)
    assert first(tmp_path, one("N", "a", "b", "c"), "scale=1,layout=nhwc").shape == (8, 8, 3)
    assert first(tmp_path, one("N", "a", "b", "c")).shape == (3, 8, 8)
    half = one("N", 3, 8, 8, dtype=TensorProto.FLOAT16)
    assert first(tmp_path, half, "scale=1/255").dtype == np.float16
    fails("color=bgr needs 3 channels", tmp_path, one("N", 1, 8, 8), "scale=1,color=bgr", UsageError)


def test_models_that_take_no_images(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture())
    fails("does not take images", tmp_path, one("N", 3), "scale=1")
    fails("wants 64 channels", tmp_path, one("N", 64, 8, 8), "scale=1,layout=nchw")
    two = model({"a": (1, ("N", 3, 8, 8)), "b": (1, ("N",))})
    fails("feeds one input, the model has 2", tmp_path, two, "scale=1")


def test_damaged_images_are_named(tmp_path: Path) -> None:
    save(tmp_path, "good.png", picture(64, 64))
    whole = (tmp_path / "good.png").read_bytes()
    for name, content in (("a.png", whole[: len(whole) // 2]), ("a.jpg", b"no"), ("a.gif", b""), ("a.png", whole[:30])):
        (tmp_path / name).write_bytes(content)
        fails(f"{name} is (not a readable image|an empty file)", tmp_path, M, "scale=1")
        (tmp_path / name).unlink()
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    fails("a.png is not a readable image", tmp_path, M, "scale=1")
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("/dev/zero")
    fails("a device", tmp_path, M, "scale=1")


def test_what_is_no_image_is_called_so(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture())
    (tmp_path / "zz.jpg").write_text("hello")
    said = fails("zz.jpg is not a readable image: its bytes are not those of a JPEG, PNG", tmp_path, M, "imagenet")
    assert "MPO" not in said and "0x" not in said


def test_a_file_of_several_pictures_gives_the_first(tmp_path: Path) -> None:
    plain, folder = tmp_path / "plain", tmp_path / "several"
    plain.mkdir(), folder.mkdir()
    pixels = [Image.fromarray(picture()) for _ in range(2)]
    pixels[0].save(folder / "a.jpg", format="MPO", save_all=True, append_images=pixels[1:])
    pixels[0].save(plain / "a.jpg", format="JPEG")
    with Image.open(folder / "a.jpg") as image:
        assert image.format == "MPO"
    np.testing.assert_array_equal(first(folder, M), first(plain, M))


def test_an_image_that_claims_to_be_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png", picture(40, 40))
    monkeypatch.setattr(images, "PIXEL_LIMIT", 1000)
    fails("a.png claims 40 x 40 pixels", tmp_path, M, "scale=1")


def test_pillow_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png", picture())
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install pillow" in fails("need Pillow", tmp_path, M, "scale=1")
    assert first({"x": picture()[None]}, M).shape == (3, 8, 8)


def test_samples_of_a_folder_are_a_seeded_draw(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path, f"{i:02}.png", np.full((8, 8, 3), i, np.uint8))
    draw = [open_data(tmp_path, M, preprocess="scale=1", samples=5, seed=s) for s in (0, 0, 1)]
    values = [c.batch(0, 5)["x"][:, 0, 0, 0].tolist() for c in draw]
    assert values[0] == values[1] == sorted(values[0]) and values[0] != values[2]
    assert draw[0].source.endswith("(5 of 20 images)")
    assert open_data(tmp_path, one(4, 3, 8, 8), preprocess="scale=1", samples=2).samples == 2


def test_folders_of_arrays(tmp_path: Path) -> None:
    two = model({"a": (1, ("N", 3)), "b": (7, ("N",))})
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", a=np.full(3, i), b=np.int64(i))
    c = open_data(tmp_path, two)
    assert c.samples == 3 and c.batch(0, 3)["b"].tolist() == [0, 1, 2] and c.source.endswith("(3 files)")
    np.savez(tmp_path / "9.npz", a=np.full(4, 9), b=np.int64(9))
    fails(r"9.npz: shape \(N, 4\) does not fit", tmp_path, two)
    np.save(tmp_path / "8.npy", np.zeros(3))
    fails("8.npy feeds one input", tmp_path, two)
    for name in ("8.npy", "9.npz"):
        os.remove(tmp_path / name)
    fails("0.npz: 'a' is not an input", tmp_path, one("N", 3))
    (tmp_path / "2.npz").write_bytes(b"x")
    fails("2.npz is not a readable", tmp_path, two)
    single = tmp_path / "single"
    single.mkdir()
    np.save(single / "a.npy", np.ones(3))
    np.save(single / "b.npy", np.ones((2, 3)))
    assert open_data(single, one("N", 3)).samples == 3
    assert open_data(single, one("N", 3), samples=2).samples == 2
    np.save(single / "c.npy", np.array([1, np.nan, 1]))
    fails("c.npy, position .1,.: nan", single, one("N", 3))


def test_folders_with_nothing_or_both(tmp_path: Path) -> None:
    fails("holds no images", tmp_path, M)
    save(tmp_path, "a.png", picture())
    np.save(tmp_path / "b.npy", np.zeros(3))
    fails(r"both images \(a.png\) and arrays \(b.npy\)", tmp_path, M)


# ---- arrays of bytes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("last", [False, True])
def test_preprocess_of_uint8_arrays(last: bool) -> None:
    pixels = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    data = pixels if last else np.moveaxis(pixels, 3, 1)
    want = np.moveaxis((pixels.astype("f4") / 255 - MEAN) / STD, 3, 1)
    np.testing.assert_allclose(open_data({"x": data}, M, preprocess="imagenet").batch(0, 5)["x"], want, atol=1e-5)
    smaller = open_data({"x": data}, one("N", 3, 4, 4), preprocess="scale=1")
    assert smaller.batch(0, 5)["x"].shape == (5, 3, 4, 4)
    flat = open_data({"x": pixels[:, :, 0, 0]}, one("N", 8), preprocess="scale=1/2,mean=1")
    np.testing.assert_allclose(flat.batch(0, 5)["x"], pixels[:, :, 0, 0] / 2 - 1)


def test_preprocess_with_nothing_to_apply_to() -> None:
    fails("nothing to apply to", {"x": np.ones((2, 3, 8, 8), "f4")}, M, "imagenet", UsageError)
    fails("nothing to apply to", "random", M, "imagenet", UsageError)


# ---- the option ------------------------------------------------------------------------------------------------------
def test_parse() -> None:
    steps = parse("scale=1/255, mean=0.485|0.456|.406,std=1e-1,layout=NHWC,resize=256,crop=224x192,color=bgr")
    assert steps.scale == 1 / 255 and steps.mean == (0.485, 0.456, 0.406) and steps.std == (0.1,)
    assert (steps.layout, steps.resize, steps.crop, steps.color) == ("nhwc", 256, (224, 192), "bgr")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "imagnet",
            "scale",
            "scale=",
            "scale=1/0",
            "scale=0",
            "scale=nan",
            "scale=1e999",
            "scale=2**9",
            "mean=1|",
        ),
        *("std=0", "std=1|0|1", "layout=nc", "resize=0", "resize=1x", "resize=-3", "crop=2x2x2", "crop=999999"),
        *(
            "color=grey",
            "scale=1,scale=2",
            "scale=1,,mean=1",
            "scale=1,imagenet",
            "scale=__import__('os')",
            "scale=1/2/3",
        ),
    ],
)
def test_parse_errors(text: str) -> None:
    with pytest.raises(UsageError, match="preprocess="):
        parse(text)


def test_parse_guesses() -> None:
    with pytest.raises(UsageError, match="Did you mean 'scale'"):
        parse("scael=1/255")
    with pytest.raises(UsageError, match="Did you mean 'imagenet'"):
        parse("imagnet")


@pytest.mark.parametrize("text", ["scale=1e308", "scale=1e-300", "std=1e-300", "std=1|1e-60|1", "mean=-1e39"])
def test_numbers_that_float32_does_not_hold(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a number that float32 (holds|tells from 0)"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("scale=1e37", TensorProto.FLOAT), ("scale=1,std=1e-37", TensorProto.FLOAT), ("scale=300", TensorProto.FLOAT16)],
)
def test_pixels_that_would_overflow(tmp_path: Path, text: str, dtype: int) -> None:
    save(tmp_path, "a.png", picture())
    target = one("N", 3, 8, 8, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = fails("a pixel of 255 becomes inf for input x", tmp_path, target, text, UsageError)
    assert "smaller scale" in said
