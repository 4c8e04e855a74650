"""The pytest plugin of arrcert. `docs/testing.md` shows it.

pytest imports this package in every project, if arrcert is installed. So this module does not
import anything.
"""
