"""No two tensors of a network share memory, and where the source holds them is known."""

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


def test_the_place_of_a_view_leads_back_to_it():
    owned, read = Owned(), torch.arange(6.0).view(2, 3)
    owned.note(read, "w")
    for view in (read, read.T, read[1:], read[0].expand(2, 3)):
        place = owned.place(owned.take(view))
        assert place is not None
        assert place.name == "w"
        assert torch.equal(read.as_strided(place.shape, place.strides, place.offset), view)


def test_what_was_computed_has_no_place():
    owned, read = Owned(), torch.arange(6.0)
    owned.note(read, "w")
    assert owned.place(owned.take(read * 2)) is None
    owned.forget(read)
    assert owned.place(owned.take(read)) is None
