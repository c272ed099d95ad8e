"""Methods: when the body trains and on what; see `hdx.methods._base.Method` for the contract."""
