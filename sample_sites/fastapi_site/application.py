"""The name under which App Service finds the site: `app` in `application.py`.

The platform then starts `gunicorn application:app`, and gunicorn.conf.py names the worker for ASGI.
On Python 3.14 the platform chooses another worker for a file that imports the framework, so this
file imports the site alone.
"""

from mtls_app.main import app as app
