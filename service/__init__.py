"""Answering: hits become evidence, citations and answers, over HTTP and on the command line."""

import os

# Matrices here are small: BLAS threads would only wake up to wait for each other, 4 ms a question. This has to be
# said before NumPy is imported, so it stands where every way into the service passes first.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
