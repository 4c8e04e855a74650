"""Settings of gunicorn. It reads this file if it starts in this folder, as on App Service."""

# This hook removes headers such as X_ARR_ClientCert, which imitate the front end's header. It works
# with every version and every other setting of gunicorn.
from arrcert.gunicorn import pre_request as pre_request

# gunicorn's own worker for ASGI apps.
worker_class = "asgi"

# The header line of a certificate of more than about 6.1 KB is longer than gunicorn's default limit
# of 8190 bytes. Then gunicorn answers 431, and no log says who the client is. App Service passes on
# at most 64 KB of headers. With this limit the header reaches arrcert, which denies and logs a
# certificate that is too large.
limit_request_field_size = 65_536
