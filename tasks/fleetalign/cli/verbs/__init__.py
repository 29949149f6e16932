"""Commands: each reads its options, calls one function of the package and prints its result."""
