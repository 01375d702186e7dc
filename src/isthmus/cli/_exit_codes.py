"""Exit codes of the command line, beside 0 for success."""

__all__ = ["FAILED", "INTERRUPTED", "USER_ERROR"]

FAILED = 1  # some of many files could not be processed
USER_ERROR = 2
INTERRUPTED = 130
