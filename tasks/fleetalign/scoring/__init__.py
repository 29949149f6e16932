"""The consumer: scores telemetry with a published release. Imports contracts, storage and errors only."""
