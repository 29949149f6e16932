"""A seeded fleet with faults and operators, for people with no data at hand. Described in docs/simulator.md."""
