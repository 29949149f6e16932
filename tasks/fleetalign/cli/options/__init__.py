"""What each verb takes: modules that load with every start, so they import argparse and little else."""
