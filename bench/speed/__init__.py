"""Speed, memory and size beside the published way."""
