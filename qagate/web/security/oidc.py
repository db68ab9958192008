"""Login through the hospital's OpenID Connect provider: authorisation code flow with PKCE (RFC 7636).

Needs the extra `oidc` (Authlib); nothing of it is imported while `web.oidc.issuer` is empty.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qagate.config_web import OidcSettings
from qagate.web.security.roles import Role

_FRESH_S = 3600.0  #: how long the provider's own description is believed
_TIMEOUT_S = 10.0
_LEEWAY_S = 60  #: clocks may differ by this much
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")


class OidcError(RuntimeError):
    """The provider did not answer, or what it answered cannot be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What the browser keeps while it is at the provider."""

    state: str
    nonce: str
    verifier: str
    next: str

    @classmethod
    def new(cls, next: str) -> Attempt:
        """Secrets for one login."""
        state, nonce, verifier = (secrets.token_urlsafe(size) for size in (32, 32, 48))
        return cls(state=state, nonce=nonce, verifier=verifier, next=next)

    def sealed(self) -> str:
        """As text for a cookie."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def opened(cls, text: str) -> Attempt:
        """What `sealed` made. Raises OidcError."""
        try:
            values = json.loads(base64.urlsafe_b64decode(text.encode()))
            return cls(**{key: str(values[key]) for key in ("state", "nonce", "verifier", "next")})
        except (ValueError, KeyError, TypeError) as error:
            raise OidcError("the login was begun in another browser, or too long ago") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom the provider vouches for."""

    name: str
    role: Role | None  #: None: none of their groups has one


class Provider:
    """The provider of the settings. Threads may share it."""

    def __init__(self, of: OidcSettings, *, redirect_uri: str) -> None:
        self._of, self._redirect_uri = of, redirect_uri
        self._lock = threading.Lock()
        self._known: tuple[float, Mapping[str, Any], Any] | None = None

    def address(self, attempt: Attempt) -> str:
        """Where the browser goes to log in. Raises OidcError."""
        about, _ = self._about()
        with self._session() as session:
            url, _ = session.create_authorization_url(
                about["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url)

    def person(self, attempt: Attempt, *, state: str, code: str) -> Person:
        """Who came back with a code. Raises OidcError unless everything fits the attempt."""
        if not secrets.compare_digest(state.encode(), attempt.state.encode()):
            raise OidcError("the answer belongs to another login")
        about, _ = self._about()
        try:
            with self._session() as session:
                token = session.fetch_token(
                    about["token_endpoint"], code=code, code_verifier=attempt.verifier, timeout=_TIMEOUT_S
                )
        except Exception as error:  # Authlib's, requests' and the JSON parser's share no root
            raise OidcError(f"the provider refused the code ({type(error).__name__})") from error
        claims = self._claims(str(token.get("id_token", "")), attempt.nonce)
        name = claims.get(self._of.user_claim)
        if not isinstance(name, str) or not name:
            raise OidcError(f"the provider names no {self._of.user_claim}; set web.oidc.user_claim")
        return Person(name=name, role=self.role(claims.get(self._of.role_claim)))

    def role(self, groups: object) -> Role | None:
        """The highest role that any of the groups has."""
        mine = {groups} if isinstance(groups, str) else set(groups) if isinstance(groups, list) else set()
        return max((role for role in Role if mine & set(getattr(self._of, role.word))), default=None)

    def _claims(self, id_token: str, nonce: str) -> Mapping[str, Any]:
        """What the ID token says, once signature, issuer, audience, time and nonce were checked."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        claims_must = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._of.issuer},
            aud={"essential": True, "value": self._of.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            try:
                token = jwt.decode(id_token, self._about()[1], algorithms=_ALGORITHMS)
            except (JoseError, ValueError):  # perhaps signed with a key that is newer than what we know
                token = jwt.decode(id_token, self._about(anew=True)[1], algorithms=_ALGORITHMS)
            claims_must.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise OidcError(f"the provider's ID token cannot be believed ({type(error).__name__})") from error
        authorised = token.claims.get("azp", self._of.client_id)
        if authorised != self._of.client_id:
            raise OidcError("the provider's ID token was made for another program")
        return token.claims

    def _about(self, *, anew: bool = False) -> tuple[Mapping[str, Any], Any]:
        """The provider's description and keys."""
        import requests
        from joserfc.jwk import KeySet

        with self._lock:
            if self._known is not None and not anew and time.monotonic() - self._known[0] < _FRESH_S:
                return self._known[1], self._known[2]
            url = self._of.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                about = _json(requests.get(url, timeout=_TIMEOUT_S, allow_redirects=False))
                keys = KeySet.import_key_set(_json(requests.get(about["jwks_uri"], timeout=_TIMEOUT_S)))
            except (requests.RequestException, ValueError, KeyError) as error:
                raise OidcError(
                    f"the provider at {self._of.issuer} does not answer as it should "
                    f"({type(error).__name__}): check web.oidc.issuer and the network"
                ) from error
            if about.get("issuer") != self._of.issuer:
                raise OidcError(
                    f"the provider calls itself {about.get('issuer')}, not {self._of.issuer}: "
                    "write web.oidc.issuer as it does"
                )
            self._known = (time.monotonic(), about, keys)
            return about, keys

    def _session(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        return OAuth2Session(
            self._of.client_id,
            self._of.client_secret.get_secret_value() or None,
            scope="openid profile email",
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic"
            if self._of.client_secret.get_secret_value()
            else "none",
        )


def _json(response: Any) -> Any:
    response.raise_for_status()
    return response.json()


def installed() -> bool:
    """Whether the extra is there."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("authlib", "joserfc", "requests"))
