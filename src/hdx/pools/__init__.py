"""Pools: a feature map or tokens to one vector; see `hdx.pools._base.Pool` for the contract."""
