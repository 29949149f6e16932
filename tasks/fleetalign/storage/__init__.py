"""Where bytes live.

``layout`` names keys, ``store`` moves bytes, ``lake`` and ``panel`` read telemetry.
"""
