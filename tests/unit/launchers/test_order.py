"""Which run is next: leaders first, one a body; held and lost runs come again; every run is handed out until it is done."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.launchers._base import Task
from hdx.launchers._order import AGAIN_S, Order
from hdx.launchers.plan import ordered


def task(name: str, body: str = "a", *, shares: bool = True, shots: int = 1) -> Task:
    return Task(name, f"/runs/{name}", {"data": {"protocol": {"shots": shots}, "seed": 0}}, body=body, shares=shares)


def test_one_leads_and_the_others_wait_for_it() -> None:
    order = Order([task("1"), task("2", shots=5), task("3", shots=5)])
    leader = order.next(0.0)
    assert leader is not None and leader.run_id == "1"
    assert leader.also == ({"protocol": {"shots": 5}, "seed": 0},)  # what the others use, each once
    assert order.next(0.0) is None
    order.done(leader, finished=True)
    followers = [order.next(0.0), order.next(0.0)]
    assert [each.run_id for each in followers if each] == ["2", "3"] and all(not each.also for each in followers if each)


def test_the_next_one_leads_where_the_leader_failed() -> None:
    order = Order([task("1"), task("2"), task("3")])
    first = order.next(0.0)
    assert first
    order.done(first, finished=False)
    assert order.next(0.0).run_id == "2"  # type: ignore[union-attr]
    assert order.next(0.0) is None


def test_leaders_of_all_bodies_come_first_then_the_body_that_the_worker_knows() -> None:
    order = Order([task("a1"), task("a2"), task("b1", "b"), task("b2", "b"), task("c1", "c", shares=False)])
    leaders = [order.next(0.0), order.next(0.0)]
    assert [each.run_id for each in leaders if each] == ["a1", "b1"]
    for each in leaders:
        assert each
        order.done(each, finished=True)
    assert order.next(0.0, last="b").run_id == "b2"  # type: ignore[union-attr]
    assert order.next(0.0, last="b").run_id == "a2"  # type: ignore[union-attr]
    assert order.next(0.0).run_id == "c1"  # type: ignore[union-attr]


def test_bodies_that_train_wait_for_nobody() -> None:
    order = Order([task("1", shares=False), task("2", shares=False)])
    assert [order.next(0.0).run_id, order.next(0.0).run_id] == ["1", "2"]  # type: ignore[union-attr]


def test_a_run_that_another_process_has_is_left_alone_for_a_while() -> None:
    order = Order([task("1", shares=False), task("2", shares=False)])
    first = order.next(10.0)
    assert first
    order.back(first, 10.0, held=True)
    assert order.next(10.0).run_id == "2"  # type: ignore[union-attr]
    assert order.next(10.0 + AGAIN_S / 2) is None
    assert order.next(10.0 + AGAIN_S).run_id == "1"  # type: ignore[union-attr]


def test_a_lost_run_comes_again_at_once() -> None:
    order = Order([task("1"), task("2")])
    first = order.next(0.0)
    assert first
    order.back(first, 0.0, held=False)
    assert order.next(0.0).run_id == "1"  # type: ignore[union-attr]
    assert order.left == 2


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12),
    fates=st.lists(st.sampled_from(["finished", "failed", "held", "lost"]), max_size=40),
    workers=st.integers(1, 4),
)
def test_every_run_is_done_once_whatever_happens(bodies: list[tuple[str, bool]], fates: list[str], workers: int) -> None:
    shared = dict(bodies)
    tasks = ordered([task(str(number), body, shares=shared[body]) for number, (body, _) in enumerate(bodies)])
    order, out, done, now = Order(tasks), [], [], 0.0
    script, warm = iter(fates), set()
    while order.left:
        now += AGAIN_S
        while len(out) < workers and (found := order.next(now)):
            beside = [each for each in out if each.body == found.body]
            assert not (found.shares and beside) or found.body in warm  # before the features are there, one is out
            out.append(found)
        assert out, "nothing is out and nothing can begin"
        each = out.pop(0)
        fate = next(script, "finished")
        if fate in ("held", "lost"):
            order.back(each, now, held=fate == "held")
        else:
            order.done(each, finished=fate == "finished")
            done.append(each.run_id)
            warm |= {each.body} if fate == "finished" else set()
    assert sorted(done) == sorted(each.run_id for each in tasks)


def test_bodies_stand_together() -> None:
    tasks = [task("1", "a"), task("2", "b"), task("3", "a"), task("4", "c"), task("5", "b")]
    assert [each.run_id for each in ordered(tasks)] == ["1", "3", "2", "5", "4"]
