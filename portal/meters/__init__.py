"""Meters, the pool of free ones, connections, and who holds which meter when."""
