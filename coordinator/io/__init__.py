"""Database, certificates, files, UDP and clock: each file hides one library or one part of the system."""
