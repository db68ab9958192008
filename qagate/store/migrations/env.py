"""Alembic's environment: runs on the connection that `qagate.store.migrate` opened."""

from alembic import context
from sqlalchemy import Connection

from qagate.store.schema import metadata

connection: Connection = context.config.attributes["connection"]
# One transaction for all of it: a migration that dies leaves the old schema, on SQLite too.
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
