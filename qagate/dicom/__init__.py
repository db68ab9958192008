"""DICOM in and out: access, reception, spool, headers, pixels, reports, sending."""
