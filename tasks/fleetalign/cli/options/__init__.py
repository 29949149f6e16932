"""Options of each command. Loaded at every start, so these modules import argparse and little else."""
