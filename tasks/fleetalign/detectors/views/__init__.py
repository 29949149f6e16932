"""Views: forecasts and a rank-one residual, combined per entity."""
