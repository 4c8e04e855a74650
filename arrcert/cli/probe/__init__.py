"""`arrcert probe`: what a deployed site lets in, found out from outside.

One module holds one kind of check. `run` puts them in order, `report` says what a row is, `screen`
prints. The wire formats are in `connection` (HTTP/1.1 in raw bytes over TLS) and `http2`.
"""
