"""The pytest plugin of arrcert. `docs/testing.md` shows it.

pytest imports this package in every project of an environment that has arrcert, so nothing is
imported here.
"""
