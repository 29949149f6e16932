"""One shared anomaly detector for a whole fleet, aligned to each entity.

Import concrete modules directly (``from fleetalign.scoring.scorer import Scorer``): this package imports
nothing, so that a scorer starts fast and an Airflow DAG parses without torch, pandas or Great Expectations.
"""

__version__ = "0.1.0"
