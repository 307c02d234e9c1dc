"""Programs that put a running service under pressure (docs/operation.md); each runs alone and in the tests."""
