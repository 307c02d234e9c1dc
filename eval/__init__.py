"""Offline measurement over the path that users take: the same search, the same answers."""

import service  # noqa: F401 - it keeps BLAS to one thread, which has to be said before NumPy is imported
