import copy

from sparsernn.errors import UserError


def test_the_three_parts_make_one_sentence_each():
    error = UserError("sparsity is 1.5", "a number in [0, 1)", "pass 0.9 for 90 % zeros")
    assert str(error) == "sparsity is 1.5. Expected a number in [0, 1). Pass 0.9 for 90 % zeros."


def test_dots_are_not_doubled():
    assert str(UserError("a.", "b.", "c.")) == "a. Expected b. C."


def test_what_a_damaged_file_says_of_itself_is_cut_short():
    assert len(str(UserError("no column " + "[" * 10_000, "one of " + "x, " * 10_000, "y" * 10_000))) < 3_000


def test_it_is_a_value_error_and_copies():
    error = copy.copy(UserError("a", "b", "c"))
    assert isinstance(error, ValueError) and str(error) == "a. Expected b. C."
