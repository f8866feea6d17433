"""The client credentials grant (RFC 6749 §4.4): what is posted for a token, and what comes back."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from harness.core.calling import Grant
from harness.core.credentials import Secret
from harness.core.reading import load_object, seconds_ns, token


def token_form(scopes: tuple[str, ...], client_id: str = "", client_secret: str = "") -> bytes:
    """Body of the token request, with id and secret unless a header shows them."""
    fields = {"grant_type": "client_credentials"}
    if client_id:
        fields |= {"client_id": client_id, "client_secret": client_secret}
    fields["scope"] = " ".join(scopes)
    return urlencode(fields, quote_via=quote, safe=":").encode()


def decode_grant(body: bytes) -> Grant | None:
    """The answer to it; None where there is no usable token in it. Total."""
    answer = load_object(body)
    value = token(answer, "access_token")
    return Grant(Secret(value), seconds_ns(answer.get("expires_in"))) if value else None
