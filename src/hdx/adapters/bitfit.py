"""BitFit: only the biases of a body train."""

from __future__ import annotations

from torch import nn

from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone
from hdx.errors import ConfigError


class BitFit(Adapter):
    """Every bias of the body trains, those of its norms among them; weights and statistics are frozen.

    A bias is a parameter whose own name ends in `bias`, as the q_bias and v_bias of BEiT do. A convolution before a batch
    norm has none, and is given none. Nothing is added, so that the trained body is a plain one.

    Source: Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models";
        on vision transformers the bias arm of Jia et al. 2022, "Visual Prompt Tuning".
    Certainty: by definition.
    """

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze all but the biases. Raises: ConfigError when there are none."""
        backbone.requires_grad_(False)
        biases = [parameter for name, parameter in backbone.named_parameters() if name.rpartition(".")[2].endswith("bias")]
        if not biases:
            raise ConfigError(f"adapter=bitfit: {type(backbone).__name__} has no biases.  (try adapter=lora or adapter=full)")
        for bias in biases:
            bias.requires_grad_(True)
        return biases
