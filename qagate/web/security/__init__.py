"""Who may: roles, logins, tokens, and the proof that a form was sent from our own page."""

from qagate.web.security.roles import PUBLIC, Public, Role, Rule
from qagate.web.security.visitor import OUTSIDER, Visitor

__all__ = ["OUTSIDER", "PUBLIC", "Public", "Role", "Rule", "Visitor"]
