"""PACS: seven kinds of things as photos, art paintings, cartoons and sketches."""

from __future__ import annotations

from hdx.datasets._domains import DomainTree, of_lists
from hdx.datasets._given import Samples
from hdx.datasets._tree import Contents


class Pacs(DomainTree):
    """9,991 images of 7 classes in four domains: art_painting, cartoon, photo and sketch.

    Source: Li et al. 2017, Deeper, Broader and Artier Domain Generalization

    The authors' lists (`<domain>_train_kfold.txt`, `<domain>_crossval_kfold.txt`) are taken where they lie beside the images: the
    test split then is their cross-validation part. Without them, test_fraction of each class in each domain is drawn.
    """

    licence = "not stated by the authors"
    looked_for = {"path": ("PACS", "PACS.zip", "pacs", "pacs.zip", "kfold")}

    def _published(
        self, contents: Contents, domains: list[str], classes: list[str], samples: Samples
    ) -> tuple[Samples, Samples] | None:
        ends = [[f"{domain}_{part}_kfold.txt" for domain in domains] for part in ("train", "crossval")]
        lists = [[name for end in part for name in contents.others if f"/{name}".endswith(f"/{end}")] for part in ends]
        if [len(part) for part in lists] != [len(domains)] * 2:
            return None
        return of_lists(contents, lists[0], samples, classes), of_lists(contents, lists[1], samples, classes)
