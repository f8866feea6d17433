"""The vendor's Python SDK against a simulator: signs in, lists queues, reads a history. Arguments: base URL, id, secret, JWT."""

from __future__ import annotations

import json
import sys

import PureCloudPlatformClientV2 as Platform  # type: ignore[import-not-found]


def main() -> None:
    base, client_id, secret, jwt = sys.argv[1:]
    Platform.configuration.host = base
    client = Platform.api_client.ApiClient(base)
    client.get_client_credentials_token(client_id, secret)
    queues = Platform.RoutingApi(client).get_routing_queues(page_size=25)
    guest = Platform.api_client.ApiClient(base, "Authorization", f"bearer {jwt}")
    history = Platform.WebMessagingApi(guest).get_webmessaging_messages(page_size=25, page_number=1)
    print(json.dumps({"queues": queues.total, "history": [entity.id for entity in history.entities]}))


main()
