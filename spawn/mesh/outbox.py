"""What waits on a link to be sent: bounded, cut into frames (pure)."""

from __future__ import annotations

from collections import deque
from typing import Final

from spawn.mesh.wire import FRAME_BYTES_MAX, FRAME_MESSAGES_MAX, Message, join_frame

__all__ = ["MESSAGE_BYTES_MAX", "Outbox"]

_FRAME_BYTES_GOOD: Final = 256 * 1024
"""A frame is not filled above this: the peer can work on it while the next is on its way. One
larger message makes a frame of its own."""
_HEAD_BYTES_MAX: Final = 3
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX - _HEAD_BYTES_MAX
"""No frame holds a larger one."""


class Outbox:
    """Messages in order, with the bytes of each."""

    __slots__ = ("size_bytes", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Message, bytes]] = deque()
        """Whoever adds to it counts the bytes, too."""
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.waiting)

    def cut(self) -> tuple[bytes, int]:
        """Take the next frame out, and how many messages are in it; there is at least one."""
        waiting = self.waiting
        count = len(waiting)
        if count <= FRAME_MESSAGES_MAX and self.size_bytes <= _FRAME_BYTES_GOOD:
            frame = join_frame([encoded for _, encoded in waiting])
            waiting.clear()
            self.size_bytes = 0
            return frame, count
        taken = [waiting.popleft()[1]]
        size_bytes = len(taken[0])
        while waiting and len(taken) < FRAME_MESSAGES_MAX:
            size_bytes += len(waiting[0][1])
            if size_bytes > _FRAME_BYTES_GOOD:
                break
            taken.append(waiting.popleft()[1])
        self.size_bytes -= sum(map(len, taken))
        return join_frame(taken), len(taken)

    def clear(self) -> list[Message]:
        """Take all out and return them."""
        unsent = [message for message, _ in self.waiting]
        self.waiting.clear()
        self.size_bytes = 0
        return unsent
