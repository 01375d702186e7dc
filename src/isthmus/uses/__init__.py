"""What people do with a fitted model: each use wraps any estimator of isthmus."""
