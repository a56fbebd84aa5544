"""From a URI to the very bytes of the request line. Pure.

A key is taken literally and encoded once, as SigV4 wants it ("Signature Calculations for the Authorization Header",
Amazon S3 API Reference): every byte of its UTF-8 but ``A-Z a-z 0-9 - . _ ~ /`` becomes ``%XX``. Nothing is
normalised: ``//``, ``.`` and ``..`` are parts of a key like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from yarl import URL

from asyncio_loader.errors import ConfigError
from asyncio_loader.options import Addressing

__all__ = ["AWS_DOMAINS", "Address", "Endpoint", "encode_key", "parse_object", "parse_uri"]

AWS_DOMAINS = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
"""Domain of the services in each of Amazon's partitions (``dnsSuffix`` in botocore's ``endpoints.json``)."""

_PREFIX = "s3://"
# "Naming Amazon S3 objects", Amazon S3 User Guide.
_MAX_KEY_BYTES = 1024
_PLAIN_KEY = re.compile(r"[A-Za-z0-9\-._~/]*")
# Wider than S3's rules of today, for old buckets and for other servers; narrow enough that it is one path segment.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{2,254}")
# One label: a dot would need a certificate for two levels of subdomains, which S3 does not have.
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9\-]{1,61}[a-z0-9]")
_HOST_LABELS = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
# What stands before the domain: ``bucket.s3.region``, ``s3-region``, ``bucket.s3-fips.dualstack.region``, … Not
# ``s3-anything.region.elb``, which is anybody's.
_S3_LABELS = re.compile(r"(?:[a-z0-9\-]+\.)*s3(?:-[a-z0-9\-]+)?(?:\.dualstack)?(?:\.[a-z0-9\-]+)?")
_AWS_HOSTS = tuple(f".{domain}" for domain in AWS_DOMAINS.values())


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is empty for the bucket itself.

    Raises:
        ConfigError: no such URI, or no possible bucket.
    """
    if not uri.startswith(_PREFIX):
        raise ConfigError(f"{uri!r} is no S3 URI: it must look like s3://bucket/key")
    bucket, _, key = uri[len(_PREFIX) :].partition("/")
    if not bucket:
        raise ConfigError(f"{uri!r} names no bucket: it must look like s3://bucket/key")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{uri!r}: {bucket!r} is no bucket name: 3 to 255 letters, digits, '.', '-' or '_', beginning with a letter"
            " or digit (of an access point, use the alias instead of the ARN)"
        )
    return bucket, key


def parse_object(uri: str) -> tuple[str, str]:
    """Bucket and key of an object.

    Raises:
        ConfigError: the URI names no object, or none that S3 could have.
    """
    bucket, key = parse_uri(uri)
    if not key:
        raise ConfigError(f"{uri!r} names a bucket, not an object")
    _check_key(uri, key)
    return bucket, key


def _check_key(uri: str, key: str) -> None:
    # No character has more than four bytes.
    if len(key) * 4 > _MAX_KEY_BYTES or not key.isascii():
        size_bytes = len(_utf8(key))
        if size_bytes > _MAX_KEY_BYTES:
            raise ConfigError(f"{uri}: the key has {size_bytes} bytes of UTF-8, S3 takes no more than {_MAX_KEY_BYTES}")


def encode_key(key: str) -> str:
    """The key as it stands in a request line and in the string to sign."""
    if _PLAIN_KEY.fullmatch(key):
        return key
    return quote(_utf8(key), safe="/-._~")


class Address(NamedTuple):
    """Where a request goes.

    Attributes:
        host: the Host header: in lower case, with the port where it is not the scheme's own.
        path: the path, percent-encoded.
        scheme: ``http`` or ``https``.
    """

    host: str
    path: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An S3 server, and how a bucket is named to it.

    Attributes:
        url: ``scheme://host[:port][/base]`` without a slash at the end, for messages and for botocore.
        scheme: ``http`` or ``https``.
        host: see `Address.host`.
        base_path: what comes before every path; empty for most servers.
        addressing: see `S3Options.addressing`.
        is_aws: True for Amazon's own.
    """

    url: str
    scheme: str
    host: str
    base_path: str
    addressing: Addressing
    is_aws: bool

    @classmethod
    def parse(cls, url: str, addressing: Addressing, *, source: str) -> Endpoint:
        """Read an endpoint URL; `source` says in errors where it stood."""
        if "@" in url:
            # Before the URL is in any message: it may well hold a password.
            raise ConfigError(f"{source}: an endpoint is https://host[:port][/path], without user and password")
        try:
            parts = URL(url)
            host = parts.host_port_subcomponent
        except ValueError as error:
            raise ConfigError(f"{source}: {url!r} is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not host:
            hint = "" if "://" in url else f"; did you mean 'http://{url}'?"
            raise ConfigError(f"{source}: {url!r} must look like https://host[:port]{hint}")
        if parts.raw_query_string or parts.raw_fragment:
            raise ConfigError(f"{source}: an endpoint is https://host[:port][/path], without query and fragment")
        if addressing == "virtual" and _is_ip(parts.raw_host or ""):
            raise ConfigError(f"{source}: {host} is an address: no bucket can stand before it (addressing='path')")
        base = parts.raw_path.rstrip("/")
        is_aws = (parts.raw_host or "").endswith(_AWS_HOSTS)
        return cls(f"{parts.scheme}://{host}{base}", parts.scheme, host, base, addressing, is_aws)

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, by its name or address."""
        name = URL(self.url).raw_host or ""
        if _is_ip(name):
            return ip_address(name).is_loopback
        return name == "localhost" or name.endswith(".localhost")

    def locate(self, uri: str) -> Address:
        """Where the object is.

        Raises:
            ConfigError: the URI names no object, or its bucket cannot stand in a host name as `addressing` wants it.
        """
        bucket, key = parse_object(uri)
        if self.is_virtual(bucket):
            host, path = f"{bucket}.{self.host}", f"{self.base_path}/{encode_key(key)}"
        else:
            host, path = self.host, f"{self.base_path}/{bucket}/{encode_key(key)}"
        return Address(host, path, self.scheme)

    def in_region(self, region: str, other: str) -> Endpoint:
        """The same service in another region: another host of Amazon's, the very same server of anybody else."""
        if not self.is_aws:
            return self
        host = ".".join(other if label == region else label for label in self.host.split("."))
        return replace(self, host=host, url=f"{self.scheme}://{host}{self.base_path}")

    def is_related(self, host: str) -> bool:
        """Whether a host is Amazon's as this one is, in the same partition."""
        domain = next((domain for domain in _AWS_HOSTS if self.host.endswith(domain)), None)
        return domain is not None and host.endswith(domain) and bool(_S3_LABELS.fullmatch(host.removesuffix(domain)))

    def is_virtual(self, bucket: str) -> bool:
        """True where the bucket stands in the host name."""
        if self.addressing == "auto":
            return self.is_aws and _HOST_LABEL.fullmatch(bucket) is not None
        if self.addressing == "virtual" and not _HOST_LABELS.fullmatch(bucket):
            raise ConfigError(
                f"bucket {bucket!r} is no host name: S3Options.addressing must be 'auto' or 'path' for it"
            )
        return self.addressing == "virtual"


def _utf8(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the key {key!r} is not Unicode text: S3 keys are UTF-8") from None


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
