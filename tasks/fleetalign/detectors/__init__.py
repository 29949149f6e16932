"""The detectors behind one protocol, a folder for each."""
