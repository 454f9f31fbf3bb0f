"""The application for gunicorn and for `flask`, which finds it by itself."""

import sys

from portal import create_app
from portal.config import Config, ConfigError

try:
    app = create_app(Config.from_env())
except ConfigError as error:
    sys.exit(f"portal: {error}")
