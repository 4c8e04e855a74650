"""gunicorn's settings: it reads this file from the folder it starts in, on App Service this one."""

# Removes headers such as X_ARR_ClientCert, whatever gunicorn's version and its other settings do
# about underscores.
from arrcert.gunicorn import pre_request as pre_request

# gunicorn's own worker for ASGI apps.
worker_class = "asgi"

# A certificate above about 6.1 KB makes a header line longer than gunicorn's 8190 bytes: a 431, and
# no line in the log that says whose. App Service passes on 64 KB of headers in all; what is too
# large for a certificate arrcert denies, and logs.
limit_request_field_size = 65_536
