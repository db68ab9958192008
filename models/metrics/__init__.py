"""Metrics that nothing is trained for: against a reference, or from natural-scene statistics alone."""
