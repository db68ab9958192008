"""What is received: instances and the series they make. Carries no patient data."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class State(Enum):
    """Where one revision of a series stands; the database is its only owner."""

    RECEIVING = "RECEIVING"  #: instances arrive; nothing says yet that all are there
    COMPLETE = "COMPLETE"  #: all evidence says complete; waits for a worker
    SCORING = "SCORING"  #: a worker holds the lease
    DECIDED = "DECIDED"  #: assessment and decision stored, outbox rows wait
    DELIVERED = "DELIVERED"  #: every outbox row was acknowledged
    FAILED = "FAILED"  #: given up after the allowed tries; visible and requeueable


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One SOP instance as it lies in the spool."""

    sop_instance_uid: str  #: (0008,0018)
    sop_class_uid: str  #: (0008,0016)
    series_instance_uid: str  #: (0020,000E)
    study_instance_uid: str  #: (0020,000D)
    transfer_syntax_uid: str  #: (0002,0010), as received
    calling_ae_title: str  #: the sender's AE title
    path: str  #: relative to the spool's root, with forward slashes
    sha256: str  #: of the encoded data set as received, without preamble and file meta
    size: int  #: bytes of the encoded data set
    received_at: datetime  #: UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHeader:
    """What queue, policy and status need of a series, read from one instance's header."""

    modality: str  #: (0008,0060), "" when absent
    body_part_examined: str = ""  #: (0018,0015)
    protocol_name: str = ""  #: (0018,1030)
    series_description: str = ""  #: (0008,103E)
    station_name: str = ""  #: (0008,1010)
    manufacturer_model_name: str = ""  #: (0008,1090)
    series_number: int | None = None  #: (0020,0011)
    expected_instances: int | None = None
    """(0020,1002), or (0054,0081) x (0020,0105); None when the header does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One accepted C-STORE: the instance and what its header says of the series."""

    instance: Instance
    header: SeriesHeader
    association: str = field(default="", compare=False)
    """The gate's own number of the association it came on; "" when read back from disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One revision of a series as the store hands it out."""

    series_id: int  #: the store's key
    study_instance_uid: str  #: (0020,000D)
    series_instance_uid: str  #: (0020,000E)
    revision: int  #: 1 for the first; a late instance makes it one more
    state: State
    attempts: int  #: claims of this revision so far
    header: SeriesHeader
    calling_ae_title: str
    first_received_at: datetime  #: UTC
    last_received_at: datetime  #: UTC
    instances: tuple[Instance, ...] = ()
    lease_token: str | None = None  #: proves that the caller holds the claim
    decided_revisions: tuple[int, ...] = ()  #: former revisions that have a result, oldest first
    images_out: bool = False  #: archives were sent images of it, or are about to be
    purged: bool = False  #: images of earlier revisions were deleted by retention, and are not in `instances`
    modalities: tuple[str, ...] = ()  #: every modality its instances named; more than one: mixed
    associations: tuple[str, ...] = ()  #: the first that fed this revision, by which the log names them
