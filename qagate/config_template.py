"""The commented TOML that `qagate init` writes."""

from __future__ import annotations

from pydantic import SecretStr

from qagate.config import PolicyRuleSettings, Settings
from qagate.config_network import ArchiveSettings, Peer
from qagate.config_section import Section


def template() -> str:
    """The commented TOML that `qagate init` writes: every setting with its default."""
    lines = [
        "# qagate settings. Every line shows its default; remove the # to change it.",
        "# Environment variables win over this file: QAGATE_RECEIVER__PORT=104 sets receiver.port.",
        "",
    ]
    lists: list[str] = []
    tables: list[str] = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Section):
            tables += _table(name, type(default), active=True)
        elif name in _LISTS:
            lists += ["", f"# {field.description}", *_table(name, _LISTS[name], active=False)[1:]]
        else:
            lines += [f"# {field.description}", f"#{name} = {toml_value(default)}"]
    return "\n".join(lines + tables + lists) + "\n"


_LISTS: dict[str, type[Section]] = {"peer": Peer, "archive": ArchiveSettings, "rule": PolicyRuleSettings}
_EXAMPLES: dict[str, object] = {
    "ae_title": "MYAE", "calling_ae_title": "QAGATE", "name": "my-name", "host": "127.0.0.1",
    "review_below": 0.5, "repeat_below": 0.3, "modality": "MR", "region": "head", "type": "t1",
    "report_host": "ct1.example.org",
    "peer_associations": 4, "max_dataset_mb": 512, "association_instances": 5000, "association_mb": 10000,
    "instances_per_minute": 3000, "mb_per_minute": 3000,
    "tls_certificate": "own.crt", "tls_key": "own.key", "tls_issuers": "issuers.crt",
    "title": "{headline}: {subject}", "body": "{sentence} {reasons} {advice}",
    "station": "MR1*", "protocol": "*brain*", "review_below_baseline": 4, "repeat_below_baseline": 8,
}  # fmt: skip


def _table(name: str, section: type[Section], *, active: bool) -> list[str]:
    lines = ["", f"# {section.__doc__}", f"[{name}]" if active else f"#[[{name}]]"]
    inner: list[str] = []
    for key, field in section.model_fields.items():
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(value, Section):
            inner += _table(f"{name}.{key}", type(value), active=active)
            continue
        shown = _EXAMPLES[key] if value is None else value
        lines += [f"# {field.description}", f"#{key} = {toml_value(shown)}"]
    return lines + inner


def toml_value(value: object) -> str:
    """A setting's value as TOML writes it."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()  # of a default, which is none
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
