"""Long runs that break things on purpose: `make soak`. SOAK_KILLS (30) and SOAK_CLIENTS (8) set how long, how hard."""
