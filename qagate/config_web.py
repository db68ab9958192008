"""The settings of the pages: where they listen, who may look, how long a login lasts."""

from __future__ import annotations

import ipaddress
import zoneinfo
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from qagate.config_section import Port, Section, resolved

RoleName = Literal["viewer", "radiographer", "physicist", "admin"]


class OidcSettings(Section):
    """Login by the hospital's OpenID Connect provider, beside the gate's own accounts."""

    issuer: str = Field(
        "", description="URL of the provider, such as https://login.hospital.example/realms/staff; empty: off"
    )
    client_id: str = Field("", description="the gate's name at the provider")
    client_secret: SecretStr = Field(
        SecretStr(""), description="better given as QAGATE_WEB__OIDC__CLIENT_SECRET"
    )
    name: str = Field("Hospital login", description="text of its button on the login page")
    user_claim: str = Field("preferred_username", description="claim that holds the user name")
    role_claim: str = Field("groups", description="claim that holds the user's groups")
    viewer: tuple[str, ...] = Field((), description="groups whose members are viewers")
    radiographer: tuple[str, ...] = Field((), description="groups whose members are radiographers")
    physicist: tuple[str, ...] = Field((), description="groups whose members are physicists")
    admin: tuple[str, ...] = Field((), description="groups whose members are administrators")

    @model_validator(mode="after")
    def _complete(self) -> OidcSettings:
        if not self.issuer:
            return self
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname or "")):
            raise ValueError(f"issuer {self.issuer!r} does not begin with https://")
        if not self.client_id:
            raise ValueError("issuer is set but client_id is not; give the name the provider knows")
        if not (self.viewer or self.radiographer or self.physicist or self.admin):
            raise ValueError("no group is given a role: set viewer, radiographer, physicist or admin")
        return self


class WebSettings(Section):
    """The pages and the REST API."""

    enabled: bool = Field(True, description="whether `qagate serve` runs the pages as well")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every network")
    port: Port = Field(8080, description="TCP port to listen on")
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and its chain; relative to this file"
    )
    tls_key: Path | None = Field(None, description="PEM file of its key; relative to this file")
    behind_proxy: bool = Field(False, description="a reverse proxy in front of the gate does TLS")
    proxy_addresses: tuple[str, ...] = Field(
        ("127.0.0.1",), description="addresses or networks of that proxy; its headers alone are believed"
    )
    user_header: str = Field(
        "", description="header in which the proxy names the user it logged in, such as X-Remote-User"
    )
    public_url: str = Field(
        "", description="how people reach the pages, such as https://qagate.hospital.example"
    )
    site_name: str = Field("", description="name of the house or department, shown on every page")
    language: Literal["en", "de"] = Field(
        "en", description="of who has chosen none and whose browser asks none"
    )
    time_zone: str = Field("", description="such as Europe/Berlin; empty: this machine's")
    idle_minutes: int = Field(30, ge=1, description="a login ends when nothing was asked for this long")
    session_hours: int = Field(12, ge=1, description="a login ends after this time at the latest")
    wrong_passwords: int = Field(5, ge=1, description="in a row, before a name is locked")
    lock_minutes: int = Field(15, ge=1, description="how long it is locked then")
    patient_names: RoleName | Literal["nobody"] = Field(
        "physicist", description="least role that may have patient names shown; each time is audited"
    )
    viewer_url: str = Field(
        "", description="link to the PACS viewer; {study_uid} and {series_uid} are filled in"
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings)

    @field_validator("proxy_addresses")
    @classmethod
    def _networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ipaddress.ip_network(address, strict=False)
        return addresses

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        if name and name not in zoneinfo.available_timezones():
            raise ValueError(f"{name!r} is no time zone such as Europe/Berlin")
        return name

    @field_validator("viewer_url")
    @classmethod
    def _template(cls, url: str) -> str:
        try:
            url.format(study_uid="1.2", series_uid="1.2")
        except (KeyError, IndexError, ValueError, AttributeError):
            raise ValueError("only {study_uid} and {series_uid} can be filled in") from None
        if url and not url.startswith(("https://", "http://")):
            raise ValueError(f"{url!r} does not begin with https:// or http://")
        return url

    @model_validator(mode="after")
    def _safe(self) -> WebSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; set both or neither")
        if self.user_header and not self.behind_proxy:
            raise ValueError(
                "user_header is set but behind_proxy is not: without a proxy anyone could send that header"
            )
        if self.oidc.issuer and not self.public_url:
            raise ValueError("oidc needs public_url, where the provider sends people back to")
        if self.enabled and not (self.encrypted or _loopback(self.host)):
            raise ValueError(
                f"host {self.host} lets others in without encryption: set tls_certificate and tls_key, "
                "or behind_proxy = true where a proxy does TLS, or host = 127.0.0.1"
            )
        return self

    @property
    def encrypted(self) -> bool:
        """Whether browsers reach the pages by https alone."""
        return self.tls_certificate is not None or self.behind_proxy

    def relative_to(self, folder: Path) -> WebSettings:
        """The same with its relative paths taken from a folder."""
        return self.model_copy(update=resolved(self, ("tls_certificate", "tls_key"), folder))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
