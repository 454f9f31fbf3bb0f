"""What was received, what is owed, and what a customer says is wrong with a bill."""
