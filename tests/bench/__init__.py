"""Speed, as ratios to a baseline measured in the same run: `make bench`. Nothing here is a test."""
