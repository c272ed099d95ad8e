"""Datasets: labelled images with a train and a test split; see `hdx.datasets._base.Dataset` for the contract."""
