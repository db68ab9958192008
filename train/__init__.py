"""Labels, simulated artefacts, losses, metrics, recipes and evaluation: from references to a model."""
