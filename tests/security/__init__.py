"""Programs that try to get at what is not theirs (docs/security.md); each runs alone and in the tests."""
