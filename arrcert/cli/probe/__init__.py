"""`arrcert probe`: test a deployed site from outside, to find out who can enter.

Each module has one kind of check. `run` has the order of the checks, `report` defines the rows of
the report, and `screen` prints them. `connection` (HTTP/1.1 in raw bytes over TLS) and `http2` have
the wire formats.
"""
