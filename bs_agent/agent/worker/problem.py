"""What an operation of the probe program fails with; as that, it runs on the distribution's Python, 3.6 or later."""


class Problem(Exception):
    """Why an operation failed: a reason code of the agent protocol and what was seen."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
