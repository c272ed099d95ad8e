"""Heads: features to logits over the seen classes; see `hdx.heads._base.Head` for the contract."""
