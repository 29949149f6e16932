"""Statements and mutes of operators, and the ways in which they arrive."""
