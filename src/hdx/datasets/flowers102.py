"""Oxford 102 Flowers."""

from __future__ import annotations

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import WithValidation, archive


class Flowers102(WithValidation):
    """8,189 photographs of 102 kinds of flowers: 1,020 for training, 1,020 for validation, 6,149 for testing.

    Source: Nilsback and Zisserman 2008, Automated Flower Classification over a Large Number of Classes
    """

    licence = "not stated by the authors"
    looked_for = {"path": ("flowers-102",)}
    reader = "Flowers102"
    folder = "flowers-102"
    n_classes = 102

    @classmethod
    def remotes(cls) -> list[Remote]:
        """The images, and two files that say labels and splits."""
        reader = cls._reader()
        prefix, files = reader._download_url_prefix, reader._file_dict
        image = archive(prefix + files["image"][0], "flowers-102", files["image"][1])
        lists = [files[each] for each in ("label", "setid")]
        return [image, *(Remote((prefix + name,), f"flowers-102/{name}", md5) for name, md5 in lists)]
