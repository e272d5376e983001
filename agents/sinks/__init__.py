"""Where an agent's metrics go besides its folder: experiment trackers and Prometheus, each a sink in its own file."""
