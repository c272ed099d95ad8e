"""Which heads go with which protocols."""

from __future__ import annotations

import pytest

from hdx import registry
from hdx.config.schema import describe
from hdx.config.validate import load
from hdx.errors import ConfigError

FACTS = {name: describe("head", name).facts for name in registry.names("head")}
OF_EPISODES = [name for name, facts in FACTS.items() if facts["kind"] == "episode"]
TRAINED = [name for name, facts in FACTS.items() if facts["kind"] == "gradient" and not facts["only_with"]]


@pytest.mark.parametrize("head", OF_EPISODES)
def test_an_episode_head_needs_episodes(head: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([f"head={head}", "protocol=offline"])
    line = f"head={head} classifies few-shot episodes only, not protocol=offline: take protocol=episodic, or head=ncm"
    assert caught.value.problems == [line]
    assert load([f"head={head}", "protocol=episodic"])["head.name"] == head


@pytest.mark.parametrize("head", TRAINED)
def test_a_gradient_head_learns_an_episode_only_by_a_method_that_trains_on_it(head: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([f"head={head}", "protocol=episodic"])
    assert caught.value.problems == [
        f"head={head} is trained by gradient descent, and method=frozen trains nothing on an episode's support: "
        "take head=ncm, or method=per_episode"
    ]
    assert load([f"head={head}", "protocol=episodic", "method=per_episode"])["head.name"] == head
