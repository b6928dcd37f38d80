"""Benchmarks, each a module of its own:
``python -m benchmarks.NAME`` writes ``benchmarks/results/NAME.json``.
"""
