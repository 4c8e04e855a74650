"""Settings of a small Django site behind client certificates, as it runs on App Service.

Environment variables hold everything that differs between machines. There is no setting `ARRCERT`
here, so arrcert reads the policies from the environment, too (see .env.example).
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
    SECRET_KEY = "django-insecure-for-development-only"  # noqa: S105 - with DEBUG only.
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
    # This is the first middleware after SecurityMiddleware. So no middleware below answers a client
    # whose certificate is not accepted.
    "arrcert_django.middleware.ClientCertificateMiddleware",
    # This is below the check, and above CommonMiddleware, which is the first to check the Host
    # header.
    "mtls_site.middleware.HealthProbeMiddleware",
    # This is below the check, so static files are public only if ARRCERT_EXEMPT_PATHS lists them.
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

# The site stores no data, so it has no database.
DATABASES: dict[str, dict[str, object]] = {}

USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# App Service's build runs collectstatic. On other machines WhiteNoise finds the files in their
# source folders.
WHITENOISE_USE_FINDERS = True

# App Service terminates TLS in front of the application, and this header says whether the client
# used HTTPS. Without this setting Django considers every request plain HTTP, and its checks for
# HTTPS fail. The setting is safe because the front end replaces a header of this name from a
# client.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# The platform redirects to HTTPS itself ("HTTPS Only"). A redirect of the site would break the
# platform's health check, which uses plain HTTP and does not follow redirects.
SECURE_SSL_REDIRECT = False
# This is set only on the platform. On localhost, a browser would remember it for all other sites
# there.
SECURE_HSTS_SECONDS = 31_536_000 if WEBSITE_HOSTNAME else 0
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # The owner of the whole domain decides about HSTS for subdomains.
    "security.W008",  # The platform redirects to HTTPS (see above).
    "security.W021",  # The owner of the whole domain decides about the preload list, too.
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    # The handler writes to stderr, which App Service shows in its log stream.
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # This replaces Django's own handlers, which mail errors to administrators.
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        # For each 403 this logger would write a traceback. The logger "arrcert" already writes the
        # reason, so only errors are logged here.
        "django.request": {"level": "ERROR"},
    },
}
