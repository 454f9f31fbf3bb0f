"""Readings of meters, kept once each, and the usage that is added up from them."""
