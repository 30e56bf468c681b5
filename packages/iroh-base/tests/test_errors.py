"""The error tree: kinds, texts, and which built-in errors they are."""

import inspect
import pickle

import pytest

from iroh_base import errors
from iroh_base.errors import IrohError, IrohErrorKind

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, IrohError) and cls is not IrohError
]


def test_kinds_have_the_numbers_of_the_bindings() -> None:
    assert [kind.name.lower() for kind in IrohErrorKind] == [
        *("invalid_input", "bind", "connect", "connection", "alpn", "key_parsing"),
        *("ticket_parsing", "relay", "stream", "datagram", "callback", "closed"),
        *("timeout", "internal"),
    ]
    assert [kind.value for kind in IrohErrorKind] == list(range(14))


def test_repr_is_that_of_the_bindings() -> None:
    # seen with PyPI iroh 1.2.0: EndpointId.from_bytes(b"x")
    error = errors.InvalidInputError("the EndpointId must be 32 bytes in length")
    assert repr(error) == (
        'IrohError { kind: InvalidInput, message: "the EndpointId must be 32 bytes in length", '
        'debug_message: "the EndpointId must be 32 bytes in length" }'
    )
    assert repr(errors.KeyParsingError("x")).startswith("IrohError { kind: KeyParsing,")


def test_texts() -> None:
    error = IrohError("short", debug_message="long")
    assert (str(error), error.message(), error.debug_message()) == ("short", "short", "long")
    assert IrohError("short").debug_message() == "short"
    assert error.kind() is IrohErrorKind.INTERNAL
    assert error.is_kind(IrohErrorKind.INTERNAL)
    assert not error.is_kind(IrohErrorKind.CLOSED)


@pytest.mark.parametrize("cls", CLASSES)
def test_bad_input_is_a_value_error(cls: type[IrohError]) -> None:
    assert issubclass(cls, ValueError) is (cls is not errors.WatchClosedError)
    assert cls("text").kind() is cls.default_kind


def test_kinds_of_the_classes() -> None:
    assert errors.InvalidInputError.default_kind is IrohErrorKind.INVALID_INPUT
    assert errors.KeyParsingError.default_kind is IrohErrorKind.KEY_PARSING
    assert errors.TicketParsingError.default_kind is IrohErrorKind.TICKET_PARSING
    assert errors.WatchClosedError.default_kind is IrohErrorKind.CLOSED
    others = {cls.default_kind for cls in CLASSES} - {
        IrohErrorKind.INVALID_INPUT,
        IrohErrorKind.KEY_PARSING,
        IrohErrorKind.TICKET_PARSING,
        IrohErrorKind.CLOSED,
    }
    assert others == {IrohErrorKind.INTERNAL}
    assert issubclass(errors.PacketSignatureError, errors.SignatureError)
    assert issubclass(errors.PacketTooLargeError, errors.PkarrError)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.RelayUrlError("text", debug_message="more")))
    assert (type(error), error.message(), error.debug_message()) == (
        errors.RelayUrlError,
        "text",
        "more",
    )
