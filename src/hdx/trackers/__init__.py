"""Trackers: where the numbers of a run also go while it runs."""
