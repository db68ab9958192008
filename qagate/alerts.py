"""Alerts to the people at the scanner, through Apprise or on the console; not when, nor how often."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import apprise

from qagate.alert_text import AlertError, AlertMessage, compose, fields_named
from qagate.assessment import Assessment, Decision, Verdict
from qagate.series import Series

CONSOLE = "console"  #: our own scheme: one plain line on standard error
_TYPES = {
    Verdict.PASS: apprise.NotifyType.SUCCESS,
    Verdict.REVIEW: apprise.NotifyType.WARNING,
    Verdict.REPEAT: apprise.NotifyType.FAILURE,
    Verdict.NOT_ASSESSED: apprise.NotifyType.INFO,
    None: apprise.NotifyType.WARNING,
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,19})://", re.IGNORECASE)
_HTTP_STATUS = re.compile(r"error=(\d{3})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destination:
    name: str
    service: apprise.Apprise | None  #: None: the console


class Alerter:
    """Sends messages to the destinations of the settings.

    Parameters
    ----------
    urls
        `console://`, or any URL Apprise knows (`mailto://`, `json://`, ...).
    title, body, include_patient
        As in `compose`.
    prefix
        Begins the names of its destinations, where several alerters share an outbox.

    Raises
    ------
    AlertError
        A URL is not understood (named by its place and scheme only), or a template is wrong.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        title: str | None = None,
        body: str | None = None,
        include_patient: bool = False,
        prefix: str = "",
    ) -> None:
        for template in (title, body):
            fields_named(template or "")
        self._title, self._body = title, body
        self._include_patient = include_patient
        _keep_apprise_quiet()
        found = [_destination(place, url, prefix) for place, url in enumerate(urls, 1)]
        self._destinations = {one.name: one for one in found}

    @property
    def destinations(self) -> tuple[str, ...]:
        """Names for logs and states, such as `json-2`: scheme and place in the settings, no secrets."""
        return tuple(self._destinations)

    def compose(
        self, series: Series, assessment: Assessment, decision: Decision, held: str = ""
    ) -> AlertMessage:
        """`compose` with this alerter's settings."""
        allowed = self._include_patient
        return compose(
            series, assessment, decision,
            include_patient=allowed, title=self._title, body=self._body, held=held,
        )  # fmt: skip

    def send(self, message: AlertMessage, only: Collection[str] | None = None) -> None:
        """Send to every destination, or to those named in `only`; all are tried before it raises.

        Raises
        ------
        AlertError
            Some did not accept it; its `failed` names these, the others have the message.
        """
        wanted = self.destinations if only is None else tuple(only)
        reasons = {name: self._send_to(name, message) for name in wanted}
        failed = {name: reason for name, reason in reasons.items() if reason is not None}
        if failed:
            said = ", ".join(f"{name} ({reason})" for name, reason in failed.items())
            raise AlertError(f"alert not accepted by {said}", tuple(failed))

    def _send_to(self, name: str, message: AlertMessage) -> str | None:
        """None when accepted, else why not."""
        destination = self._destinations.get(name)
        if destination is None:
            return "no longer in the settings"
        if destination.service is None:
            facts = " | ".join(message.body.splitlines())
            kind = message.verdict.value if message.verdict else "ALARM"
            # One write: roles share the stream, and print would write the line's end apart.
            print(f"{kind}  {message.title} | {facts}\n", end="", file=sys.stderr, flush=True)
            return None
        with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
            accepted = destination.service.notify(
                body=message.body,
                title=message.title,
                notify_type=_TYPES[message.verdict],
                body_format=apprise.NotifyFormat.TEXT,
            )
            said = log.getvalue() if log is not None else ""
        return None if accepted else _why(said)


def _destination(place: int, url: str, prefix: str) -> _Destination:
    match = _SCHEME.match(url.strip())
    if match is None:
        raise AlertError(f"alert destination {place} has no scheme; write it like mailto:// or {CONSOLE}://")
    scheme = match[1].lower()
    name = f"{prefix}{scheme}-{place}"
    if scheme == CONSOLE:
        return _Destination(name=name, service=None)
    service = apprise.Apprise()
    if not service.add(url.strip()):
        raise AlertError(f"alert destination {place} ({scheme}://) is not understood; mend its URL")
    return _Destination(name=name, service=service)


def _why(log: str) -> str:
    """A reason that cannot hold a secret: Apprise's own words name hosts, paths and users."""
    status = _HTTP_STATUS.search(log)
    if status:
        return f"answered {status[1]}"
    return "no connection" if "onnection error" in log else "refused or unreachable"


def _keep_apprise_quiet() -> None:
    # Its logger names hosts and, at debug level, whole URLs and payloads; that of urllib3 paths.
    log = logging.getLogger("apprise")
    log.propagate = False
    log.addHandler(logging.NullHandler())
    logging.getLogger("urllib3").setLevel(logging.WARNING)
