"""Losses of the gradient phase; see `hdx.losses._base.Loss` for the contract."""
