"""Where Alembic begins: runs the steps on the connection that `coordinator.io.db.migrate` has opened."""

from alembic import context

from coordinator.io.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
