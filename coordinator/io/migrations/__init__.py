"""How the database came to its present shape, one step a file; run by `coordinator.io.db.migrate`."""
