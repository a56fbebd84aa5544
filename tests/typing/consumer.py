"""What a user of the public names may write. mypy and pyright check it, as strictly as they can; nothing runs it."""

from __future__ import annotations

from asyncio_loader import (
    TRANSFORMS,
    AsyncIterableDataset,
    CocoDataset,
    Compose,
    Failed,
    Fetched,
    FetchOptions,
    FileClient,
    Loader,
    LoaderError,
    LoaderStats,
    ObjectRef,
    RetryPolicy,
    S3Options,
    collate_detection,
    load_config,
)


def size(fetched: Fetched) -> int:
    """Transform."""
    return len(fetched.data)


def read(uris: list[str]) -> LoaderStats:
    """Epochs over raw objects."""
    refs = [ObjectRef(uri, size_bytes=None) for uri in uris]
    options = FetchOptions(max_in_flight=64, retry=RetryPolicy(), hedge=0.99)
    dataset = AsyncIterableDataset(
        refs, transform=size, shuffle=True, seed=1, batch_size=8, options=options, storage=S3Options(anonymous=True)
    )
    dataset.set_epoch(1)
    with Loader(dataset, 8, threads=2) as loader:
        try:
            for batch in loader:
                print(len(batch))
        except LoaderError as error:
            print(error)
        loader.load_state_dict(loader.state_dict())
        return loader.stats()


def detect(path: str) -> None:
    """A data set of the dialect."""
    config = load_config(path, {"seed": 1})
    pipeline: list[dict[str, object]] = [{"type": "LoadImageFromFile"}]
    dataset = CocoDataset("a.json", "s3://b/", pipeline, batch_size=2)
    with Loader(dataset, 2, collate=collate_detection) as loader:
        print(len(loader), config)


def run(outcome: Fetched | Failed) -> None:
    """Values."""
    print(outcome.ref.uri, Compose([{"type": "LoadImageFromFile"}]), TRANSFORMS)
    print(FileClient(backend="disk").get("x"))
