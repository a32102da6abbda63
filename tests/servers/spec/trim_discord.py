"""Cut Discord's OpenAPI document down to what the local server validates.

python tests/servers/spec/trim_discord.py path/to/openapi.json > tests/servers/spec/discord_openapi.json
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

OPERATIONS = (
    "get_gateway", "get_bot_gateway", "get_my_user", "get_my_application", "get_my_oauth2_application",
    "list_application_commands", "bulk_set_application_commands", "get_channel", "list_messages", "get_message",
    "create_message", "update_message", "trigger_typing_indicator", "create_interaction_response", "execute_webhook",
    "create_dm",
)  # fmt: skip


def trim(document: dict[str, Any]) -> dict[str, Any]:
    """The operations' parameters and JSON request schemas, with every schema that they refer to."""
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters" and operation["operationId"] in OPERATIONS:
                paths.setdefault(path, {})[method] = _trim_operation(operation, item.get("parameters", []))
    schemas: dict[str, Any] = {}
    missing = _references(paths)
    while missing:
        name = missing.pop()
        schemas[name] = document["components"]["schemas"][name]
        missing |= _references(schemas[name]) - schemas.keys()
    return {
        "openapi": document["openapi"],
        "info": document["info"],
        "paths": paths,
        "components": {"schemas": {name: schemas[name] for name in sorted(schemas)}},
    }


def _trim_operation(operation: dict[str, Any], shared: list[Any]) -> dict[str, Any]:
    kept = {"operationId": operation["operationId"], "parameters": [*shared, *operation.get("parameters", [])]}
    if "requestBody" in operation:
        kept["requestBody"] = {"content": {"application/json": operation["requestBody"]["content"]["application/json"]}}
    return kept


def _references(node: object) -> set[str]:
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(node)))


if __name__ == "__main__":
    json.dump(trim(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), sys.stdout, indent=1)
