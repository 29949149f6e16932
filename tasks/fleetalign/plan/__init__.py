"""The plan of a build: what it depends on, written down once and read by every later step."""
