"""What Airflow costs, how it scales, what a kill changes."""
