"""The application for gunicorn and for `flask`, which finds it by itself."""

import os
import secrets
import sys

from portal import create_app
from portal.config import Config, ConfigError

# Pricing reads a file and prints: it signs nothing, so a checkout that never ran needs no secret for it.
if sys.argv[1:3] == ["tariffs", "price"] and not os.environ.get("SECRET_KEY"):
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(48)

try:
    app = create_app(Config.from_env())
except ConfigError as error:
    sys.exit(f"portal: {error}")
