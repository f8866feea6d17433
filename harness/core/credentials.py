"""A credential and its life: usable, due for refresh, expired. Its repr never shows the value."""

from __future__ import annotations

from collections.abc import Iterable


class Secret:
    """A string that no repr, format or log shows; `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where it is put on the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


_TELLING = 8
"""So much of a secret's beginning is too much."""


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text, which others may have written and cut, without these secrets, nor the beginning of one where the text ends."""
    for secret in secrets:
        if not secret:
            continue
        text = text.replace(secret, "…")
        for length in range(min(len(secret), len(text)), _TELLING - 1, -1):
            if text.endswith(secret[:length]):
                text = text[:-length] + "…"
                break
    return text


class Credential:
    """A token with its instants (monotonic ns). `expires_ns` 0 means that it does not expire."""

    __slots__ = ("acquired_ns", "expires_ns", "refresh_ns", "refresh_value", "rejected", "value")

    def __init__(
        self, value: Secret, acquired_ns: int, lifetime_ns: int, refresh_ahead_ns: int, refresh_value: Secret | None = None
    ) -> None:
        self.value = value
        self.refresh_value = refresh_value
        self.acquired_ns = acquired_ns
        self.expires_ns = acquired_ns + lifetime_ns if lifetime_ns else 0
        # A life shorter than the lead would refresh for ever: then refresh at half-life.
        ahead = refresh_ahead_ns if refresh_ahead_ns < lifetime_ns else lifetime_ns // 2
        self.refresh_ns = self.expires_ns - ahead if lifetime_ns else 0
        self.rejected = False

    def state(self, now_ns: int) -> str:
        """`valid`, `due` (refresh it now), `expired` (never use it again) or `rejected` (the server said so)."""
        if self.rejected:
            return "rejected"
        if self.expires_ns and now_ns >= self.expires_ns:
            return "expired"
        if self.refresh_ns and now_ns >= self.refresh_ns:
            return "due"
        return "valid"

    def __repr__(self) -> str:
        return f"Credential(acquired_ns={self.acquired_ns}, expires_ns={self.expires_ns}, rejected={self.rejected})"
