"""Benchmarks: each is a module of its own, ``python -m benchmarks.NAME``, and writes ``benchmarks/results/NAME.json``."""
