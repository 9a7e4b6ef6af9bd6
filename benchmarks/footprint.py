"""What a server process holds, seen from outside: memory, handles, connections."""

from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from scripts.processes import Server


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look at a process.

    Attributes:
        memory_mib: Resident memory, in MiB.
        handles: Open file descriptors other than connections.
        clients: Connections with its clients.
        upstream: Connections that it opened itself.
        threads: Its threads.
    """

    memory_mib: float
    handles: int
    clients: int
    upstream: int
    threads: int


def footprint(server: Server) -> Footprint:
    """Look at the process of *server*."""
    process = psutil.Process(server.process.pid)
    port = httpx.URL(server.url).port
    connected = [c for c in process.net_connections(kind="tcp") if c.raddr]
    clients = sum(connection.laddr.port == port for connection in connected)
    return Footprint(
        memory_mib=process.memory_info().rss / 2**20,
        handles=process.num_fds() - len(connected),
        clients=clients,
        upstream=len(connected) - clients,
        threads=process.num_threads(),
    )


def peak_mib(server: Server) -> float:
    """Return the most memory that the process of *server* ever had, in MiB.

    Only Linux tells that; elsewhere it is what the process has now.
    """
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    except FileNotFoundError:
        return footprint(server).memory_mib
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
