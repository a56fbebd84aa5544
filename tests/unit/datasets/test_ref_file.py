from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.ref_file import RefFile, build_index
from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.stores.memory import MemoryStore

WriteList = Callable[..., Path]


def uri(number: int) -> str:
    # Lines of many lengths, some of them with characters of several bytes.
    return f"memory://{'ü' * (number % 7)}{number}"


def lines(count: int) -> str:
    return "".join(f"{uri(number)}\n" for number in range(count))


@pytest.fixture
def write_list(tmp_path: Path) -> WriteList:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "refs.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def uri_of(fetched: Fetched) -> str:
    return fetched.ref.uri


def look_up(refs: RefFile, index: int) -> str:
    return refs[index].uri


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 1000])
def test_every_line_is_a_ref(write_list: WriteList, count: int) -> None:
    refs = RefFile(write_list(lines(count)))

    assert len(refs) == count
    assert [refs[index].uri for index in range(count)] == [uri(number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 1000])
def test_iterating_gives_what_looking_up_gives(write_list: WriteList, count: int) -> None:
    refs = RefFile(write_list(lines(count)))

    assert list(refs) == [refs[index] for index in range(count)]


def test_negative_indices_count_from_the_end(write_list: WriteList) -> None:
    refs = RefFile(write_list(lines(100)))

    assert (refs[-1].uri, refs[-100].uri) == (uri(99), uri(0))


def test_numpy_integers_are_indices(write_list: WriteList) -> None:
    assert RefFile(write_list(lines(100)))[np.int64(70)].uri == uri(70)


@pytest.mark.parametrize("index", [100, -101, 10**12])
def test_there_is_nothing_beyond_the_last_line(write_list: WriteList, index: int) -> None:
    with pytest.raises(IndexError, match=rf"refs\.txt has 100 lines, none of index {index}$"):
        RefFile(write_list(lines(100)))[index]


def test_a_slice_is_a_list(write_list: WriteList) -> None:
    refs = RefFile(write_list(lines(100)))

    assert [ref.uri for ref in refs[98:1:-32]] == [uri(98), uri(66), uri(34), uri(2)]


@pytest.mark.parametrize(
    ("text", "refs"),
    [
        ("a", [ObjectRef("a")]),
        ("a\nb\n", [ObjectRef("a"), ObjectRef("b")]),
        ("a\r\nb\r\n", [ObjectRef("a"), ObjectRef("b")]),
        ("a\nb", [ObjectRef("a"), ObjectRef("b")]),
        ("a\t5\nb\t0", [ObjectRef("a", 5), ObjectRef("b", 0)]),
        ("a\t5\r\nb\r\n", [ObjectRef("a", 5), ObjectRef("b")]),
        ("a b \nc#+%20\n", [ObjectRef("a b "), ObjectRef("c#+%20")]),
        ("a\u2028b\x85\n", [ObjectRef("a\u2028b\x85")]),
    ],
)
def test_what_a_line_means(write_list: WriteList, text: str, refs: list[ObjectRef]) -> None:
    assert list(RefFile(write_list(text))) == refs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty: there is nothing to load"),
        (b"\n", "line 1 is empty or begins with white space: b''"),
        (b"a\n\nb\n", "line 2 is empty or begins with white space: b''"),
        (b"a\r\n\r\nb\r\n", "line 2 is empty or begins with white space: b'\\r'"),
        (b"a\nb\n\n", "line 3 is empty or begins with white space: b''"),
        (b"a\n b\n", "line 2 is empty or begins with white space: b' b'"),
        (b"a\n\t5\n", "line 2 is empty or begins with white space: b'\\t5'"),
        (b"a\t5\nb\t\n", "line 2 has a tab that no size in bytes follows: b'b\\t'"),
        (b"a\nb\t-5", "line 2 has a tab that no size in bytes follows: b'b\\t-5'"),
        (b"a\nb\t5 KB\n", "line 2 has a tab that no size in bytes follows: b'b\\t5 KB'"),
        (b"a\tb\t5\n", "line 1 has a tab that no size in bytes follows: b'a\\tb\\t5'"),
        (b"a\nb\nc\xff\n", "line 3 is not UTF-8: b'c\\xff'"),
        (b"\xef\xbb\xbfa\n", "begins with a byte order mark: save it as UTF-8 without one"),
        (b"a\n" + b"b" * 70_000 + b"\n", f"line 2 has more than 65,536 bytes: {b'b' * 100!r}"),
    ],
)
def test_a_wrong_line_is_refused_with_file_and_number(write_list: WriteList, text: bytes, said: str) -> None:
    path = write_list(text)

    with pytest.raises(ConfigError) as caught:
        RefFile(path)

    assert str(caught.value).removeprefix(str(path)).lstrip(": ") == said


