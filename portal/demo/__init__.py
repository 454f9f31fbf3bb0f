"""Invented people with real and plausible energy, for trying the portal. Never in production."""
