"""The soak's archive: a storage SCP that keeps nothing but a line about each object: `PORT FILE`.

A line is written before its object is answered, so what was acknowledged is noted even when this process is
killed: SOP Instance UID, SHA-256 of the data set, and of the gate's documents their modality, the series they
speak of and its revision.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import cast

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

AE_TITLE = "ARCHIVE"
_DOCUMENTS = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59")


def main() -> None:
    """Store until killed."""
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def store(event: evt.Event) -> int:
        request = cast(C_STORE, event.request)
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        words = [str(request.AffectedSOPInstanceUID), digest]
        if request.AffectedSOPClassUID in _DOCUMENTS:
            document = event.dataset
            evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
            words += [document.Modality, evidence.SeriesInstanceUID, str(document.InstanceNumber)]
        os.write(out, (" ".join(words) + "\n").encode())
        return 0x0000

    entity = AE(AE_TITLE)
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    entity.maximum_pdu_size = 131_072
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
