"""JPEGs decoded on the GPU, for pipelines whose transforms run there, too.

This is no `imdecode_backend` of `LoadImageFromFile`: OpenMMLab's transforms are OpenCV's, on the host, so that each
image would go to the GPU and back; and nvJPEG's pixels are not those of `cv2.imdecode`, which that dialect promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from asyncio_loader.datasets.transfer import check_device
from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Buffer
from asyncio_loader.transforms.decoding import decode_image
from asyncio_loader.transforms.formatting import to_chw_tensor
from asyncio_loader.transforms.orientation import read_jpeg_orientation

__all__ = ["JpegDecoder", "nvjpeg_decoder"]

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"

Decode = Callable[[list[torch.Tensor]], list[torch.Tensor]]


class JpegDecoder:
    """Files → images on a device: JPEGs by a decoder there, what it does not take by `decode_image` on the host.

    That is: other formats, JPEGs that EXIF says to turn, those that were cut, and those that the decoder refuses.

    For one thread at a time; in a `Loader`, for `collate`.

    Args:
        decode: (n,) uint8 tensors on the host, the files, to (3, h, w) uint8 ones on the device, RGB. Raises
            RuntimeError if it cannot decode any one of them.
        device: where images go.
    """

    def __init__(self, decode: Decode, device: torch.device) -> None:
        self._decode = decode
        self._device = device

    def __call__(self, files: Sequence[Buffer], keys: Sequence[str] | None = None) -> list[torch.Tensor]:
        """(3, h, w) uint8 RGB images on the device, one for each file, at least none.

        Args:
            files: whole files.
            keys: names of the objects, for messages.

        Raises:
            DecodeError: one is no image, or a broken one; names its key.
            torch.OutOfMemoryError: the device has no room for them.
        """
        fit = [at for at, data in enumerate(files) if _is_plain(data)]
        # torch wants memory that may be written to; a copy of a file is microseconds.
        tensors = [torch.frombuffer(bytearray(files[at]), dtype=torch.uint8) for at in fit]
        decoded = zip(fit, self._decode_on_device(tensors), strict=True)
        images = {at: image for at, image in decoded if image is not None}
        for at, data in enumerate(files):
            if at not in images:
                pixels = decode_image(data, key=keys[at] if keys else None, channel_order="rgb")
                images[at] = to_chw_tensor(pixels).to(self._device)
        return [images[at] for at in range(len(files))]

    def _decode_on_device(self, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor | None]:
        """All at once; where that fails, one by one, as the whole call fails with one of them."""
        if not tensors:
            return []
        try:
            return self._decode(tensors)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return [None] if len(tensors) == 1 else [self._decode_on_device([tensor])[0] for tensor in tensors]


def nvjpeg_decoder(device: torch.device | str = "cuda") -> JpegDecoder:
    """A decoder by nvJPEG, through torchvision.

    torchvision 0.29 has marked its decoders as going away, and warns so (`DeprecationWarning`).

    Raises:
        ConfigError: there is no such device, or no torchvision that has it.
    """
    place = check_device(device)
    if place is None or place.type != "cuda":
        raise ConfigError(f"nvJPEG needs a CUDA device, not {str(device)!r}")
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError as error:
        raise ConfigError("nvJPEG comes with torchvision, which has none here: pip install torchvision") from error

    def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
        images: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=place)
        return images

    return JpegDecoder(decode, place)


def _is_plain(data: Buffer) -> bool:
    return data[:3] == _START and data[-2:] == _END and read_jpeg_orientation(data) == 1
