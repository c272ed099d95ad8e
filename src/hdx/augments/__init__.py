"""Augmentations: how training sees an image, as pure functions of the image and of numbers drawn beside it."""
