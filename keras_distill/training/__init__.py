"""The Distiller, its callbacks, and the run directory."""
