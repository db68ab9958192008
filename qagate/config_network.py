"""Settings of the DICOM network: who may send, the receiver, the archives."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qagate.config_section import Port, Seconds, Section, resolved

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$")
]
_TLS_FILES = ("tls_certificate", "tls_key", "tls_issuers")


def _networks(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        ipaddress.ip_network(address, strict=False)
    return addresses


class Peer(Section):
    """A system that may send to the gate."""

    ae_title: str = Field(description="calling AE title; `*` for any")
    addresses: tuple[str, ...] = Field((), description="addresses or networks it may call from; empty: any")
    store: bool = Field(True, description="it may send images; otherwise a C-STORE is refused (0x0124)")
    echo: bool = Field(True, description="it may verify; otherwise C-ECHO is not negotiated")
    commitment: Literal["off", "archive", "spool"] = Field(
        "archive",
        description="when the gate tells it that its images are safe: never; when every archive that takes "
        "images holds them, not in `observe` mode; as soon as the spool does",
    )
    report_host: str | None = Field(
        None, description="where commitment reports go; unset: only on associations that it opens itself"
    )
    report_port: Port = Field(104, description="its TCP port for them")
    report_tls: bool = Field(False, description="talk TLS there, with the receiver's certificate and issuers")
    report_tls_check_host: bool = Field(True, description="its certificate must name `report_host`")
    peer_associations: int | None = Field(None, ge=0, description="default: the receiver's")
    max_dataset_mb: int | None = Field(None, ge=0, description="default: the receiver's")
    association_instances: int | None = Field(None, ge=0, description="default: the receiver's")
    association_mb: int | None = Field(None, ge=0, description="default: the receiver's")
    instances_per_minute: int | None = Field(None, ge=0, description="default: the receiver's")
    mb_per_minute: int | None = Field(None, ge=0, description="default: the receiver's")

    @field_validator("addresses")
    @classmethod
    def _networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return _networks(addresses)

    @model_validator(mode="after")
    def _named(self) -> Peer:
        if self.report_host is not None and self.ae_title == "*":
            raise ValueError("report_host belongs to one system: name its ae_title")
        return self


class ReceiverSettings(Section):
    """The C-STORE receiver."""

    ae_title: AETitle = Field("QAGATE", description="the gate's own AE title")
    any_called_ae_title: bool = Field(False, description="accept associations that call another AE title")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every network")
    port: Port = Field(11112, description="TCP port to listen on")
    max_associations: int = Field(32, ge=1, description="associations open at one time")
    peer_associations: int = Field(
        24, ge=0, description="of them from one peer (AE title and address); 0: no limit"
    )
    max_dataset_mb: int = Field(
        4096, ge=0, description="a larger data set is refused (0xA701) while it comes; 0: no limit"
    )
    association_instances: int = Field(
        0, ge=0, description="C-STOREs on one association, further ones are refused (0xA702); 0: no limit"
    )
    association_mb: int = Field(
        0, ge=0, description="data on one association, more is refused (0xA702); 0: no limit"
    )
    instances_per_minute: int = Field(
        0, ge=0, description="of one peer, above it answers are held back, nothing is lost; 0: no limit"
    )
    mb_per_minute: int = Field(
        0, ge=0, description="of one peer, above it data are read more slowly, nothing is lost; 0: no limit"
    )
    max_pdu_bytes: int = Field(131_072, ge=4096, description="largest PDU the gate accepts")
    acse_timeout_s: Seconds = Field(30, description="wait for an association request or release")
    dimse_timeout_s: Seconds = Field(
        60, description="an association that stalls, or trickles, in a message is aborted after this time"
    )
    network_timeout_s: Seconds = Field(120, description="an idle association is aborted after this time")
    max_connections: int = Field(
        256, ge=1, description="connections open at one time, associations or not; further ones are closed"
    )
    tls_certificate: Path | None = Field(
        None, description="own certificate in PEM, issuers after it; set: DICOM over TLS only"
    )
    tls_key: Path | None = Field(None, description="the certificate's key in PEM, without a password")
    tls_issuers: Path | None = Field(
        None, description="who signs the senders' certificates, in PEM; set: each sender must show one"
    )
    commitment_wait_s: Seconds = Field(
        86_400, description="a sender that asked is told no when its images are not safe after this time"
    )
    min_free_mb: int = Field(2048, ge=0, description="C-STORE is refused (0xA700) below this free space")

    @model_validator(mode="after")
    def _whole(self) -> ReceiverSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or neither")
        if self.tls_issuers is not None and self.tls_certificate is None:
            raise ValueError("tls_issuers asks senders for TLS: set tls_certificate and tls_key as well")
        return self

    def relative_to(self, folder: Path) -> ReceiverSettings:
        """The same with its relative paths taken from a folder."""
        return self.model_copy(update=resolved(self, _TLS_FILES, folder))


class ArchiveSettings(Section):
    """An archive (PACS) that gets the results, and in `forward` and `hold` mode the images."""

    name: str = Field(min_length=1, max_length=64, description="name used in status and logs")
    ae_title: AETitle = Field(description="the archive's AE title")
    host: str = Field(description="its host name or address")
    port: Port = Field(104, description="its TCP port")
    calling_ae_title: AETitle | None = Field(
        None, description="AE title the gate calls with; default: its own"
    )
    results: bool = Field(True, description="send the SR and the KOS")
    images: bool = Field(True, description="send the images in `forward` and `hold` mode")
    sr: Literal["comprehensive3d", "enhanced"] = Field(
        "comprehensive3d", description="SR storage class; `enhanced` for old archives"
    )
    timeout_s: Seconds = Field(30.0, description="wait for each of the archive's answers")
    delivered: Literal["stored", "committed"] = Field(
        "stored", description="an object counts as sent when it is stored there, or when it is committed to"
    )
    commitment_wait_s: Seconds = Field(
        3600, description="the archive is asked again when it has not reported after this time"
    )
    commitment_linger_s: float = Field(
        1.0, ge=0, description="stay on the association for its report this long"
    )
    report_addresses: tuple[str, ...] = Field(
        (), description="addresses or networks its reports come from; empty: `host` if that is an address"
    )
    tls: bool = Field(False, description="talk TLS to it")
    tls_certificate: Path | None = Field(
        None, description="certificate shown to it, in PEM; default: the receiver's"
    )
    tls_key: Path | None = Field(None, description="that certificate's key in PEM, without a password")
    tls_issuers: Path | None = Field(
        None, description="who signed its certificate, in PEM; default: whom this machine trusts"
    )
    tls_check_host: bool = Field(True, description="its certificate must name `host`")

    @field_validator("report_addresses")
    @classmethod
    def _networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return _networks(addresses)

    @model_validator(mode="after")
    def _whole(self) -> ArchiveSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or neither")
        return self

    def relative_to(self, folder: Path) -> ArchiveSettings:
        """The same with its relative paths taken from a folder."""
        return self.model_copy(update=resolved(self, _TLS_FILES, folder))
