"""Alembic's entry: runs the steps on the connection that `migrate` has opened."""

from alembic import context

from coordinator.io.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
