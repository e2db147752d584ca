"""Measurements, as ratios within one run wherever a ratio says it. `python -m bench` lists them."""
