"""Trainers: the recipe of a gradient phase."""
