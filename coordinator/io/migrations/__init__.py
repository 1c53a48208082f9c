"""How the database came to its present schema, one step in each file; `coordinator.io.db.migrate` runs them."""
