"""The one error for a wrong value from a user: what happened, what was expected, what to do."""


class UserError(ValueError):
    """A value from outside cannot be used; raised where that value enters.

    The command line prints it without a traceback and exits with status 2.

    Arguments:
        happened: what is wrong, naming the value: "sparsity is 1.5".
        expected: what would have been right: "a number in [0, 1)".
        do: what to do now, starting with a verb: "pass 0.9 for 90 % zeros".
    """

    def __init__(self, happened: str, expected: str, do: str):
        super().__init__(happened, expected, do)
        self.happened, self.expected, self.do = happened, expected, do

    def __str__(self) -> str:
        happened, expected, do = (part.strip().removesuffix(".") for part in (self.happened, self.expected, self.do))
        return f"{happened}. Expected {expected}. {do[:1].upper()}{do[1:]}."
