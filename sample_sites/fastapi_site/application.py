"""The module in which App Service looks for the app: `app` in `application.py`.

The platform then starts `gunicorn application:app`, and gunicorn.conf.py sets the worker for ASGI
apps. On Python 3.14 the platform chooses another worker if this file imports the framework. So this
file imports only the site.
"""

from mtls_app.main import app as app
