"""Stands in for setuptools while `pip download` asks an archive for its metadata.

Only `scripts/build` puts this on the path. The archive is wanted for the C source inside it, so
none of its own Python code is run and nothing is built.
"""
