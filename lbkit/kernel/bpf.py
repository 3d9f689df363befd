"""bpf(2) by ctypes: a map that joins pairs of sockets, so that the kernel passes their bytes on.

Strategy: two maps. `routes` holds for each socket, by its cookie, the socket that its bytes go to. `readers`
holds the sockets that are read by the program attached to it: it asks for the cookie of the socket that bytes
came to, and redirects them by `routes`. A socket becomes a reader only
when its route is there. With one map for both, bytes that come between the two updates of a pair would
find the program and no route.

The kernel does not hold back a sender whose bytes are redirected to a slow reader: it queues them without end
(seen on 6.18: 800 MB in a second). So for each direction the program counts the bytes in `used`, and
`limits` holds how many there may be. When half a credit is left the program says so in a ring buffer, whose
descriptor then turns readable, and whoever joined the sockets raises the limit, or does not. At the limit the
program stops for good: it says so, and leaves all further bytes to the socket, from which they are read as
ever, and whose receive window holds the sender back. The count is the program's alone and the limit is
user space's, so that no update of one can undo the other, and no byte can follow the old way after one has
gone the new.

No compiler: the program is its instructions. No file is pinned: everything goes with the last descriptor.

Rejected: a program by a stream parser (SK_SKB_STREAM_PARSER), which costs one more program run a packet;
keys by address and port, which the program would have to read from the packet for each family.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import socket
import struct

from lbkit.errors import KernelUnsupported

__all__ = ["SocketMap"]

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
"""bpf(2)'s number (the kernel's syscall tables)."""
_OLDEST = (6, 5)
"""SK_SKB_VERDICT came with 5.13; until 6.5 redirected sockets could stall or miscount what was read."""

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _PROG_ATTACH = 0, 1, 2, 3, 5, 8
_HASH, _SOCKHASH, _RINGBUF = 1, 18, 27
_NO_PREALLOC = 1
_SK_DROP, _SK_PASS = 0, 1
_MAP_LOOKUP_ELEM = 1
_RINGBUF_OUTPUT = 130
_SK_SKB = 14
_SK_SKB_VERDICT = 38
_GET_SOCKET_COOKIE = 46
_SK_REDIRECT_HASH = 72
_SO_COOKIE = 57

_LOADS = 5  # tries, as libbpf's
_VALUE = struct.Struct("=q")
_ATTR = struct.Struct("=IIQQQ")  # map elements: descriptor, padding, key, value, flags


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, value)


def _map_into(register: int, descriptor: int) -> bytes:
    """Load a map's address: one instruction of double length (BPF_PSEUDO_MAP_FD)."""
    return _instruction(0x18, register, 1, value=descriptor) + _instruction(0)


def _key_address_into(register: int) -> bytes:
    return _instruction(0xBF, register, 10) + _instruction(0x07, register, value=-8)


def _program(routes: int, used: int, limits: int, told: int, notice: int) -> bytes:
    """The program, which uses the maps with these descriptors. It tells *notice* bytes before a limit.

    r6 is the packet, r7 the address of its count, r8 the new count, r9 the old one; the key is on the stack.
    """
    tell = b"".join(
        (
            _map_into(1, told),
            _key_address_into(2),
            _instruction(0xB7, 3, value=8),  # the key's size
            _instruction(0xB7, 4),  # no flags
            _instruction(0x85, value=_RINGBUF_OUTPUT),
        )
    )
    redirect = b"".join(
        (
            _instruction(0xBF, 1, 6),
            _map_into(2, routes),
            _key_address_into(3),
            _instruction(0xB7, 4),  # no flags
            _instruction(0x85, value=_SK_REDIRECT_HASH),
            _instruction(0x55, 0, 0, 1),  # SK_DROP, where there is no route,
            _instruction(0xB7, 0, value=_SK_PASS),  # becomes SK_PASS: bytes must not vanish
            _instruction(0x95),
        )
    )
    # The count becomes -1 - count, which is below zero and stays: all that follows is passed.
    stop = b"".join(
        (
            _instruction(0xA7, 9, value=-1),  # r9 = -1 - r9, all bits turned
            _instruction(0x7B, 7, 9),
            tell,
            _instruction(0xB7, 0, value=_SK_PASS),
            _instruction(0x95),
        )
    )
    count = b"".join(
        (
            _instruction(0x61, 8, 6),  # the packet's length
            _instruction(0x0F, 8, 9),
            _instruction(0x79, 1, 0),  # the limit
            _instruction(0xDD, 8, 1, _steps(stop)),  # within it: past the stop (signed <=)
            stop,
            _instruction(0x7B, 7, 8),
            _instruction(0x17, 1, value=notice),
            _instruction(0xDD, 8, 1, 1 + _steps(tell)),  # not near it
            _instruction(0x6D, 9, 1, _steps(tell)),  # told before
            tell,
        )
    )
    find_limit = b"".join(
        (
            _map_into(1, limits),
            _key_address_into(2),
            _instruction(0x85, value=_MAP_LOOKUP_ELEM),
            _instruction(0x15, 0, 0, _steps(count)),  # none: redirect
        )
    )
    stopped = _instruction(0xB7, 0, value=_SK_PASS) + _instruction(0x95)
    return b"".join(
        (
            # A FIN without bytes has nothing to give. Redirected as a message of none it would be taken for a
            # broken pipe at the other socket, and from then on the kernel drops what is passed to that one.
            _instruction(0x61, 2, 1),  # the packet's length
            _instruction(0x55, 2, 0, 2),
            _instruction(0xB7, 0, value=_SK_DROP),
            _instruction(0x95),
            _instruction(0xBF, 6, 1),
            _instruction(0x85, value=_GET_SOCKET_COOKIE),
            _instruction(0x7B, 10, 0, -8),
            _map_into(1, used),
            _key_address_into(2),
            _instruction(0x85, value=_MAP_LOOKUP_ELEM),
            _instruction(0x15, 0, 0, 3 + _steps(stopped + find_limit + count)),  # no count: redirect
            _instruction(0xBF, 7, 0),
            _instruction(0x79, 9, 7),
            _instruction(0x75, 9, 0, _steps(stopped)),  # not below zero
            stopped,
            find_limit,
            count,
            redirect,
        )
    )


