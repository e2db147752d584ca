"""The two gates: is it sound, and is it worth it."""
