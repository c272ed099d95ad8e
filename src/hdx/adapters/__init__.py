"""Adapters: the parameters of a body that train; see `hdx.adapters._base.Adapter` for the contract."""
