"""Who uses the portal: regions, users, their tokens and the keys of programs."""
