"""Settings: one TOML file, overridden by QAGATE_* environment variables, read once and frozen.

Only `cli` and `app` import this module; every other part receives plain values.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from qagate.config_section import Port, Quality, Seconds, Section
from qagate.config_web import WebSettings

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$")
]


class ConfigError(ValueError):
    """The settings cannot be used; the message names the key and the mend."""


class Peer(Section):
    """A system that may send to the gate."""

    ae_title: str = Field(description="calling AE title; `*` for any")
    addresses: tuple[str, ...] = Field((), description="addresses or networks it may call from; empty: any")

    @field_validator("addresses")
    @classmethod
    def _networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ipaddress.ip_network(address, strict=False)
        return addresses


class ReceiverSettings(Section):
    """The C-STORE receiver."""

    ae_title: AETitle = Field("QAGATE", description="the gate's own AE title")
    any_called_ae_title: bool = Field(False, description="accept associations that call another AE title")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every network")
    port: Port = Field(11112, description="TCP port to listen on")
    max_associations: int = Field(32, ge=1, description="associations open at one time")
    max_pdu_bytes: int = Field(131_072, ge=4096, description="largest PDU the gate accepts")
    acse_timeout_s: Seconds = Field(30, description="wait for an association request or release")
    dimse_timeout_s: Seconds = Field(60, description="wait for the next message part")
    network_timeout_s: Seconds = Field(120, description="an idle association is aborted after this time")
    min_free_mb: int = Field(2048, ge=0, description="C-STORE is refused (0xA700) below this free space")


class AssemblySettings(Section):
    """When is a series complete?"""

    short_quiet_s: Seconds = Field(
        2.0, description="quiet time after the association was released or the expected count was reached"
    )
    long_quiet_s: Seconds = Field(10.0, description="quiet time without such evidence")
    hard_limit_s: Seconds = Field(3600.0, description="a series is closed this long after its first instance")
    poll_s: Seconds = Field(0.1, description="how often open series are looked at")

    @model_validator(mode="after")
    def _ordered(self) -> AssemblySettings:
        if self.short_quiet_s > self.long_quiet_s:
            raise ValueError(
                f"short_quiet_s ({self.short_quiet_s:g}) is longer than long_quiet_s ({self.long_quiet_s:g})"
            )
        return self


class WorkerSettings(Section):
    """The worker that scores series."""

    model: str = Field("default", description="a name that `qagate models` lists")
    device: str = Field("auto", description="auto, cpu or cuda")
    threads: int = Field(0, ge=0, description="CPU threads for the models; 0: one a core")
    batch_series: int = Field(
        4, ge=1, description="series claimed and scored together when the queue is long"
    )
    max_batch: int = Field(32, ge=1, description="slices in one forward pass")
    lease_s: Seconds = Field(60.0, description="a worker that is silent for this long loses its series")
    max_attempts: int = Field(3, ge=1, description="claims of one revision before it is FAILED")
    poll_s: Seconds = Field(0.05, description="how often an idle worker looks for work")


class DeliverySettings(Section):
    """Retries of deliveries and alerts."""

    first_retry_s: Seconds = Field(5.0, description="wait after the first failed try; doubles each time")
    max_retry_s: Seconds = Field(900.0, description="longest wait between tries")
    max_attempts: int = Field(50, ge=1, description="tries before a delivery becomes a dead letter")
    lease_s: Seconds = Field(300.0, description="a delivery that is silent for this long is tried again")
    poll_s: Seconds = Field(0.05, description="how often the outbox is looked at")


class ArchiveSettings(Section):
    """An archive (PACS) that gets the results, and in `forward` mode the images."""

    name: str = Field(min_length=1, max_length=64, description="name used in status and logs")
    ae_title: AETitle = Field(description="the archive's AE title")
    host: str = Field(description="its host name or address")
    port: Port = Field(104, description="its TCP port")
    calling_ae_title: AETitle | None = Field(
        None, description="AE title the gate calls with; default: its own"
    )
    results: bool = Field(True, description="send the SR and the KOS")
    images: bool = Field(True, description="send the images in `forward` mode")
    sr: Literal["comprehensive3d", "enhanced"] = Field(
        "comprehensive3d", description="SR storage class; `enhanced` for old archives"
    )
    timeout_s: Seconds = Field(30.0, description="wait for each of the archive's answers")


class AlertSettings(Section):
    """Alerts to the radiographer."""

    urls: tuple[str, ...] = Field(
        ("console://",),
        description="Apprise URLs (mailto://, json://, ...); console:// writes to standard error",
    )
    verdicts: tuple[Literal["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"], ...] = Field(
        ("REVIEW", "REPEAT"), description="verdicts that raise an alert"
    )
    descriptions: bool = Field(
        False, description="name series description and protocol, free text that may hold patient data"
    )
    physicist_urls: tuple[str, ...] = Field(
        (),
        description="Apprise URLs for alarms about the gate itself, such as a drift; empty: those of `urls`",
    )
    title: str | None = Field(None, description="template of the title, such as `{headline}: {subject}`")
    body: str | None = Field(None, description="template of the text, such as `{sentence} {reasons}`")


class BaselineSettings(Section):
    """How series of one station, protocol, region and type usually score under one model."""

    warm_up: int = Field(30, ge=2, description="series, REPEAT left out, before decisions use a baseline")
    window: int = Field(200, ge=2, description="newest series, REPEAT left out, it is computed from")
    recent: int = Field(20, ge=2, description="newest series whose median is looked at for a drift")
    drift_mads: float = Field(
        2.0, gt=0, description="MADs between that median and the level the baseline was built on: a drift"
    )
    drift_series: int = Field(
        20, ge=1, description="series that must speak for a drift (less those against it) before the alarm"
    )
    least_mad: float = Field(0.03, gt=0, le=1, description="a smaller MAD counts as this much quality")

    @model_validator(mode="after")
    def _ordered(self) -> BaselineSettings:
        if not self.recent <= self.warm_up <= self.window:
            raise ValueError(
                f"recent ({self.recent}), warm_up ({self.warm_up}) and window ({self.window}) must not fall"
            )
        return self


class PromotionSettings(Section):
    """What a challenger must not do to become champion; `--force` with a reason overrules it."""

    margin: float = Field(
        0.05, ge=0, description="how much worse mean absolute error or SROCC may become in any group"
    )
    min_cases: int = Field(20, ge=2, description="series both must have scored, and a group have, to count")
    max_changed: Quality = Field(
        0.2,
        description="share of decisions that may change in a group whose ratings are fewer than min_cases",
    )


class PolicyRuleSettings(Section):
    """One row of the decision table; the first row that matches decides."""

    name: str = Field(min_length=1, description="name shown with the decision")
    modality: str | None = Field(None, description="CT or MR; unset: any")
    region: str | None = Field(None, description="body region of the prompt; `*` wildcards allowed")
    type: str | None = Field(None, description="MR contrast or CT kernel class of the prompt")
    station: str | None = Field(None, description="StationName; `*` wildcards allowed")
    protocol: str | None = Field(None, description="ProtocolName; `*` wildcards allowed")
    review_below: Quality = Field(description="quality below which a person should look")
    repeat_below: Quality = Field(description="quality below which a repeat is suggested")
    review_above: dict[str, float] = Field(
        {}, description="measures above which a person should look, such as `{noise_hu = 20}`"
    )
    review_under: dict[str, float] = Field({}, description="measures below which a person should look")
    review_below_baseline: float | None = Field(
        None,
        gt=0,
        description="MADs below the warm baseline, in place of review_below; unset: always absolute",
    )
    repeat_below_baseline: float | None = Field(
        None, gt=0, description="the same in place of repeat_below; set both or neither"
    )


class Settings(BaseSettings):
    """Everything an administrator sets."""

    model_config = SettingsConfigDict(
        env_prefix="QAGATE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    mode: Literal["observe", "forward"] = Field(
        "observe",
        description="observe: copies come in, results go out; forward: the images are sent on as well",
    )
    data_dir: Path = Field(
        Path("var"), description="spool, reports and SQLite database; relative to this file"
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite in data_dir; postgresql+psycopg://user@host/name"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["json", "console"] = Field(
        "json", description="json for machines, console for people"
    )
    receiver: ReceiverSettings = Field(default_factory=ReceiverSettings)
    assembly: AssemblySettings = Field(default_factory=AssemblySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    peer: tuple[Peer, ...] = Field((), description="who may send; empty: anyone on this machine, nobody else")
    archive: tuple[ArchiveSettings, ...] = Field((), description="where results go")
    rule: tuple[PolicyRuleSettings, ...] = Field((), description="decision table; empty: the default rules")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [archive.name for archive in self.archive]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two archives are named {twice[0]!r}; give each its own name")
        if self.mode == "forward" and not any(archive.images for archive in self.archive):
            raise ValueError("mode is forward but no [[archive]] takes images; add one or set mode = observe")
        for rule in self.rule:
            if rule.repeat_below > rule.review_below:
                raise ValueError(
                    f"rule {rule.name!r}: repeat_below ({rule.repeat_below:g}) is above "
                    f"review_below ({rule.review_below:g})"
                )
            review, repeat = rule.review_below_baseline, rule.repeat_below_baseline
            if (review is None) != (repeat is None) or (review or 0) > (repeat or 0):
                raise ValueError(
                    f"rule {rule.name!r}: set both review_below_baseline and repeat_below_baseline, the "
                    "second not less than the first, or neither"
                )
        return self

    @property
    def spool_dir(self) -> Path:
        """Where received instances lie."""
        return self.data_dir / "spool"

    @property
    def report_dir(self) -> Path:
        """Where SR and KOS lie before and after delivery."""
        return self.data_dir / "reports"

    @property
    def house_dir(self) -> Path:
        """Where the house's own models lie."""
        return self.data_dir / "models"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'qagate.db'}"


def load(path: Path | None) -> Settings:
    """Read settings from a TOML file (None: defaults and environment only).

    Relative paths are taken from the file's folder. ConfigError names each bad key.
    """
    values: dict[str, object] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path} does not exist: `qagate init {path}` writes one") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    base = path.resolve().parent if path is not None else Path.cwd()
    web = settings.web.relative_to(base)
    return settings.model_copy(update={"data_dir": (base / settings.data_dir).resolve(), "web": web})


def _explain(error: ValidationError, path: Path | None) -> str:
    """One line a bad key; values are left out because they may be secrets."""
    lines = [f"{path or 'environment'}: the settings cannot be used"]
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting; `qagate init --stdout` shows them all"
        lines.append(f"  {key}: {message}")
    return "\n".join(lines)
