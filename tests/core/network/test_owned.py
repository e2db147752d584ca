"""No two tensors of a network share memory, and which initialiser they are is known."""

import torch

from core.network.owned import Owned


def test_a_tensor_is_taken_without_a_copy_once():
    owned, read = Owned(), torch.arange(6.0)
    first, second = owned.take(read), owned.take(read)
    assert first.data_ptr() == read.data_ptr()
    second.add_(1)
    assert first.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_view_gets_memory_of_its_own():
    owned, read = Owned(), torch.arange(6.0).view(2, 3)
    for view in (read.T, read[1:], read[0].expand(2, 3)):
        taken = owned.take(view)
        assert taken.is_contiguous()
        assert taken.data_ptr() != read.data_ptr()
        assert torch.equal(taken, view)


def test_what_has_the_bytes_of_an_initialiser_has_its_name():
    owned, read = Owned(), torch.arange(6.0).view(2, 3)
    owned.note(read, "w")
    for view in (read, read.view(3, 2), read.clone()):
        assert owned.name(owned.take(view)) == (None if view.data_ptr() != read.data_ptr() else "w")
    for view in (read.T, read[1:], read[0].expand(2, 3), read * 2):
        assert owned.name(owned.take(view)) is None


def test_what_was_forgotten_is_not_taken_for_it():
    owned, read = Owned(), torch.arange(6.0)
    owned.note(read, "w")
    owned.forget(read)
    assert owned.name(owned.take(read)) is None
