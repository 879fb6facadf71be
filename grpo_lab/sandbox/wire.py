"""Frames on a byte stream: one kind byte, four length bytes, the body. Used on both sides of the wall."""
import os
import struct

HEAD = struct.Struct(">cI")


class Broken(Exception):
    "The other side closed, or sent something that is no frame of ours."


def send(fd, kind, body=b""):
    "Write one frame to a blocking descriptor."
    view = memoryview(HEAD.pack(kind, len(body)) + body)
    while view: view = view[os.write(fd, view):]


def _read(fd, n):
    parts = []
    while n:
        part = os.read(fd, min(n, 1 << 20))
        if not part: raise Broken("the other side closed its end")
        parts.append(part); n -= len(part)
    return b"".join(parts)


def recv(fd, most):
    "Read one frame `(kind, body)` from a blocking descriptor; Broken when it is longer than `most` bytes."
    kind, n = HEAD.unpack(_read(fd, HEAD.size))
    if n > most: raise Broken(f"a frame of {n} bytes, more than {most}")
    return kind, _read(fd, n)
