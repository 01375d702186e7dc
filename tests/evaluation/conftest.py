"""Make `exact` importable by the tests in folders below: pytest adds this folder to the path."""
