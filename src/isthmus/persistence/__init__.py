"""Files on disk: atomic writes, locks, checksums, and the schema of a saved model."""
