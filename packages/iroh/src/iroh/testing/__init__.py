"""What helps to test programs that use iroh.

memory_transport.py   endpoints that reach each other within the process: no socket, no port
"""

from iroh.testing.memory_transport import (
    MEMORY_TRANSPORT_ID,
    MemoryNetwork,
    MemoryTransport,
    memory_addr,
)

__all__ = ["MEMORY_TRANSPORT_ID", "MemoryNetwork", "MemoryTransport", "memory_addr"]
