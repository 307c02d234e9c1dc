"""Programs that try to break the durability contract (docs/durability.md): kills, faults, corruption, concurrency.

Each runs alone, ``python -m tests.durability.NAME --trials N --seed S``, and prints one line of JSON in the end; the
tests run a few trials of each, ``make bench`` thousands.
"""