def test_line_numbers_count_through_all_that_was_read_before(
    write_list: WriteList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncio_loader.datasets.ref_index._READ_BYTES", 50)

    with pytest.raises(ConfigError, match=r"refs\.txt: line 1001 is empty"):
        RefFile(write_list(lines(1000) + "\n" + lines(10)))


@pytest.mark.parametrize("read_bytes", [30, 50, 1000])
def test_pieces_of_any_size_make_the_same_index(
    write_list: WriteList, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    path = write_list(lines(1000))
    expected = Path(build_index(path)).read_bytes()
    monkeypatch.setattr("asyncio_loader.datasets.ref_index._READ_BYTES", read_bytes)

    assert Path(build_index(path)).read_bytes() == expected


def test_a_file_without_lines_is_not_read_into_memory(write_list: WriteList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.datasets.ref_index._READ_BYTES", 1000)

    with pytest.raises(ConfigError, match=r"refs\.txt is no list of URIs: nothing ends a line in 2,000 bytes"):
        RefFile(write_list(b"\1" * 10_000))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing.txt", "nothing.txt: No such file or directory"),
        (".", "Is a directory"),
        ("s3://bucket/refs.txt", "is looked up on a local disk: copy 's3://bucket/refs.txt' there first"),
    ],
)
def test_what_is_no_local_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as caught:
        RefFile(name)

    assert str(caught.value).endswith(said)


def test_a_file_uri_is_a_path(write_list: WriteList) -> None:
    assert RefFile(f"file://{write_list(lines(3))}")[2].uri == uri(2)


def test_the_index_stays_beside_the_text_and_is_used(write_list: WriteList, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_list(lines(200))
    RefFile(path)

    def scan(path: str) -> None:
        raise AssertionError("it is read a second time")

    monkeypatch.setattr("asyncio_loader.datasets.ref_index.scan", scan)

    assert RefFile(path)[199].uri == uri(199)


def test_an_index_is_8_bytes_per_64_lines_and_40(write_list: WriteList) -> None:
    path = write_list(lines(6401))

    assert build_index(path) == f"{path}.idx"
    assert os.path.getsize(f"{path}.idx") == 40 + 8 * 101


def test_an_index_of_another_text_is_made_anew(write_list: WriteList) -> None:
    RefFile(write_list(lines(200)))
    refs = RefFile(write_list(lines(300)))

    assert (len(refs), refs[299].uri) == (300, uri(299))


@pytest.mark.parametrize("damage", [b"", b"AL-REFS1", b"x" * 72, None])
def test_a_damaged_index_is_made_anew(write_list: WriteList, damage: bytes | None) -> None:
    path = write_list(lines(200))
    index = Path(build_index(path))
    whole = index.read_bytes()
    index.write_bytes(whole[:-1] if damage is None else damage)

    assert RefFile(path)[199].uri == uri(199)
    assert index.read_bytes() == whole


@pytest.fixture
def unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index cannot be put into its place: whoever runs the tests may be root, whom no mode of a directory stops."""

    def replace(source: str, target: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("asyncio_loader.stores.local.os.replace", replace)


@pytest.mark.usefixtures("unwritable")
def test_where_no_index_can_be_written_it_is_kept_in_memory(
    write_list: WriteList, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_list(lines(200))
    refs = RefFile(path)

    assert (len(refs), refs[199].uri) == (200, uri(199))
    assert [entry.name for entry in path.parent.iterdir()] == ["refs.txt"]
    assert "every process that opens this list makes an index of its own: " in caplog.text


@pytest.mark.usefixtures("unwritable")
def test_an_index_in_memory_goes_along_in_a_pickle(write_list: WriteList, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(RefFile(write_list(lines(200))))

    def scan(path: str) -> None:
        raise AssertionError("it is read a second time")

    monkeypatch.setattr("asyncio_loader.datasets.ref_index.scan", scan)

    assert pickle.loads(pickled)[199].uri == uri(199)


@pytest.mark.usefixtures("unwritable")
def test_building_an_index_that_cannot_be_written_is_an_error(write_list: WriteList) -> None:
    with pytest.raises(ConfigError, match=r"the index cannot be written: .*refs\.txt\.idx: Permission denied"):
        build_index(write_list(lines(200)))


def test_a_pickle_does_not_grow_with_the_list(write_list: WriteList) -> None:
    assert len(pickle.dumps(RefFile(write_list(lines(10_000))))) < 500


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_another_process_looks_up_the_same(write_list: WriteList, method: str) -> None:
    refs = RefFile(write_list(lines(1000)))
    look_up(refs, 0)
    context = multiprocessing.get_context(method)

    with context.Pool(1) as pool:
        found = pool.starmap(look_up, [(refs, index) for index in (0, 500, 999)])

    assert found == [uri(0), uri(500), uri(999)]


def test_workers_of_a_loader_share_it(write_list: WriteList) -> None:
    store = MemoryStore({uri(number): b"x" for number in range(200)})
    refs = RefFile(write_list(lines(200)))
    dataset = AsyncIterableDataset(refs, storage=store, shuffle=True, transform=uri_of)

    alone = list(dataset)

    assert sorted(alone) == sorted(uri(number) for number in range(200))
    assert list(DataLoader(dataset, batch_size=None, num_workers=2)) == alone


def test_threads_may_look_up_at_once(write_list: WriteList) -> None:
    refs = RefFile(write_list(lines(2000)))
    found: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def read(into: list[str]) -> None:
        start.wait()
        into.extend(refs[index].uri for index in range(2000))

    threads = [threading.Thread(target=read, args=(into,)) for into in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [[uri(number) for number in range(2000)]] * 8


def test_a_text_that_changed_before_the_first_look_up_is_refused(write_list: WriteList) -> None:
    refs = RefFile(write_list(lines(200)))
    write_list(lines(201))

    with pytest.raises(ConfigError, match=r"refs\.txt has changed since it was opened"):
        refs[0]


def test_a_text_that_changed_after_pickling_is_refused_at_the_first_look_up(write_list: WriteList) -> None:
    pickled = pickle.dumps(RefFile(write_list(lines(200))))
    write_list(lines(201))
    refs = pickle.loads(pickled)

    with pytest.raises(ConfigError, match=r"refs\.txt has changed since it was opened"):
        refs[0]


def test_a_text_that_is_gone_is_named(write_list: WriteList) -> None:
    path = write_list(lines(200))
    refs = RefFile(path)
    path.unlink()

    with pytest.raises(ConfigError, match=r"refs\.txt: No such file or directory$"):
        refs[0]


def test_a_text_cut_short_while_open_is_noticed(write_list: WriteList) -> None:
    path = write_list(lines(200))
    refs = RefFile(path)
    assert refs[199].uri == uri(199)
    os.truncate(path, 100)

    with pytest.raises(ConfigError, match=r"refs\.txt has changed since it was opened"):
        refs[199]


@pytest.mark.parametrize(
    "text",
    [b"\xff" * 100, b"\n" * 99 + b"a", b"a\tb" * 33 + b"a", b"a" * 100],
    ids=["no UTF-8", "empty lines", "no sizes", "one line"],
)
def test_a_text_overwritten_while_open_is_noticed_where_it_is_no_list(write_list: WriteList, text: bytes) -> None:
    refs = RefFile(write_list("a\n" * 50))
    assert refs[1].uri == "a"
    write_list(text)

    with pytest.raises(ConfigError, match=r"refs\.txt has changed since it was opened"):
        refs[1]


def test_a_text_replaced_by_a_rename_goes_on_to_be_read(write_list: WriteList) -> None:
    path = write_list(lines(200))
    refs = RefFile(path)
    assert refs[0].uri == uri(0)
    path.with_suffix(".new").write_text("other\n" * 500)
    path.with_suffix(".new").rename(path)

    assert (len(refs), refs[199].uri) == (200, uri(199))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
def test_the_file_is_closed_with_the_object(write_list: WriteList) -> None:
    path = write_list(lines(200))
    refs = RefFile(path)
    assert refs[0].uri == uri(0)
    del refs
    gc.collect()

    open_files = {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}
    assert str(path) not in open_files
