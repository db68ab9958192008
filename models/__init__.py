"""The networks, their registry, model cards and shipped weights; knows nothing of DICOM."""
