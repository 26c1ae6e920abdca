"""How Graph writes down what it gives: `$select`, contexts and times."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from postroom.simulator.graph_errors import refusal


def pick_properties(known: dict[str, Any], select: str, defaults: Iterable[str], entity_type: str) -> dict[str, Any]:
    """The properties that `$select` names, else the default ones. GraphError 400 for one that does not exist."""
    names = selected_names(select) or list(defaults)
    for name in names:
        if name not in known:
            raise refusal("property unknown", name=name, type=entity_type)
    return {name: known[name] for name in names}


def selected_names(select: str) -> list[str]:
    return [name.strip() for name in select.split(",") if name.strip()]


def context_of(base_url: str, entity_set: str, select: str = "", *, is_entity: bool = True) -> str:
    """`@odata.context`: what was selected stands in parentheses, `$entity` marks a single thing."""
    names = ",".join(selected_names(select))
    return f"{base_url}/$metadata#{entity_set}{f'({names})' if names else ''}{'/$entity' if is_entity else ''}"


def format_time(moment: float) -> str:
    """Unix seconds as Graph writes them: `2026-11-23T18:20:05Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
