"""Frozen: the body never trains."""

from __future__ import annotations

from hdx.methods._base import Method


class Frozen(Method):
    """No adaptation: the pretrained body stays as it is and only the head learns.

    A statistics head is updated in closed form, a gradient head is trained on cached features of the session's own data.

    Source: the NA arm of FSA (Panos et al. 2023); with head=ncm the simple baseline of Janson et al. 2022.
    Trains: a gradient head only.
    Keeps: nothing.
    Certainty: by definition.
    """
