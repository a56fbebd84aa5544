"""AWS Signature Version 4 for the requests that carry objects. Pure, and about 4 µs per request.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference. botocore's signer makes the same
signatures (a test holds us to that) in some 200 µs.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from asyncio_loader.stores.s3.http1 import render_request

__all__ = ["EMPTY_SHA256", "UNSIGNED_PAYLOAD", "Keys", "Signer"]

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
"""Hash of the empty body that every GET and HEAD has."""

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""In place of the hash of a body that TLS protects."""

_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys:
    """Credentials at one moment. They show in no repr, and refuse to be pickled or copied."""

    __slots__ = ("key_id", "secret", "token")

    def __init__(self, key_id: str, secret: str, token: str | None = None) -> None:
        self.key_id = key_id
        self.secret = secret
        self.token = token

    def __repr__(self) -> str:
        return "<Keys>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: each process finds its own")


class _Frame(NamedTuple):
    """What the signed GETs of a host have in common within a second.

    Attributes:
        second: since 1970.
        host: the Host header.
        extra: see `Signer.get`.
        canonical_end: of the canonical request, what comes behind the path.
        mac: of the string to sign, up to the hash, with the day's key. Copied for each GET: `hmac.digest` looks its
            algorithm up each time, which takes longer than the rest of a signature.
        request_middle: of the request, what stands between path and signature.
    """

    second: int
    host: str
    extra: Mapping[str, str] | None
    canonical_end: bytes
    mac: hmac.HMAC
    request_middle: bytes


class Signer:
    """Signs requests with one set of keys for one region.

    The signing key of a day and the stamp of a second are kept; one thread at a time may use it.
    """

    __slots__ = (
        "_day",
        "_day_key",
        "_fixed",
        "_fixed_lines",
        "_frame",
        "_keys",
        "_region",
        "_scope",
        "_second",
        "_signed_names",
        "_stamp",
    )

    def __init__(self, keys: Keys, region: str) -> None:
        self._keys = keys
        self._region = region
        self._second = -1
        self._stamp = self._day = self._scope = ""
        self._day_key = b""
        self._fixed: dict[str, str] = {}
        self._frame: _Frame | None = None
        self._fixed_lines = ""
        self._signed_names = "host;x-amz-content-sha256;x-amz-date"
        if keys.token is not None:
            self._fixed["x-amz-security-token"] = keys.token
            self._fixed_lines = f"x-amz-security-token:{' '.join(keys.token.split())}\n"
            self._signed_names += ";x-amz-security-token"

    def sign(
        self,
        method: str,
        host: str,
        path: str,
        *,
        now_s: float,
        query: str = "",
        extra: Mapping[str, str] | None = None,
        body_sha256: str = EMPTY_SHA256,
    ) -> dict[str, str]:
        """The headers to send.

        Args:
            method: ``GET``, ``HEAD`` or ``PUT``.
            host: the Host header, which must go out as it is here.
            path: percent-encoded, as in the request line.
            now_s: seconds since 1970, of a clock within 15 minutes of the server's.
            query: encoded and sorted by name, as in the request line.
            extra: more headers to send and sign: lower-case names, values of ASCII without line ends.
            body_sha256: hash of the body in hexadecimal, or `UNSIGNED_PAYLOAD`.
        """
        self._set_time(int(now_s))
        headers = {"host": host, "x-amz-content-sha256": body_sha256, "x-amz-date": self._stamp, **self._fixed}
        names = self._signed_names
        if extra:
            headers.update(extra)
            names = ";".join(sorted(headers))
            lines = "".join([f"{name}:{' '.join(headers[name].split())}\n" for name in names.split(";")])
        else:
            lines = f"host:{host}\nx-amz-content-sha256:{body_sha256}\nx-amz-date:{self._stamp}\n{self._fixed_lines}"
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{body_sha256}"
        text = f"{_ALGORITHM}\n{self._stamp}\n{self._scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={self._keys.key_id}/{self._scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def get(
        self, host: str, path: str, now_s: float, plain: Mapping[str, str], extra: Mapping[str, str] | None = None
    ) -> bytes:
        """A whole signed GET, ready to be sent: what `sign` and `http1.render_request` make of it, at half their cost.

        Everything but path and signature is the same for all objects of a host within a second, and kept.

        Args:
            host: see `sign`.
            path: percent-encoded, as `address.encode_key` does it: it is not looked at again.
            now_s: see `sign`.
            plain: more headers, which are not signed. The same objects at every call, these and the next.
            extra: more headers, see `sign`.

        Raises:
            ConfigError: a header cannot be sent, see `render_request`.
        """
        second = int(now_s)
        frame = self._frame
        if frame is None or frame.second != second or frame.host != host or frame.extra is not extra:
            frame = self._frame = self._make_frame(second, host, plain, extra)
        encoded = path.encode("ascii")
        digest = hashlib.sha256(b"GET\n%b%b" % (encoded, frame.canonical_end)).hexdigest()
        mac = frame.mac.copy()
        mac.update(digest.encode("ascii"))
        return b"GET %b%b%b\r\n\r\n" % (encoded, frame.request_middle, mac.hexdigest().encode("ascii"))

    def _make_frame(self, second: int, host: str, plain: Mapping[str, str], extra: Mapping[str, str] | None) -> _Frame:
        headers = self.sign("GET", host, "/", now_s=second, extra=extra)
        authorization = headers.pop("authorization")
        # It comes last, because it ends with the signature.
        request = render_request("GET", "/", {**headers, **plain, "authorization": authorization})
        end = request.rindex(b"Signature=") + len(b"Signature=")
        names = ";".join(sorted(headers))
        lines = "".join([f"{name}:{' '.join(headers[name].split())}\n" for name in names.split(";")])
        return _Frame(
            second,
            host,
            extra,
            canonical_end=f"\n\n{lines}\n{names}\n{EMPTY_SHA256}".encode("ascii"),
            mac=hmac.new(self._day_key, f"{_ALGORITHM}\n{self._stamp}\n{self._scope}\n".encode("ascii"), "sha256"),
            request_middle=request[len(b"GET /") : end],
        )

    def __repr__(self) -> str:
        return f"<Signer for {self._region}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer holds a secret and is not pickled")

    def _set_time(self, second: int) -> None:
        if second == self._second:
            return
        self._second = second
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = self._stamp[:8]
        if day != self._day:
            self._day = day
            self._scope = f"{day}/{self._region}/s3/aws4_request"
            key = f"AWS4{self._keys.secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day_key = key
