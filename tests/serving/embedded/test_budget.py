import threading
import time

import pytest

from keras_distill.serving.embedded.budget import Budget


def test_shares_are_waited_for_and_given_back():
    budget = Budget(10)
    entered, leave = threading.Semaphore(0), threading.Event()

    def work(amount):
        with budget.taking(amount):
            entered.release()
            assert leave.wait(60)

    others = [threading.Thread(target=work, args=[amount]) for amount in (6, 4, 0)]
    for thread in others:
        thread.start()
    for _ in others:
        assert entered.acquire(timeout=60)
    late = threading.Thread(target=work, args=[1000])  # as if it were 10
    late.start()
    assert not entered.acquire(timeout=0.05)
    leave.set()
    assert entered.acquire(timeout=60)
    for thread in (*others, late):
        thread.join()


def test_a_failure_gives_its_share_back():
    budget = Budget(1)
    for _ in range(3):
        try:
            with budget.taking(1):
                raise KeyError
        except KeyError:
            pass


def test_small_requests_do_not_overtake_a_large_one():
    budget = Budget(10)
    order = []

    def work(amount):
        with budget.taking(amount):
            order.append(amount)

    with budget.taking(1):
        threads = []
        for amount in (1000, 2, 3):
            threads.append(threading.Thread(target=work, args=[amount]))
            threads[-1].start()
            while len(budget._waiting) < len(threads):
                time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert order[0] == 1000


def test_who_is_not_waited_for_any_more_leaves_the_line():
    budget = Budget(10)

    def give_up():
        raise KeyError

    with budget.taking(1):
        with pytest.raises(KeyError), budget.taking(10, give_up):
            pass
        with budget.taking(9):  # nobody stands before it
            pass
