"""Backbones: images to a feature map or tokens; see `hdx.backbones._base.Backbone` for the contract."""
