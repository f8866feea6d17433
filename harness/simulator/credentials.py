"""Tokens: who asked, for what, until when; refresh tokens; early revocation."""

from __future__ import annotations

import heapq
import hmac
from collections import deque
from random import Random

from harness.simulator.config import CredentialsTable


class Grant:
    """One access token."""

    __slots__ = ("client", "expires", "revoked", "scopes", "token")

    def __init__(self, token: str, client: str, scopes: frozenset[str], expires: int) -> None:
        self.token, self.client, self.scopes, self.expires = token, client, scopes, expires
        self.revoked = False

    def live(self, now: int) -> bool:
        """Is it good now?"""
        return now < self.expires and not self.revoked


class Credentials:
    """All grants that may still be shown to us."""

    def __init__(self, table: CredentialsTable, secret: str, life: int, rng: Random) -> None:
        self._table, self._secret, self.life, self._rng = table, secret, life, rng
        self._allowed = frozenset(table.scopes)
        self._grants: dict[str, Grant] = {}
        self._ends: list[tuple[int, str]] = []
        self._refresh: dict[str, tuple[str, frozenset[str], int]] = {}
        self._refresh_queue: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def client(self) -> str:
        """The application's id: the first client's, where there are several."""
        return self._table.client_id

    def knows(self, client: str) -> bool:
        """Is there a client of that id?"""
        return client == self._table.client_id or client in self._table.clients

    def known_client(self, client: str, secret: str) -> bool:
        """Do id and secret belong to the application, or to another client?"""
        wanted = self._secret if client == self._table.client_id else self._table.clients.get(client, "")
        return hmac.compare_digest(secret.encode("utf-8", "surrogatepass"), wanted.encode()) and bool(wanted)

    def origin_allowed(self, origin: str | None) -> bool:
        """May a page of that origin ask? A request without one is not a browser's."""
        return origin is None or not self._table.origins or origin in self._table.origins

    def grant(self, now: int, client: str, scopes: frozenset[str] | None = None, life: int | None = None) -> Grant:
        """Give an access token for the scopes asked for, as far as they are allowed (None: all that are)."""
        self._prune(now)
        given = self._allowed if scopes is None else scopes & self._allowed
        grant = Grant(f"sim.{self._rng.getrandbits(128):032x}", client, given, now + (self.life if life is None else life))
        self._grants[grant.token] = grant
        heapq.heappush(self._ends, (grant.expires, grant.token))
        return grant

    def refresh_token(self, now: int, grant: Grant) -> str:
        """Make a refresh token that goes with a grant."""
        token = f"ref.{self._rng.getrandbits(128):032x}"
        until = now + self._table.refresh_life
        self._refresh[token] = (grant.client, grant.scopes, until)
        self._refresh_queue.append((until, token))
        return token

    def refreshed(self, now: int, token: str) -> Grant | None:
        """Use a refresh token up: a new grant, or None where it is not good (any more)."""
        if not self._table.refresh:
            return None
        found = self._refresh.pop(token, None)
        if found is None or now >= found[2]:
            return None
        return self.grant(now, found[0], found[1])

    def find(self, now: int, token: str) -> Grant | None:
        """The live grant behind a token."""
        grant = self._grants.get(token)
        return grant if grant is not None and grant.live(now) else None

    def bearer(self, now: int, headers: dict[str, str]) -> Grant | None:
        """The live grant of an `Authorization: Bearer` header."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        return self.find(now, token.strip()) if kind.lower() == "bearer" else None

    def alive(self, now: int) -> list[Grant]:
        """All that are good now (for revocation)."""
        return [grant for grant in self._grants.values() if grant.live(now)]

    def _prune(self, now: int) -> None:
        ends = self._ends
        while ends and ends[0][0] <= now:
            self._grants.pop(heapq.heappop(ends)[1], None)
        later = self._refresh_queue
        while later and later[0][0] <= now:
            self._refresh.pop(later.popleft()[1], None)
