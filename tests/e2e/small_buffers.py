"""Serves the service as uvicorn does, with the smallest buffers that the system has for sending.

Else the system would keep megabytes for a client that reads nothing.
"""

import socket
import sys

import uvicorn


def main() -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # connections inherit it
        listening.bind(("127.0.0.1", int(sys.argv[1])))
        uvicorn.Server(uvicorn.Config("main:app")).run(sockets=[listening])


if __name__ == "__main__":
    main()
