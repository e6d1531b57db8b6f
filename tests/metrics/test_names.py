"""Names as numbers that every rank agrees on."""

from __future__ import annotations

import torch

from lightning_agentrl.metrics.names import NOTHING, dictionary, key, spelling


def test_spellings_can_be_read_again_in_any_order():
    spelled = torch.tensor(spelling(["search", "größe"]) + spelling(["python", "search"]), dtype=torch.uint8)
    names = ["größe", "python", "search"]
    assert list(dictionary(spelled).values()) == sorted(names)
    assert dictionary(spelled) == {key(name): name for name in names}


def test_nothing_spelled_is_no_name():
    assert dictionary(torch.empty(0, dtype=torch.uint8)) == {}


def test_what_a_policy_may_write_is_made_readable():
    (found,) = dictionary(torch.tensor(spelling(["two\nlines\ud800"]), dtype=torch.uint8)).items()
    assert found == (key("two\nlines\ud800"), "two lines?")


def test_a_key_fits_into_a_column_and_is_not_that_of_nothing():
    keys = torch.tensor([key(str(number)) for number in range(1000)], dtype=torch.int64)
    assert len(keys.unique()) == 1000
    assert not bool((keys == NOTHING).any())


def test_a_key_is_the_same_in_every_process():
    assert key("search") == 1855724535366848266  # of BLAKE2b, not of Python's hash, which is salted
