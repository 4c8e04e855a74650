"""Client certificates in Django, as a TLS-terminating front end forwards them."""