def _steps(code: bytes) -> int:
    """What a jump over *code* needs: instructions."""
    return len(code) // 8


class _Ring:
    """What the program puts into the ring buffer *descriptor*: keys of eight bytes.

    Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, which we write, one with the
    producer's, and the data; each record has a header of eight bytes whose first four are its length and two
    flags.
    """

    __slots__ = ("_data", "_mine", "_size", "descriptor")

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self._size = size
        page = mmap.PAGESIZE
        self._mine = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)

    def take(self) -> list[bytes]:
        """What has come since the last time."""
        keys = []
        (at,) = _POSITION.unpack_from(self._mine)
        while at < _POSITION.unpack_from(self._data)[0]:
            place = mmap.PAGESIZE + at % self._size
            (length,) = _LENGTH.unpack_from(self._data, place)
            if length & _BUSY:
                break  # it is being written; the next wake-up comes when it is done
            keys.append(bytes(self._data[place + 8 : place + 16]))
            at += _RECORD
            _POSITION.pack_into(self._mine, 0, at)
        return keys

    def close(self) -> None:
        self._mine.close()
        self._data.close()
        os.close(self.descriptor)


_POSITION = struct.Struct("=Q")
_LENGTH = struct.Struct("=I")
_BUSY = 1 << 31
_RECORD = 16


