"""What the gate's use of pynetdicom has in common: its global settings, and what may be negotiated.

pynetdicom is configured by module globals, so they are set here, once, by `configure`:

- `LOG_HANDLER_LEVEL = "none"`: its default handlers print AE titles, addresses and elements.
- `STORE_SEND_CHUNKED_DATASET = True`: a file is sent as the bytes it holds, never decoded.

Reception needs no global: the data set is streamed by `incoming.Incoming`, and each association is given
the contexts it may have when it is requested.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]

from qagate.wording import one_line

_MOST_REFUSED = 16
STORAGE_SERVICE = UID("1.2.840.10008.4.2")
_DICOM_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_STORAGE = frozenset(map(str, _STORAGE_CLASSES.values()))
_TRANSFER_SYNTAX = "1.2.840.10008.1.2"
#: MIME and XML encapsulation (retired): under the root of the transfer syntaxes, but not data sets
_NO_DATA_SET = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"})


def configure() -> None:
    """Set pynetdicom's globals; safe to call again."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True
    logger = logging.getLogger("pynetdicom")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def is_storage_class(uid: str) -> bool:
    """Tell whether an abstract syntax is a storage SOP class: known, newer than this library, or private."""
    return uid in _STORAGE or uid.startswith(_STORAGE_ROOT) or not uid.startswith(_DICOM_ROOT)


def is_transfer_syntax(uid: str, private: frozenset[str]) -> bool:
    """Tell whether data sets are taken in this transfer syntax: the standard ones and the `private` ones."""
    standard = uid == _TRANSFER_SYNTAX or uid.startswith(_TRANSFER_SYNTAX + ".")
    return (standard and uid not in _NO_DATA_SET) or uid in private


def acceptable_contexts(
    proposed: Iterable[PresentationContext],
    private: frozenset[str],
    further: Iterable[PresentationContext] = (),
    *,
    echo: bool = True,
) -> tuple[list[PresentationContext], list[tuple[str, list[str]]]]:
    """Return the contexts to support for one association, and what is refused of the proposed ones.

    further: what this peer may have besides C-ECHO and storage; echo: whether it may have C-ECHO.

    Of several transfer syntaxes in one context the one that the sender names first is taken, so that it
    sends what it has. The second list holds (abstract syntax, its refused transfer syntaxes) of each
    context that gets no transfer syntax, or whose abstract syntax is neither: of 16 at most and as one short
    line each, because a request may hold thousands of any text, and each is recorded.
    """
    others = {str(context.abstract_syntax): context for context in further}
    syntaxes: dict[str, dict[str, None]] = {}
    refused: list[tuple[str, list[str]]] = []
    for context in proposed:
        abstract = str(context.abstract_syntax)
        offered = [str(uid) for uid in context.transfer_syntax]
        taken = [uid for uid in offered if is_transfer_syntax(uid, private)]
        if abstract in others:
            continue
        if taken and ((echo and abstract == Verification) or is_storage_class(abstract)):
            syntaxes.setdefault(abstract, {}).update(dict.fromkeys(taken))
        else:
            named = (one_line(abstract, 64), [one_line(uid, 64) for uid in offered[:_MOST_REFUSED]])
            if len(refused) < _MOST_REFUSED and named not in refused:
                refused.append(named)
    contexts = [build_context(abstract, list(taken)) for abstract, taken in syntaxes.items()]
    return [*contexts, *others.values()], refused


def storage_services(abstract_syntaxes: Iterable[str]) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Name the storage service for the SOP classes that pynetdicom does not know, so that it serves them."""
    services = {}
    for uid in abstract_syntaxes:
        if uid not in _STORAGE and is_storage_class(uid):
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = UID(uid)
            item.service_class_uid = STORAGE_SERVICE
            services[UID(uid)] = item
    return services
