"""What the default model is worth: rivals, held-out artefacts, learning curves, calibration, abstention."""
