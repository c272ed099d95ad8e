"""Pretrained weights of timm models: the Hugging Face cache first, then the network, with advice where there is neither."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import urlsplit

from hdx.errors import WeightsError

FILENAMES = ("model.safetensors", "pytorch_model.bin")
TIMEOUT = 5.0  # seconds; huggingface_hub itself retries for three quarters of a minute before it says that it is offline


def pretrained_overlay(name: str, config: Any) -> dict[str, Any]:
    """What to override in timm's `PretrainedCfg` of a model so that cached weights load without a network call.

    Raises: WeightsError when the model has no pretrained weights, or they are not cached and the hub is out of reach.
    """
    if not (config.hf_hub_id or config.url or config.file):
        raise WeightsError(f"backbone.model={name} has no pretrained weights in timm.  (set backbone.pretrained=false)")
    if not config.hf_hub_id:
        return {}
    cached = _cached(config)
    if cached:
        return {"file": cached}
    if not _hub_answers():
        raise unreachable(name, "not in the Hugging Face cache, and the hub cannot be reached")
    return {}


def unreachable(name: str, reason: str) -> WeightsError:
    """The error for weights that cannot be had here, with the two ways out."""
    return WeightsError(
        f"pretrained weights of backbone.model={name}: {reason}.  (give a file: backbone.checkpoint=…, or run once with a "
        "network and keep HF_HOME; backbone.pretrained=false starts from random weights)"
    )


def _cached(config: Any) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for filename in [config.hf_hub_filename] if config.hf_hub_filename else FILENAMES:
        path = try_to_load_from_cache(config.hf_hub_id, filename)
        if isinstance(path, str):
            return path
    return None


def _hub_answers() -> bool:
    """Whether a connection to the hub opens; behind a proxy that is for the download to find out."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), TIMEOUT).close()
    except OSError:
        return False
    return True
