"""Settings: one TOML file, overridden by QAGATE_* environment variables, read once and frozen.

Only `cli` and `app` import this module; every other part receives plain values.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from qagate.config_care import AuditSettings, HoldSettings, ReconcileSettings, RetentionSettings
from qagate.config_gate import (
    AlertSettings,
    AssemblySettings,
    BaselineSettings,
    DeliverySettings,
    PolicyRuleSettings,
    PromotionSettings,
    WorkerSettings,
)
from qagate.config_network import ArchiveSettings, Peer, ReceiverSettings
from qagate.config_secrets import SecretFiles
from qagate.config_section import Seconds
from qagate.config_web import WebSettings

__all__ = [
    "AlertSettings",
    "ArchiveSettings",
    "ConfigError",
    "Peer",
    "PolicyRuleSettings",
    "Settings",
    "load",
]


class ConfigError(ValueError):
    """The settings cannot be used; the message names the key and the mend."""


class Settings(BaseSettings):
    """Everything an administrator sets."""

    model_config = SettingsConfigDict(
        env_prefix="QAGATE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    mode: Literal["observe", "forward", "hold"] = Field(
        "observe",
        description="observe: copies come in, results go out; forward: the images are sent on as well; hold: "
        "likewise, but REVIEW and REPEAT series wait until they are released",
    )
    data_dir: Path = Field(
        Path("var"), description="spool, reports and SQLite database; relative to this file"
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL; empty: SQLite in data_dir; postgresql+psycopg://user@host/name",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["json", "console"] = Field(
        "json", description="json for machines, console for people"
    )
    drain_s: Seconds = Field(
        30, description="on SIGTERM open associations, the series and deliveries in hand may take this long"
    )
    receiver: ReceiverSettings = Field(default_factory=ReceiverSettings)
    assembly: AssemblySettings = Field(default_factory=AssemblySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)
    hold: HoldSettings = Field(default_factory=HoldSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
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
        """The environment wins over the folder of secrets, and that over the file."""
        return env_settings, SecretFiles(settings_cls), init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [archive.name for archive in self.archive]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two archives are named {twice[0]!r}; give each its own name")
        if 0 < self.retention.free_mb <= self.receiver.min_free_mb:
            raise ValueError(
                f"retention.free_mb ({self.retention.free_mb}) is not above receiver.min_free_mb "
                f"({self.receiver.min_free_mb}): series would be refused before any are deleted"
            )
        if (self.retention.keep_days or self.retention.free_mb) and not self.archive:
            raise ValueError("retention is set but no [[archive]] is: nothing here was delivered anywhere")
        if self.mode != "observe" and not any(archive.images for archive in self.archive):
            raise ValueError(
                f"mode is {self.mode} but no [[archive]] takes images; add one or set mode = observe"
            )
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
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'qagate.db'}"


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
    except SettingsError as error:  # a variable that is no JSON; the text names it and not its value
        raise ConfigError(f"the environment cannot be used: {error}") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    base = path.resolve().parent if path is not None else Path.cwd()
    return settings.model_copy(
        update={
            "data_dir": (base / settings.data_dir).resolve(),
            "web": settings.web.relative_to(base),
            "receiver": settings.receiver.relative_to(base),
            "archive": tuple(archive.relative_to(base) for archive in settings.archive),
        }
    )


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
