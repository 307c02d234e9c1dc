"""From a file's bytes to text, layout and what the file says of itself; one module for each format.

These modules run in a process of their own (:mod:`index.sandbox`), so they import nothing heavy.
"""
