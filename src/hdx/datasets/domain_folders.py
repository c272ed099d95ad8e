"""Any folder or .zip of domains."""

from __future__ import annotations

from hdx.datasets._domains import DomainTree
from hdx.rules import needed


class DomainFolders(DomainTree):
    """A folder or a .zip of `<domain>/<class>/<image>`, the same classes in every domain, read in place.

    Source: your own images; the layout is that of PACS and OfficeHome

    With protocol=domain_incremental protocol.domains=own a domain arrives in each session; with dataset.target one is left out of
    training and tested on. A class may be missing from a domain, which is said. Folders that name splits (train/ beside
    test/) may stand above the domains or in each of them, and are the split.
    """

    licence = "that of your images"
    rules = (needed("path", "dataset.path=DIR or dataset.path=FILE.zip, with a folder a domain and in it a folder a class"),)
