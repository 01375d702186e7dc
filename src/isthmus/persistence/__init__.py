"""Files on disk: atomic writes, locks, checksums, and the schema of saved models."""