class SocketMap:
    """Joins sockets: what comes in on one goes out on the other, without user space.

    Raises KernelUnsupported, with the reason, where the kernel or this process's rights lack it.
    """

    __slots__ = ("_call", "_key", "_limits", "_number", "_readers", "_ring", "_routes", "_used", "_value")

    def __init__(self, notice: int, most: int = 1 << 16) -> None:
        """*notice*: bytes before its limit at which a socket is `told` of.

        *most*: sockets that can be joined at a time, a power of two of at least 256; beyond that OSError
        is raised.
        """
        number = _NUMBERS.get(platform.machine())
        if platform.system() != "Linux" or number is None:
            raise KernelUnsupported("needs Linux on a known processor")
        release = platform.release()
        if _version(release) < _OLDEST:
            raise KernelUnsupported(f"needs Linux {_OLDEST[0]}.{_OLDEST[1]} or later, this is {release}")
        libc = ctypes.CDLL(None, use_errno=True)
        self._call = libc.syscall
        self._call.restype = ctypes.c_long
        self._call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        self._key = ctypes.create_string_buffer(8)
        self._value = ctypes.create_string_buffer(8)
        self._number = number
        self._routes = self._readers = self._used = self._limits = -1
        self._ring: _Ring | None = None
        try:
            self._routes = self._new_map(_SOCKHASH, most)
            self._readers = self._new_map(_SOCKHASH, most)
            self._used = self._new_map(_HASH, most, _NO_PREALLOC)
            self._limits = self._new_map(_HASH, most, _NO_PREALLOC)
            # Room for both things that each socket can tell, so that nothing it tells is lost.
            size = most * 2 * _RECORD
            ring = self._bpf(_MAP_CREATE, struct.pack("=IIIII", _RINGBUF, 0, 0, size, 0))
            try:
                self._ring = _Ring(ring, size)
            except OSError:
                os.close(ring)
                raise
            self._attach(self._load(_program(self._routes, self._used, self._limits, ring, notice)))
        except OSError as error:
            self.close()
            raise KernelUnsupported(_why_not(error)) from None

    def _bpf(self, command: int, attr: bytes) -> int:
        result: int = self._call(self._number, command, attr, len(attr))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def _new_map(self, kind: int, most: int, flags: int = 0) -> int:
        return self._bpf(_MAP_CREATE, struct.pack("=IIIII", kind, 8, 8, most, flags))

    def _load(self, program: bytes) -> int:
        code = ctypes.create_string_buffer(program, len(program))
        licence = ctypes.create_string_buffer(b"GPL")  # both helpers are for GPL programs only
        attr = struct.pack(
            "=IIQQIIQI",
            _SK_SKB,
            len(program) // 8,
            ctypes.addressof(code),
            ctypes.addressof(licence),
            0,
            0,
            0,
            0,
        )
        for _ in range(_LOADS):
            with contextlib.suppress(BlockingIOError):  # a signal came while the kernel checked it
                return self._bpf(_PROG_LOAD, attr)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _attach(self, program: int) -> None:
        try:
            self._bpf(_PROG_ATTACH, struct.pack("=IIII", self._readers, program, _SK_SKB_VERDICT, 0))
        finally:
            os.close(program)  # the map holds it

    @property
    def ring(self) -> int:
        """The descriptor that turns readable when there is something to be `told`."""
        assert self._ring is not None
        return self._ring.descriptor

    def told(self) -> list[bytes]:
        """The cookies of sockets that came near their limit or stopped there, since the last time."""
        return [] if self._ring is None else self._ring.take()

    def route(self, source: socket.socket, target: socket.socket) -> bytes:
        """Say where the bytes of *source* are to go, which nothing follows from yet. Returns its cookie.

        Raises OSError: EOPNOTSUPP where *target* is not established, as when its other end has left.
        """
        cookie = source.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
        self._update(self._routes, cookie, target.fileno())
        return cookie

    def read(self, source: socket.socket, cookie: bytes, limit: int) -> None:
        """From now on the kernel moves the bytes of *source*, which must have a route, up to *limit*.

        Bytes that came before go first. Nothing may be read from *source* until it has `stopped` and the
        bytes moved have all been taken: the order would be lost.

        Raises OSError, and then nothing has changed.
        """
        self._update(self._used, cookie, 0)
        self._update(self._limits, cookie, limit)
        self._update(self._readers, cookie, source.fileno())
        # What is in its queue already lies there until something wakes the program.
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def allow(self, cookie: bytes, limit: int) -> None:
        """Raise the limit, in bytes since `read`. It has no effect on a socket that stopped."""
        self._update(self._limits, cookie, limit)

    def moved(self, cookie: bytes) -> tuple[int, bool]:
        """Bytes moved since `read`, and whether it has stopped at the limit. Raises OSError."""
        self._key.raw = cookie
        attr = _ATTR.pack(self._used, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0)
        self._bpf(_MAP_LOOKUP, attr)
        (count,) = _VALUE.unpack(self._value.raw)
        return (count, False) if count >= 0 else (-1 - count, True)

    def forget(self, cookie: bytes) -> None:
        """Drop the count of a socket that is closed next, which takes it out of the other maps."""
        self._delete(self._used, cookie)
        self._delete(self._limits, cookie)

    def _delete(self, map_: int, cookie: bytes) -> None:
        self._key.raw = cookie
        try:
            self._bpf(_MAP_DELETE, _ATTR.pack(map_, 0, ctypes.addressof(self._key), 0, 0))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise

    def _update(self, map_: int, cookie: bytes, value: int) -> None:
        self._key.raw = cookie
        self._value.raw = _VALUE.pack(value)
        attr = _ATTR.pack(map_, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0)
        self._bpf(_MAP_UPDATE, attr)

    def close(self) -> None:
        """Sockets that are still joined go on: close them first."""
        for fd in (self._readers, self._routes, self._used, self._limits):
            if fd >= 0:
                os.close(fd)
        self._readers = self._routes = self._used = self._limits = -1
        if self._ring is not None:
            self._ring.close()
            self._ring = None


def _version(release: str) -> tuple[int, int]:
    numbers = release.replace("-", ".").split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        return 0, 0


def _why_not(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN"
    if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return f"this kernel lacks socket maps ({os.strerror(error.errno)})"
    return f"bpf(2): {os.strerror(error.errno or 0)}"
