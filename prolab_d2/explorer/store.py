"""What belongs to every visitor, kept in this process only: bounded in number and in time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.session import Session

__all__ = ["SessionStore"]


class SessionStore:
    """Sessions by key; the one that was longest unused gives way. May be used by many threads."""

    def __init__(
        self,
        capacity: int = 32,
        seconds: float = 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            capacity: sessions at most.
            seconds: unused for longer than this, a session goes.
        """
        self._capacity = capacity
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def put(self, session: Session, key: str | None = None) -> str:
        """Keeps a session in place of the one of `key`, if any; gives the key to ask for it with.

        Keys are unguessable, so that no visitor can ask for the image of another.
        """
        with self._lock:
            self._sessions.pop(key or "", None)
            key = secrets.token_urlsafe(16)
            self._sessions[key] = (self._clock(), session)
            self._forget_old()
            while len(self._sessions) > self._capacity:
                self._sessions.popitem(last=False)
        return key

    def get(self, key: str | None) -> Session:
        """
        Raises:
            ProLabError: there is none, or it has been put away.
        """
        if not key:
            raise ProLabError("there is no image yet: drop one, or draw a scene")
        with self._lock:
            self._forget_old()
            if key not in self._sessions:
                raise ProLabError(
                    "this image was put away because it was long unused or others needed the room: "
                    "drop it again"
                )
            _, session = self._sessions.pop(key)
            self._sessions[key] = (self._clock(), session)
        return session

    def drop(self, key: str | None) -> None:
        """Forgets a session, if it is still there."""
        with self._lock:
            self._sessions.pop(key or "", None)

    def __len__(self) -> int:
        with self._lock:
            self._forget_old()
            return len(self._sessions)

    def _forget_old(self) -> None:
        oldest = self._clock() - self._seconds
        for key in [key for key, (used, _) in self._sessions.items() if used < oldest]:
            del self._sessions[key]
