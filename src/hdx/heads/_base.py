"""The contract of a head."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

from hdx.heads._plain import PlainHead
from hdx.rules import Rule


class Head(nn.Module):
    """Features [B, D] to logits [B, C_seen]; classes are numbered in order of arrival.

    A *statistics* head is solved in closed form from exact sufficient statistics: `update` may be called in any number of
    sessions, in any order and on any number of ranks (followed by `merge_ranks`), with the same logits as one call on
    everything. A *gradient* head has parameters that a method trains; its `update` does nothing. An *episode* head classifies
    the queries of few-shot episodes and nothing else (`hdx.heads._episode.EpisodeHead`).
    All state is in `state_dict`, so that a run resumes; buffers of statistics are float64.

    Args:
        n_features: D.

    Facts, read from source (`hdx.config.facts`):
        kind: see above.
        only_with: the one method that trains it, which names it in its `heads`; empty for a head that any method may train.
        input: what it reads, pooled features or the tokens before the pool.
        joint: whether logits of `classify` and of `forward` can be compared, so that novel and base classes are scored together.
        order_free: of a statistics head, whether any split of the samples into sessions gives the same logits; else it says why.
    """

    kind: ClassVar[Literal["statistics", "gradient", "episode"]]
    only_with: ClassVar[str] = ""
    input: ClassVar[Literal["features", "tokens"]] = "features"
    joint: ClassVar[bool] = False
    order_free: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_classes = 0

    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        self.n_classes += n_new

    def update(self, features: Tensor, labels: Tensor) -> None:  # noqa: B027
        """Take in samples: features [N, D], labels [N] int64 in [0, n_classes)."""

    def merge_ranks(self) -> None:  # noqa: B027
        """Sum what each rank took in since the last merge, when torch.distributed runs; idempotent otherwise."""

    def restore(self, state: dict[str, Tensor], n_classes: int) -> None:
        """Take over a `state_dict` saved when the head had `n_classes` classes."""
        self.expand(n_classes - self.n_classes)
        self.load_state_dict(state)

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] of features [B, D]; statistics heads solve lazily, once per change of state."""

    def affine(self) -> tuple[Tensor, Tensor | None] | None:
        """The weight [C, D] and bias [C] of a head whose logits are nothing but `features @ weight.T + bias`; None for others."""
        return None

    def plain_form(self) -> PlainHead | None:
        """The head as plain tensors, up to what is common to the logits of a sample; None where it knows no such form.

        Raises: RunError where there is none, with what to export instead.
        """
        return None

    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways] of the queries of E episodes of one shape, each learnt from its own support alone.

        The head's own state is neither used nor changed. An episode's logits do not depend on the other episodes of the batch
        (up to rounding), so that episodes may be cut into batches of any size.

        Args:
            support: [E, S, D] float32.
            labels: [E, S] int64 in [0, ways); every class has at least one sample.
            query: [E, Q, D] float32; a transductive head uses all queries of an episode together.
            ways: classes of each episode.
        """
        raise NotImplementedError(f"head {type(self).__name__} has no closed form for episodes")

    def for_nearest_means(self, features: Tensor) -> tuple[Tensor, bool] | None:
        """For a head whose `classify` decides by class means alone: the features [N, D] that it averages and compares, and
        whether by the largest cosine in place of the least distance. None where a head does more.

        The engine then judges episodes by `hdx.ops.episode_ncm`, which makes no logits.
        """
        return None

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """Upper bound on the float32 numbers that `classify` holds at once for one episode, inputs included.

        The engine cuts episodes into batches by it, so that memory is bounded.
        """
        return (2 * n_support + 3 * n_query + 2 * ways) * self.n_features + 6 * n_query * ways
