from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from asyncio_loader.errors import ConfigError, DecodeError
from asyncio_loader.transforms.decoding import check_decoding, decode_image
from tests.odd_images import exif_segment, insert

RNG = np.random.default_rng(0)
PIXELS = cv2.resize(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30))
BACKENDS = [None, "simplejpeg", "cv2", "pillow"]
COLOR_TYPES = ["color", "grayscale", "unchanged", "color_ignore_orientation", "grayscale_ignore_orientation"]


def encode(suffix: str, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = PIXELS) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def mode_png(mode: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "PNG")
    return file.getvalue()


FILES = {
    "jpg": encode(".jpg"),
    "gray.jpg": encode(".jpg", PIXELS[:, :, 0].copy()),
    "exif.jpg": insert(encode(".jpg"), exif_segment(6)),
    "png": encode(".png"),
    "gray.png": mode_png("L"),
    "16.png": encode(".png", RNG.integers(0, 65536, (9, 7), dtype=np.uint16)),
    "la.png": mode_png("LA"),
    "rgba.png": mode_png("RGBA"),
    "palette.png": mode_png("P"),
    "bilevel.png": mode_png("1"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("color_type", ["color", "color_ignore_orientation"])
@pytest.mark.parametrize("name", FILES)
def test_color_pixels_are_those_of_opencv(name: str, color_type: str, backend: str | None) -> None:
    flag = cv2.IMREAD_COLOR if color_type == "color" else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    expected = cv2.imdecode(np.frombuffer(FILES[name], np.uint8), flag)
    pixels = decode_image(FILES[name], color_type=color_type, backend=backend)

    np.testing.assert_array_equal(pixels, expected)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["gray.jpg", "gray.png", "16.png", "bilevel.png"])
def test_gray_pixels_are_those_of_opencv(name: str, backend: str | None) -> None:
    expected = cv2.imdecode(np.frombuffer(FILES[name], np.uint8), cv2.IMREAD_GRAYSCALE)

    np.testing.assert_array_equal(decode_image(FILES[name], color_type="grayscale", backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FILES)
def test_unchanged_pixels_are_those_of_opencv(name: str, backend: str | None) -> None:
    expected = cv2.imdecode(np.frombuffer(FILES[name], np.uint8), cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(decode_image(FILES[name], color_type="unchanged", backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["jpg", "exif.jpg", "png"])
def test_rgb_is_bgr_the_other_way_round(name: str, backend: str | None) -> None:
    bgr = decode_image(FILES[name], backend=backend)

    np.testing.assert_array_equal(decode_image(FILES[name], channel_order="rgb", backend=backend), bgr[:, :, ::-1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_is_turned_upright(backend: str | None) -> None:
    assert (40, 30, 3) == decode_image(FILES["exif.jpg"], backend=backend).shape
    assert (30, 40, 3) == decode_image(FILES["exif.jpg"], color_type="color_ignore_orientation", backend=backend).shape


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    assert (30, 40, 3) == decode_image(kind(FILES["jpg"])).shape


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", r"the object is empty \(0 bytes\)"),
        (b"<?xml version='1.0'?><Error/>", r"not an image, its 29 bytes start with b\"<\?xml version='1\""),
        (FILES["jpg"][:-200], r"a JPEG that ends too early, after \d+ bytes"),
        (FILES["jpg"][:200] + b"\xff\xd9", "a broken JPEG of 202 bytes"),
        (FILES["png"][:60], "a broken PNG of 60 bytes"),
    ],
)
def test_what_is_broken_is_named(data: bytes, complaint: str, backend: str | None) -> None:
    with pytest.raises(DecodeError, match=f"^s3://b/k: cannot decode: {complaint}") as caught:
        decode_image(data, key="s3://b/k", backend=backend)

    assert "s3://b/k" == caught.value.key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colour", "bgr", None), "color_type must be one of 'color', .*not 'colour'"),
        (("color", "gbr", None), "channel_order must be one of 'bgr', 'rgb', not 'gbr'"),
        (("color", "bgr", "turbojpeg"), "imdecode_backend must be one of None, 'simplejpeg', 'cv2', 'pillow', not"),
        (("color", "bgr", "nvjpeg"), "imdecode_backend='nvjpeg' would decode on the GPU, and the transforms behind it"),
    ],
)
def test_unknown_choices_are_refused(arguments: tuple[str, str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_decoding(*arguments)


@pytest.mark.parametrize("color_type", COLOR_TYPES)
def test_known_choices_are_accepted(color_type: str) -> None:
    check_decoding(color_type, "rgb", "pillow")
