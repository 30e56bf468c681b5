"""Enums whose members carry data, as the bindings shape them.

class Shape(Variant): ...
@Shape.variant("CIRCLE") @dataclass(frozen=True) class _Circle(Shape): radius: float

Shape.CIRCLE(radius=1.0)    is an instance of Shape; repr Shape.CIRCLE(radius=1.0)
shape.is_circle()           also is_CIRCLE()
"""

from collections.abc import Callable
from typing import Self, TypeVar

__all__ = ["Variant"]

T = TypeVar("T", bound=type)


class Variant:
    """The base of such an enum. Its members are subclasses, nested by name."""

    def __new__(cls, *_args: object, **_fields: object) -> Self:
        """Refuse to make an instance of the enum itself."""
        if Variant in cls.__bases__:
            raise RuntimeError(f"{cls.__name__} cannot be instantiated directly")
        return super().__new__(cls)

    @classmethod
    def variant(cls, name: str) -> Callable[[T], T]:
        """Make the decorated subclass the member `name`, and add is_<name>() to all members."""

        def add(member: T) -> T:
            member.__name__ = name
            member.__qualname__ = f"{cls.__name__}.{name}"

            def is_member(self: Variant) -> bool:
                return type(self) is member

            is_member.__doc__ = f"Whether this is {member.__qualname__}."
            setattr(cls, name, member)
            setattr(cls, f"is_{name}", is_member)
            setattr(cls, f"is_{name.lower()}", is_member)
            return member

        return add
