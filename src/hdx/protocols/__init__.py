"""Protocols: how data arrives and how it is scored; see `hdx.protocols._base.Protocol` for the contract."""
