"""Without a GPU: torchvision's decoder on the host stands in for nvJPEG."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.nvjpeg import JpegDecoder, nvjpeg_decoder
from asyncio_loader.errors import ConfigError, DecodeError
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.testing import synthetic_jpegs
from asyncio_loader.transforms.decoding import decode_image
from tests.odd_images import exif_segment, insert

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")

JPEGS = list(synthetic_jpegs(3, mean_bytes=4500, distinct=3, size=(96, 64)))
PNG = cv2.imencode(".png", np.full((4, 5, 3), 200, np.uint8))[1].tobytes()


class Decoder:
    """Attributes:
    calls: how many files it was given, call by call.
    refused: what it cannot decode.
    """

    def __init__(self, *refused: bytes) -> None:
        self.calls: list[int] = []
        self.refused = refused

    def __call__(self, files: list[torch.Tensor]) -> list[torch.Tensor]:
        self.calls.append(len(files))
        if any(file.numpy().tobytes() in self.refused for file in files):
            raise RuntimeError("Failed to decode jpeg image")
        images: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB)
        return images


def on_host(data: bytes) -> torch.Tensor:
    return torch.from_numpy(decode_image(data, channel_order="rgb").transpose(2, 0, 1).copy())


def test_jpegs_are_decoded_in_one_call() -> None:
    decoder = Decoder()
    images = JpegDecoder(decoder, torch.device("cpu"))([JPEGS[0], memoryview(JPEGS[1])])

    assert decoder.calls == [2]
    assert [(image.dtype, tuple(image.shape)) for image in images] == [(torch.uint8, (3, 64, 96))] * 2
    for image, data in zip(images, JPEGS, strict=False):
        assert (image.int() - on_host(data).int()).abs().max() <= 2


def test_what_is_not_for_it_is_decoded_on_the_host() -> None:
    decoder = Decoder()
    turned = insert(JPEGS[1], exif_segment(6))
    images = JpegDecoder(decoder, torch.device("cpu"))([PNG, JPEGS[0], turned])

    assert decoder.calls == [1]
    assert [tuple(image.shape) for image in images] == [(3, 4, 5), (3, 64, 96), (3, 96, 64)]
    assert torch.equal(images[0], on_host(PNG))
    assert torch.equal(images[2], on_host(turned))


def test_what_it_refuses_is_decoded_on_the_host_and_the_others_there() -> None:
    decoder = Decoder(JPEGS[1])
    images = JpegDecoder(decoder, torch.device("cpu"))(JPEGS)

    assert decoder.calls == [3, 1, 1, 1]
    assert torch.equal(images[1], on_host(JPEGS[1]))


def test_without_a_file_for_it_it_is_not_called() -> None:
    decoder = Decoder()

    assert len(JpegDecoder(decoder, torch.device("cpu"))([PNG])) == 1
    assert JpegDecoder(decoder, torch.device("cpu"))([]) == []
    assert decoder.calls == []


@pytest.mark.parametrize("broken", [JPEGS[0][:-400], b"no image", b""])
def test_a_broken_file_is_told_with_its_key(broken: bytes) -> None:
    decode = JpegDecoder(Decoder(), torch.device("cpu"))

    with pytest.raises(DecodeError, match=r"s3://b/2\.jpg: cannot decode"):
        decode([JPEGS[0], broken], ["s3://b/1.jpg", "s3://b/2.jpg"])


def test_a_full_device_is_no_broken_file() -> None:
    def fail(files: list[torch.Tensor]) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        JpegDecoder(fail, torch.device("cpu"))(JPEGS)


def test_it_is_a_collate_of_a_loader() -> None:
    decode = JpegDecoder(Decoder(), torch.device("cpu"))
    storage = MemoryStore({f"memory://{n}.jpg": data for n, data in enumerate(JPEGS)})
    dataset = AsyncIterableDataset([f"memory://{n}.jpg" for n in range(3)], storage=storage)
    with Loader(dataset, 2, device="cpu", collate=lambda batch: decode([sample.data for sample in batch])) as loader:
        assert [[tuple(image.shape) for image in images] for images in loader] == [[(3, 64, 96)] * 2, [(3, 64, 96)]]


def test_it_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device='cuda' needs a CUDA device, and torch finds none"):
        nvjpeg_decoder()
    with pytest.raises(ConfigError, match="nvJPEG needs a CUDA device, not 'cpu'"):
        nvjpeg_decoder("cpu")


def test_it_needs_a_torchvision_that_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    with pytest.raises(ConfigError, match="nvJPEG comes with torchvision, which has none here"):
        nvjpeg_decoder("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nvjpeg_decodes() -> None:
    images = nvjpeg_decoder()([*JPEGS, PNG])

    assert all(image.is_cuda for image in images)
    for image, data in zip(images, JPEGS, strict=False):
        assert (image.cpu().int() - on_host(data).int()).abs().float().mean() < 3
