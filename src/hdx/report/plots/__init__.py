"""Plots of finished runs, each kind in a file; matplotlib is imported when one is drawn."""
