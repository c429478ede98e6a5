"""Quality–cost curves, the figures read off them, metrics of predictions, and simple routers."""
