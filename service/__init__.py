"""Answering: hits become evidence, citations and answers, over HTTP and on the command line."""
