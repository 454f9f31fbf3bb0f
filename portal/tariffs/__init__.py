"""What electricity costs: dated tariff versions as lists of charges, and the one function that prices a bill."""
