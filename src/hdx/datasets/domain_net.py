"""DomainNet: 345 kinds of things in six domains."""

from __future__ import annotations

from hdx.datasets._domains import DomainTree, of_lists
from hdx.datasets._given import Samples
from hdx.datasets._tree import Contents
from hdx.errors import DataError


class DomainNet(DomainTree):
    """About 0.6 million images of 345 classes in six domains: clipart, infograph, painting, quickdraw, real and sketch.

    Source: Peng et al. 2019, Moment Matching for Multi-Source Domain Adaptation

    The split is the authors', by `<domain>_train.txt` and `<domain>_test.txt` beside the folders of the domains; domains whose
    archives are not unpacked are left out with dataset.use.
    """

    licence = "not stated by the authors, who point to fair use"
    looked_for = {"path": ("domain_net", "DomainNet", "domainnet", "domain_net.zip")}

    def _published(
        self, contents: Contents, domains: list[str], classes: list[str], samples: Samples
    ) -> tuple[Samples, Samples] | None:
        lists: dict[str, list[str]] = {}
        for part in ("train", "test"):
            ends = [f"/{domain}_{part}.txt" for domain in domains]
            lists[part] = [name for end in ends for name in contents.others if f"/{name}".endswith(end)]
            if len(lists[part]) != len(domains):
                missing = next(end[1:] for end in ends if not any(f"/{name}".endswith(end) for name in contents.others))
                where = contents.files.path
                raise DataError(f"{where} has no {missing}, the authors' list. Put it beside the folders, or give dataset.target")
        return of_lists(contents, lists["train"], samples, classes), of_lists(contents, lists["test"], samples, classes)
