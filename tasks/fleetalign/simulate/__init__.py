"""A seeded fleet with faults and operators (docs/simulator.md)."""
