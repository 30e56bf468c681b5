"""XML of a device that nobody vouches for: bounded, without document types, hence entities.

expat itself reads it; a tree of plain nodes comes out, names without namespaces.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from .errors import BadAnswerError

__all__ = ["MAX_BYTES", "Node", "parse"]

MAX_BYTES = 65_536
MAX_NODES = 2000
MAX_DEPTH = 32


@dataclass(slots=True)
class Node:
    """An element: its name, its own text stripped, its children in order."""

    name: str
    text: str = ""
    children: list["Node"] = field(default_factory=list)

    def walk(self) -> Iterator["Node"]:
        """Give the element and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> "Node | None":
        """Return the first element of this name, itself included."""
        return next((node for node in self.walk() if node.name == name), None)

    def child_text(self, name: str) -> str:
        """Return the text of a child, empty if there is none."""
        return next((child.text for child in self.children if child.name == name), "")


def parse(data: bytes) -> Node:
    """Return the root element. Raises BadAnswerError."""
    if len(data) > MAX_BYTES:
        raise BadAnswerError(f"XML of more than {MAX_BYTES} bytes")
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadAnswerError(f"bad XML: {error}") from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not have
        raise BadAnswerError(f"bad XML: {error}") from None
    return reader.root.children[0]


class _Reader:
    def __init__(self) -> None:
        self.root = Node("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, _attributes: object) -> None:
        self._count += 1
        if self._count > MAX_NODES or len(self._open) > MAX_DEPTH:
            raise BadAnswerError("XML with too many or too deep elements")
        node = Node(name.rpartition(" ")[2])
        self._open[-1].children.append(node)
        self._open.append(node)

    def end(self, _name: str) -> None:
        node = self._open.pop()
        node.text = node.text.strip()

    def text(self, text: str) -> None:
        self._open[-1].text += text

    def doctype(self, *_: object) -> None:
        raise BadAnswerError("XML with a document type")
