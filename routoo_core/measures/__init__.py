"""Quality–cost curves, metrics and simple routers."""
