"""The whole chain on fleets of growing size."""
