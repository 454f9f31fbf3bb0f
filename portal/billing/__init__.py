"""Bills: usage × assignment periods × the tariff in force, one per connection and cycle; issued once, never changed."""
