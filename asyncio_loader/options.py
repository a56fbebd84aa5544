"""What can be set, with units in the names, one owner and one reason for every default."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from asyncio_loader.errors import ConfigError
from asyncio_loader.hints import did_you_mean

__all__ = ["Addressing", "FetchOptions", "OnError", "RetryPolicy", "S3Options", "Transport", "Verify"]

OnError = Literal["raise", "skip", "replace"]
Addressing = Literal["auto", "path", "virtual"]
Transport = Literal["http1", "aiohttp"]
Verify = Literal["auto", "always", "never"]

MIB = 1024 * 1024


def _require(ok: bool, owner: object, name: str, rule: str) -> None:
    if not ok:
        raise ConfigError(f"{type(owner).__name__}.{name} must be {rule}, not {getattr(owner, name)!r}")


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _known(kind: Any, fields: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    names = [field.name for field in dataclasses.fields(kind)]
    for name in fields:
        if name not in names:
            hint = did_you_mean(name, names, f"known: {', '.join(names)}")
            raise ConfigError(f"{where} has no field {name!r} ({hint})")
    return fields


def _is_seconds(value: object, *, zero: bool = False) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (value > 0 or (zero and value == 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a GET is tried again, and when it is given up.

    By class of error:

    - passing faults (timeouts, lost connections, short reads, 500/502/503/504) count as attempts;
    - throttling (503 SlowDown, 429, a 503 with ``Retry-After``) does not: the server is well and says "later", so that
      the deadline alone ends it;
    - bytes without their checksum are fetched anew a few times, since what broke them may be the server's disk;
    - anything else (404, 403, other 400s) is final at once.

    The pause after the *n*-th failure is drawn evenly from 0 to
    ``min(backoff_max_s, backoff_initial_s * 2 ** (n - 1))``: full jitter, the variant that AWS found to finish first
    with the fewest calls ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A ``Retry-After`` is waited
    for first, and the pause comes on top: else all that were told the same would come back at the same moment.
    Throttling is counted apart: it does not lengthen the pauses of other failures, and its own ceiling is 0.05 s at the
    least and `throttle_backoff_max_s` at the most.

    Attributes:
        max_attempts: GETs per object, the first included and throttled ones not; of a listing, put or delete likewise
            the requests. 10, as the AWS CRT client has it. 1: nothing is tried again, throttled or not.
        checksum_attempts: of these, GETs that may bring other bytes than the checksum says. 3: an error on the way is
            rare and another GET cures it; of a broken object each one is in vain.
        deadline_s: seconds from the first GET after which no further one is made; one that would come later is not
            waited for. 180, as obstore has it. A page of a listing, a delete, and the beginning and the end of an
            upload are cut there.
        backoff_initial_s: ceiling of the first pause. 0.1: a few times the first-byte latency of S3.
        backoff_max_s: ceiling of every pause. 20, as the AWS SDKs have it.
        throttle_backoff_max_s: the same after throttling, where no attempts are to be saved. 5: when 512 objects that
            wait for each other in the epoch's order meet a limit of 100 requests per second, the last one comes after
            8 s (with 20: 13; 5 is the least possible), and 5 s after the end of an outage of 10 s (with 20: 19).
        retry_after_max_s: the longest ``Retry-After`` that is honoured in full; of a longer one, this much. 60: the
            quotas of gateways are mostly per minute, and S3 itself sends none.
        connect_timeout_s: seconds for DNS, TCP and TLS together. 5: a healthy connection takes less than 0.1.
        first_byte_timeout_s: seconds from the request to the response head. 30: S3 answers in 0.01–0.2; beyond
            that a second try on another connection is likely to be faster.
        slow_attempt_s: seconds after which a GET of an epoch's object is made anew, once more after twice as long,
            and so on: 2, as AWS has it for small objects ("Timeouts and Retries for Latency-Sensitive Applications").
            A second more per MiB; and never before four times of what 99 in 100 GETs of that size take. 0: never.
        stall_timeout_s: seconds without a new byte of the body; 30, for the same reason. A body that comes at less than
            1 KB/s on average is cut, too, once it has lasted that long.
    """

    max_attempts: int = 10
    checksum_attempts: int = 3
    deadline_s: float = 180.0
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 20.0
    throttle_backoff_max_s: float = 5.0
    retry_after_max_s: float = 60.0
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 30.0
    slow_attempt_s: float = 2.0
    stall_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_attempts", "checksum_attempts"):
            _require(_is_count(getattr(self, name)), self, name, "a whole number of at least 1")
        for name in ("deadline_s", "connect_timeout_s", "first_byte_timeout_s", "stall_timeout_s"):
            _require(_is_seconds(getattr(self, name)), self, name, "a number of seconds above 0")
        pauses = ("backoff_initial_s", "backoff_max_s", "throttle_backoff_max_s", "retry_after_max_s")
        for name in (*pauses, "slow_attempt_s"):
            _require(_is_seconds(getattr(self, name), zero=True), self, name, "a number of seconds, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How many GETs are in flight, and how much may wait for the consumer.

    All of it but `max_in_flight_per_node` counts per iterating process. What a process has in effect is the `options`
    of its `Session`.

    Attributes:
        max_in_flight: GETs at the same time. None: as many as pay, up to this process's share of
            `max_in_flight_per_node`: 32 at first, then twice as many as long as that brings more; later it is tried
            from time to time whether more bring more, or fewer no less. Where the server refuses GETs (503 SlowDown)
            they are also paced, just under the rate that it takes. A number stays as it is.
        max_in_flight_per_node: GETs at the same time by all ranks and workers of one machine, where the launcher says
            how many ranks it started there (torchrun, MPI, Slurm; else one is assumed): each gets an equal share and
            never more than `max_in_flight`, but always 1; so beyond that many processes the sum is their number.
            512 is four processes at their full 128: where a prefix gives 5,500 GET/s and no more, a GET then waits
            0.1 s for its turn. 8 ranks of 4 workers would have 4,096 in flight and wait 0.7 s, which earns
            503 SlowDown and retries, and no byte more.
        window_bytes: bytes fetched or being fetched and not yet consumed. 64 MiB: 580 images of 115 KB, enough to
            bridge a GET of 0.3 s at 2,000 images per second. An object larger than the window still comes, alone.
        window_items: objects fetched or being fetched and not yet consumed. 1,024, so that tiny objects don't make
            an endless queue.
        decoded_bytes: bytes of transformed samples waiting in a `Loader` for the training loop. 64 MiB; what the
            loop waits for may always be made.
        hedge: share of the GETs, 0 to 1, that may be made because an earlier one of the same object is slow: slower
            than all but this share of the GETs of its size, and sooner where the consumer waits for it. The first
            answer wins. 0.02: in order, one GET in 200 that takes a second costs half of the throughput, and a few
            GETs more bring nearly all of it back. 0: none. Files of this machine are never asked for twice.
        verify: whether the bytes of objects on S3 are compared with the checksum that S3 keeps. Their number always is.
            ``"auto"``: with CRC-64/NVME, CRC-32C, CRC-32, SHA-1 or SHA-256 of the whole object, where the server tells
            one; since December 2024 S3 keeps CRC-64/NVME of all that comes without another. Of an upload in parts there
            may be none of the whole; then nothing is compared. ``"always"``: also with the ETag where it is an MD5, and
            an object without anything to compare with is a `FetchError`. ``"never"``: S3 is not even asked. Other bytes
            are fetched anew (`RetryPolicy.checksum_attempts`), then it is a `ChecksumMismatch`. To a GET of 115 KB, 43
            µs, CRC-64/NVME adds 9 µs, SHA-256 70, MD5 160 (``python -m bench verify``): hence no MD5 in ``"auto"``.
        retry: when a GET is tried again.
    """

    max_in_flight: int | None = None
    max_in_flight_per_node: int = 512
    window_bytes: int = 64 * MIB
    window_items: int = 1024
    decoded_bytes: int = 64 * MIB
    hedge: float = 0.02
    verify: Verify = "auto"
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        ok = self.max_in_flight is None or _is_count(self.max_in_flight)
        _require(ok, self, "max_in_flight", "a whole number of at least 1, or None")
        for name in ("max_in_flight_per_node", "window_bytes", "window_items", "decoded_bytes"):
            _require(_is_count(getattr(self, name)), self, name, "a whole number of at least 1")
        _require(_is_share(self.hedge), self, "hedge", "a share, 0 to 1")
        _require(self.verify in get_args(Verify), self, "verify", f"one of {get_args(Verify)}")
        _require(isinstance(self.retry, RetryPolicy), self, "retry", "a RetryPolicy")

    @property
    def most_in_flight(self) -> int:
        """GETs at the same time that there may ever be: `max_in_flight`, or where it is None its ceiling."""
        return self.max_in_flight or self.max_in_flight_per_node

    @classmethod
    def of(cls, given: FetchOptions | Mapping[str, Any]) -> FetchOptions:
        """Options as a config may write them: a dict of fields, that of `retry` included.

        Raises:
            ConfigError: it is neither, or has a field that there is not, or a wrong value.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ConfigError(f"options must be FetchOptions or a dict of its fields, not {given!r}")
        fields = {**given}
        if isinstance(fields.get("retry"), Mapping):
            fields["retry"] = RetryPolicy(**_known(RetryPolicy, fields["retry"], "options.retry"))
        return cls(**_known(cls, fields, "options"))


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Where S3 is and who asks. No secret is ever part of it: it holds names, botocore's chain finds the rest.

    Attributes:
        endpoint_url: ``https://host[:port]`` of an S3-compatible server. None: ``AWS_ENDPOINT_URL_S3``,
            ``AWS_ENDPOINT_URL``, the profile's, else AWS itself.
        region_name: None: ``AWS_REGION``/``AWS_DEFAULT_REGION``, the profile's, else ``us-east-1``.
        profile_name: a profile of the AWS config files. None: ``AWS_PROFILE``, else ``default``.
        anonymous: send unsigned requests, for public buckets.
        addressing: ``"virtual"`` puts the bucket into the host name, ``"path"`` into the path; ``"auto"`` means
            virtual for AWS itself, path for any other endpoint and for bucket names that are no host name.
        ca_bundle: PEM file of the authorities to trust. None: ``AWS_CA_BUNDLE``, the profile's, else the system's.
        transport: the client that makes the GETs: ``"http1"``, our own, or ``"aiohttp"``, at three times the CPU time,
            which also takes over where the environment names a proxy (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``).
        part_size_bytes: size of the parts in which a large object is read and written. 8 MiB, as the AWS SDKs have it.
            Parts of an upload grow where there would be more of them than S3 takes (see `stores.upload.PartWriter`).
        parts_in_flight: parts of one object that move at the same time. 8: one connection to S3 carries some
            85 MB/s, so that eight fill a line of 5 Gbit/s, at the price of 64 MiB of parts.
    """

    endpoint_url: str | None = None
    region_name: str | None = None
    profile_name: str | None = None
    anonymous: bool = False
    addressing: Addressing = "auto"
    ca_bundle: str | None = None
    transport: Transport = "http1"
    part_size_bytes: int = 8 * MIB
    parts_in_flight: int = 8

    def __post_init__(self) -> None:
        for name in ("endpoint_url", "region_name", "profile_name", "ca_bundle"):
            value = getattr(self, name)
            _require(value is None or (isinstance(value, str) and value != ""), self, name, "a non-empty string")
        if self.endpoint_url is not None:
            ok = self.endpoint_url.startswith(("http://", "https://"))
            if "@" in self.endpoint_url:
                raise ConfigError("S3Options.endpoint_url must hold no user and no password, nor an @ at all")
            _require(ok, self, "endpoint_url", "a URL that starts with http:// or https://")
        _require(isinstance(self.anonymous, bool), self, "anonymous", "True or False")
        _require(self.addressing in get_args(Addressing), self, "addressing", f"one of {get_args(Addressing)}")
        _require(self.transport in get_args(Transport), self, "transport", f"one of {get_args(Transport)}")
        # 5 MiB is S3's least size of a part but the last ("Amazon S3 multipart upload limits").
        _require(_is_count(self.part_size_bytes, 5 * MIB), self, "part_size_bytes", "at least 5 MiB, in bytes")
        _require(_is_count(self.parts_in_flight), self, "parts_in_flight", "a whole number of at least 1")

    @classmethod
    def field_names(cls) -> frozenset[str]:
        """Names a config may use beside `backend` and `path_mapping` in its `file_client_args`."""
        return frozenset(f.name for f in dataclasses.fields(cls))
