"""Templates become pages."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from qagate import __version__
from qagate.web import texts, verdicts
from qagate.web.keys import page_keys
from qagate.web.navigation import control_tabs, in_language, navigation, role_word
from qagate.web.security import OUTSIDER, Role, Visitor
from qagate.web.security.forms import FIELD, form_secret, keep_form_secret, token_of

_HERE = Path(__file__).parent


def environment(clock: texts.Clock, *, site_name: str) -> jinja2.Environment:
    """The templates with what all of them may use. Everything is escaped; an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    made.install_gettext_callables(texts.gettext, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "control_tabs": control_tabs,
        "csrf": _csrf,
        "gate_time": lambda: datetime.now(UTC).isoformat(timespec="milliseconds"),
        "icon": verdicts.icon,
        "in_language": in_language,
        "language": texts.language,
        "languages": texts.LANGUAGES,
        "look": verdicts.look,
        "navigation": navigation,
        "number": texts.number,
        "page_keys": page_keys,
        "role_word": role_word,
        "Role": Role,
        "site_name": site_name,
        "state": verdicts.state,
        "verdict": verdicts.verdict,
        "version": __version__,
        "when": clock.when,
    }
    return made


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a template; `visitor`, `path` and the globals are there without being given.

    Raises TypeError for a name that would hide one of them.
    """
    made: jinja2.Environment = request.app.state.site.templates
    visitor: Visitor = getattr(request.state, "visitor", OUTSIDER)
    known = {"visitor": visitor, "path": request.url.path, "request": request}
    if hidden := context.keys() & (made.globals.keys() | known.keys()):
        raise TypeError(f"{template} is given {', '.join(sorted(hidden))}, which every page has already")
    response = HTMLResponse(made.get_template(template).render(known | context), status)
    keep_form_secret(request, response)
    return response


@pass_context
def _csrf(context: Context) -> Markup:
    """The hidden field that proves a form to be ours."""
    request: Request = context["request"]
    visitor: Visitor = context["visitor"]
    value = visitor.csrf or token_of(form_secret(request))
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, value)
