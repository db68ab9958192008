"""The keys of every page, for the help page. A page that listens to a key names it here."""

from __future__ import annotations

from qagate.web.texts import gettext as _


def page_keys() -> list[tuple[str, list[tuple[str, str]]]]:
    """(page, [(keys, what they do)]) in the visitor's language; keys pressed in turn have a space between."""
    return [
        (
            _("Console"),
            [
                ("a", _("agree with the verdict that fills the page")),
                ("d", _("disagree, because …")),
                ("r", _("repeating")),
                ("n", _("cannot repeat")),
                ("1", _("go to the first series; 2 to 6 to the others")),
                ("s", _("sound and notification for Repeat, on and off")),
                ("f", _("full screen")),
            ],
        ),
        (
            _("Worklist"),
            [
                ("/", _("search in the protocols")),
                ("j", _("the next series")),
                ("k", _("the series before")),
                ("x", _("tick the series")),
                ("Enter", _("open the series")),
            ],
        ),
        (
            _("Images"),
            [
                ("←", _("the slice before")),
                ("→", _("the next slice")),
                ("Shift+←", _("narrower window")),
                ("Shift+→", _("wider window")),
                ("Shift+↑", _("higher centre: darker")),
                ("Shift+↓", _("lower centre: brighter")),
                ("+", _("larger")),
                ("-", _("smaller")),
                ("f", _("fit")),
                ("i", _("invert")),
                ("m", _("quality map")),
            ],
        ),
        (
            _("Label"),
            [
                ("0", _("a score: one digit, or two for the scale 0–100")),
                ("n", _("tick noise; each artefact has its letter on the page")),
                ("l", _("note the slice in sight beside what was ticked last")),
                ("Enter", _("save, next")),
                ("k", _("skip")),
                ("z", _("change the last one")),
            ],
        ),
    ]
