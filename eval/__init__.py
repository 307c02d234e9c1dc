"""Offline measurement over the path that users take: the same search, the same answers."""
