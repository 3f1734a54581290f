"""What a TCP connection gets out of the link: speed in both directions and round trip.

    python cluster/lab/wire.py serve ADDRESS            answers one client and ends
    python cluster/lab/wire.py measure ADDRESS BYTES    prints one line of JSON

Both run as programs, because a process lives in one network namespace. Needs the standard library alone.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time

PORT = 7700
PINGS = 50
CHUNK = 1 << 20
CONNECT_SECONDS = 20
SIZE_BYTES = 8
"""Length of the number that tells the server how much will be sent."""


def serve(address: str) -> None:
    """Echoes the pings of one client, takes its bytes, and sends as many back."""
    with socket.create_server((address, PORT)) as listener:
        listener.settimeout(CONNECT_SECONDS)
        connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(PINGS):
            connection.sendall(_receive(connection, 1))
        size = int.from_bytes(_receive(connection, SIZE_BYTES), "big")
        _discard(connection, size)
        connection.sendall(b"!")
        _send(connection, size)
        _receive(connection, 1)


def measure(address: str, size: int) -> dict[str, float]:
    """Measures against a server.

    Args:
        address: The server's.
        size: Bytes to send in each direction.

    Returns:
        `gbit_out` and `gbit_in` in Gbit/s of payload, `round_trip_ms` (median).
    """
    with _connected(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = []
        for _ in range(PINGS):
            began = time.perf_counter()
            connection.sendall(b"?")
            _receive(connection, 1)
            trips.append(time.perf_counter() - began)
        began = time.perf_counter()
        connection.sendall(size.to_bytes(SIZE_BYTES, "big"))
        _send(connection, size)
        _receive(connection, 1)
        turned = time.perf_counter()
        _discard(connection, size)
        ended = time.perf_counter()
        connection.sendall(b"!")
    gbit = size * 8 / 1e9
    out, back = gbit / (turned - began), gbit / (ended - turned)
    return {"gbit_out": out, "gbit_in": back, "round_trip_ms": 1000 * statistics.median(trips)}


def _connected(address: str) -> socket.socket:
    """A connection to the server, which may need a moment to open its port."""
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=60)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _send(connection: socket.socket, size: int) -> None:
    chunk = bytes(CHUNK)
    for start in range(0, size, CHUNK):
        connection.sendall(chunk[: min(CHUNK, size - start)])


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the other side hung up")
        data += more
    return data


def _discard(connection: socket.socket, size: int) -> None:
    buffer = bytearray(CHUNK)
    while size:
        count = connection.recv_into(buffer, min(size, CHUNK))
        if not count:
            raise ConnectionError("the other side hung up")
        size -= count


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.stdout.write(json.dumps(measure(sys.argv[2], int(sys.argv[3]))) + "\n")
