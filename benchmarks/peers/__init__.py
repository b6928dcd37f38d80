"""Contestants of the side-by-side benchmarks,
run as ``python -m benchmarks.peers.NAME FOLDER``; none imports nelbo.

FOLDER holds job.json, which names the arrays of data; the contestant leaves result.json there.
"""
