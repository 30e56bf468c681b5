"""Why there is no mapping. Never seen outside: an endpoint without one is as good as any other."""

__all__ = ["BadAnswerError", "NoAnswerError", "PortmapError", "RefusedError"]


class PortmapError(Exception):
    """The gateway gave us no mapping."""


class NoAnswerError(PortmapError):
    """The gateway did not answer in time, or nobody listens there."""


class BadAnswerError(PortmapError):
    """The gateway's answer makes no sense."""


class RefusedError(PortmapError):
    """The gateway understood, and does not want to; `code` is the protocol's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
