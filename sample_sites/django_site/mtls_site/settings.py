"""Settings of a small Django site behind client certificates, as it runs on App Service.

Everything that differs between one machine and another comes from environment variables. The
policies do too: no `ARRCERT` stands here, so arrcert reads its own variables (see .env.example).
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

# On App Service the platform sets this to the site's host name.
WEBSITE_HOSTNAME = os.environ.get("WEBSITE_HOSTNAME", "")

match os.environ.get("DJANGO_DEBUG", "false").lower():
    case "true":
        DEBUG = True
    case "false":
        DEBUG = False
    case value:
        raise ImproperlyConfigured(f"DJANGO_DEBUG is {value!r}; write true or false.")

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "DJANGO_SECRET_KEY is not set. Generate one with:"
            " python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    SECRET_KEY = "django-insecure-for-development-only"  # noqa: S105
if SECRET_KEY.startswith("@Microsoft.KeyVault("):
    raise ImproperlyConfigured(
        "DJANGO_SECRET_KEY is a Key Vault reference that App Service did not resolve, and anybody"
        " can guess it. Does the site's identity have the right to read the secret?"
    )

ALLOWED_HOSTS = [
    host.strip()
    for host in [WEBSITE_HOSTNAME, *os.environ.get("DJANGO_ALLOWED_HOSTS", "").split(";")]
    if host.strip()
]

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "arrcert_django",
    "mtls_site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # As far out as it goes: nothing below answers anybody whose certificate was not accepted.
    "arrcert_django.middleware.ClientCertificateMiddleware",
    # Below the check too, and above CommonMiddleware, the first that looks at the Host header.
    "mtls_site.middleware.HealthProbeMiddleware",
    # Below the check, so that static files are public only because ARRCERT_EXEMPT_PATHS says so.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mtls_site.urls"
WSGI_APPLICATION = "mtls_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
    },
]

# The site keeps nothing, so it has no database.
DATABASES: dict[str, dict[str, object]] = {}

USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# App Service's build runs collectstatic; elsewhere the site serves the files from where they are.
WHITENOISE_USE_FINDERS = True

# App Service ends TLS in front of the application and says in this header how the client came.
# Without the setting Django takes every request for plain HTTP, and its checks on HTTPS go wrong.
# It is sound only because the front end overwrites what a client sends under that name.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# The platform redirects to HTTPS itself ("HTTPS Only"). A redirect from here would also hit its
# health probe, which comes from inside without TLS and follows none.
SECURE_SSL_REDIRECT = False
# Only on the platform: a browser would remember it for everything else on localhost.
SECURE_HSTS_SECONDS = 31_536_000 if WEBSITE_HOSTNAME else 0
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains is for the owner of the whole domain to decide.
    "security.W008",  # The redirect to HTTPS is the platform's, see above.
    "security.W021",  # So is the preload list.
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    # stderr, which App Service shows in its log stream.
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Replaces Django's own handlers, which mail errors to administrators.
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        # For each 403 this one would add a traceback to the line in which the logger "arrcert",
        # through the root above, gives the reason. What remains are the errors.
        "django.request": {"level": "ERROR"},
    },
}
