"""The query SCU: asks an archive which instances of a series it holds (PS3.4 C.4.1, Study Root)."""

from __future__ import annotations

from typing import Self

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)

from qagate.dicom.outgoing import Archive, DeliveryError, associate

_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)


class Finder:
    """One association for any number of questions. Raises DeliveryError when the archive answers none."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._association: Association | None = None

    def __enter__(self) -> Self:
        self._association = associate(self._archive, [build_context(StudyRootFind)])
        return self

    def __exit__(self, *_: object) -> None:
        if self._association is not None and self._association.is_established:
            self._association.release()

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> frozenset[str]:
        """The SOP Instance UIDs that the archive has of a series; empty when it knows none.

        Raises DeliveryError when it does not answer, or answers with a failure.
        """
        assert self._association is not None, "use it in a with statement"
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, series_instance_uid
        query.SOPInstanceUID = ""
        if not self._association.is_established:
            raise DeliveryError(f"{self._archive} ended the association", transient=True)
        found = set()
        for status, identifier in self._association.send_c_find(query, StudyRootFind):
            code = status.get("Status")
            if code in _PENDING and identifier is not None:
                found.add(str(identifier.get("SOPInstanceUID", "")).strip("\0 "))
            elif code == _SUCCESS:
                return frozenset(found - {""})
            elif code not in _PENDING:
                told = "did not answer" if code is None else f"answered 0x{code:04X} to"
                raise DeliveryError(f"{self._archive} {told} a C-FIND", transient=code is None)
        raise DeliveryError(f"{self._archive} did not end its answer to a C-FIND", transient=True)
