"""Alembic revisions, shipped with the package; `qagate.store.migrate` runs them."""
