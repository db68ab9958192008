"""State: schema, engine, queue, outbox, views and migrations. SQLAlchemy stays here."""
