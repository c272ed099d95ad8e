"""Office-Home: everyday objects in four domains."""

from __future__ import annotations

from hdx.datasets._domains import DomainTree


class OfficeHome(DomainTree):
    """15,500 images of 65 everyday objects in four domains: Art, Clipart, Product and Real World.

    Source: Venkateswara et al. 2017, Deep Hashing Network for Unsupervised Domain Adaptation

    There is no published split inside a domain: dataset.target leaves one out, or test_fraction of each is drawn.
    """

    licence = "not stated by the authors, who ask for non-commercial use"
    looked_for = {"path": ("OfficeHomeDataset_10072016", "OfficeHomeDataset_10072016.zip", "office_home", "OfficeHome")}
