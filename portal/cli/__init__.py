"""The `flask` commands: parse, act, commit, print."""

from __future__ import annotations

import importlib
import pkgutil

from flask import Flask


def register(app: Flask) -> None:
    """Add every command group of this package: each module has one called `group`."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            app.cli.add_command(importlib.import_module(f"{__name__}.{module.name}").group)
