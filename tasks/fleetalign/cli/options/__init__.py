"""Options of each command.

They are loaded at every start, so these modules import argparse and little else.
"""
