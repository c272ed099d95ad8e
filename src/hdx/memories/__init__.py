"""Memories: which training samples later sessions may see again; see `hdx.memories._base.Memory` for the contract."""
