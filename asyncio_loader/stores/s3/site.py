"""Where S3 is: endpoint, region and authorities, from `S3Options` first and botocore's configuration second."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

import botocore.exceptions
from botocore.session import Session

from asyncio_loader.errors import ConfigError
from asyncio_loader.hints import did_you_mean
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.address import AWS_DOMAINS, Endpoint

__all__ = ["Site", "resolve_site"]

_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Site:
    """An S3 service as it was found.

    Attributes:
        endpoint: the server.
        region: what requests are signed for.
        ca_bundle: PEM file or directory of the authorities to trust; None for the system's.
        profile: the name of the AWS profile in use.
        proxy: URL of the proxy that the environment names for the endpoint; None for none. It may hold a password.
    """

    endpoint: Endpoint
    region: str
    ca_bundle: str | None
    profile: str
    proxy: str | None = field(default=None, repr=False)


def resolve_site(options: S3Options) -> tuple[Site, Session]:
    """Find the service; the session is for its credentials. Reads files: not for the loop.

    Raises:
        ConfigError: no such profile, a broken config file, or an endpoint that is no URL.
    """
    session = Session(profile=options.profile_name)
    try:
        profile = session.get_config_variable("profile") or "default"
        # Reads the files, and notices a profile that is not there.
        session.get_scoped_config()
        region = _region(options, session)
        endpoint = _endpoint(options, session, region)
        ca_bundle = options.ca_bundle or session.get_config_variable("ca_bundle")
    except botocore.exceptions.ProfileNotFound as error:
        raise _no_profile(str(error.kwargs["profile"]), options, session.available_profiles) from None
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigError(f"AWS configuration: {' '.join(str(error).split())}") from None
    return Site(endpoint, region, ca_bundle, profile, _proxy_of(endpoint)), session


def _region(options: S3Options, session: Session) -> str:
    # botocore knows AWS_DEFAULT_REGION alone; every other SDK AWS_REGION.
    found = options.region_name or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return str(found or _DEFAULT_REGION)


def _endpoint(options: S3Options, session: Session, region: str) -> Endpoint:
    if options.endpoint_url is not None:
        return Endpoint.parse(options.endpoint_url, options.addressing, source="S3Options.endpoint_url")
    found = _configured_url(session)
    if found is not None:
        source, url = found
        return Endpoint.parse(url, options.addressing, source=source)
    return Endpoint.parse(_aws_url(session, region), options.addressing, source="region_name")


def _configured_url(session: Session) -> tuple[str, str] | None:
    """Where it stands, and the URL."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return name, os.environ[name]
    profile = session.get_scoped_config()
    service = session.full_config.get("services", {}).get(profile.get("services", ""), {}).get("s3", {})
    found: str | None = service.get("endpoint_url") or profile.get("endpoint_url")
    return ("endpoint_url of the AWS profile", found) if found else None


def _aws_url(session: Session, region: str) -> str:
    """Amazon's own endpoint ("Amazon S3 endpoints and quotas", AWS General Reference)."""
    try:
        partition = session.get_partition_for_region(region)
    except botocore.exceptions.UnknownRegionError:
        # Newer than botocore.
        partition = "aws"
    fips = "-fips" if session.get_config_variable("use_fips_endpoint") else ""
    dualstack = ".dualstack" if session.get_config_variable("use_dualstack_endpoint") else ""
    return f"https://s3{fips}{dualstack}.{region}.{AWS_DOMAINS.get(partition, AWS_DOMAINS['aws'])}"


def _proxy_of(endpoint: Endpoint) -> str | None:
    """By the variables that curl and botocore look at: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``, in any case.

    Never for this very machine, which no proxy leads to.
    """
    proxies = getproxies()
    proxy = proxies.get(endpoint.scheme) or proxies.get("all")
    if not proxy or endpoint.is_loopback or proxy_bypass(endpoint.host):
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    scheme = proxy.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ConfigError(
            f"the environment names a proxy of scheme {scheme!r} for {endpoint.url}, and only http and https are"
            f" supported: set {endpoint.scheme.upper()}_PROXY, or name the host in NO_PROXY"
        )
    return proxy


def _no_profile(name: str, options: S3Options, known: list[str]) -> ConfigError:
    source = "S3Options.profile_name" if options.profile_name is not None else "AWS_PROFILE"
    hint = did_you_mean(name, known, f"known: {', '.join(sorted(known)) or 'none'}")
    return ConfigError(f"{source}: there is no AWS profile {name!r} ({hint})")
