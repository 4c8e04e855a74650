"""The types of Azure's resources, as far as the templates use them.

`bicep_types.json` beside this file holds them: for each resource type and API version it has the
properties that can be written, each with its kind, and what is required or read-only. The values
come from the type files that Bicep itself uses, `generated/*/*/types.json` of
Azure/bicep-types-az. This program writes the table again, from a clone of that repository:

    python tests/infra/bicep_types.py CLONE

A kind is `string`, `int`, `bool` or `any`; a list of texts, the values that are known (with `*` if
others are taken too); `{"array": kind}`; or an object: `{"properties": {...}, "required": [...],
"read_only": [...], "more": kind}`, where `more` is the kind of properties that have any name.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pycep

SAMPLES = Path(__file__).resolve().parents[2] / "sample_sites"
TABLE = Path(__file__).with_name("bicep_types.json")
TEMPLATES = sorted([*SAMPLES.glob("infra/*.bicep"), *SAMPLES.glob("*/infra/*.bicep")])

REQUIRED, READ_ONLY = 1, 2


@functools.cache
def parsed_templates() -> dict[Path, dict[str, Any]]:
    """Return each template as the parser reads it."""
    return {
        path: pycep.BicepParser().parse(text=path.read_text(encoding="utf-8")) for path in TEMPLATES
    }


def used_types() -> set[tuple[str, str]]:
    """Return the type and API version of every resource of the templates."""
    return {
        (resource["type"], resource["api_version"])
        for template in parsed_templates().values()
        for resource in template.get("resources", {}).values()
    }


def used_paths(type_: str) -> set[tuple[str, ...]]:
    """Return the path of every object that some resource of this type writes."""
    paths: set[tuple[str, ...]] = set()

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            paths.add(path)
            for name, inner in value.items():
                if name in ("operator", "operands", "true_value", "false_value", "config"):
                    walk(inner, path)
                else:
                    walk(inner, (*path, name))
        elif isinstance(value, list):
            for inner in value:
                walk(inner, path)

    for template in parsed_templates().values():
        for resource in template.get("resources", {}).values():
            if resource["type"] == type_:
                walk(resource["config"], ())
    return paths


def kind_of(items: list[Any], item: Any, path: tuple[str, ...], used: set[tuple[str, ...]]) -> Any:
    """Return the kind of a type; an object that no template writes is `any`."""

    def at(reference: dict[str, str]) -> Any:
        return items[int(reference["$ref"].rpartition("/")[2])]

    match item["$type"]:
        case "StringType":
            return "string"
        case "IntegerType":
            return "int"
        case "BooleanType":
            return "bool"
        case "StringLiteralType":
            return [item["value"]]
        case "UnionType":
            kinds = [kind_of(items, at(element), path, used) for element in item["elements"]]
            values = [value for kind in kinds if isinstance(kind, list) for value in kind]
            return values + (["*"] if "string" in kinds else []) if values else "any"
        case "ArrayType":
            return {"array": kind_of(items, at(item["itemType"]), path, used)}
        case "ObjectType":
            if path not in used:
                return "any"
            kind: dict[str, Any] = {"properties": {}, "required": [], "read_only": []}
            for name, described in sorted(item.get("properties", {}).items()):
                if described["flags"] & READ_ONLY:
                    kind["read_only"].append(name)
                    continue
                if described["flags"] & REQUIRED:
                    kind["required"].append(name)
                inner = kind_of(items, at(described["type"]), (*path, name), used)
                kind["properties"][name] = inner
            if item.get("additionalProperties"):
                kind["more"] = "any"
            return kind
        case "DiscriminatedObjectType":
            # One property says which of several objects it is. Here they are one object.
            parts = [at(element) for element in item["elements"].values()]
            merged = dict(item["baseProperties"])
            for part in parts:
                merged |= part["properties"]
            whole = {"$type": "ObjectType", "properties": merged}
            kind = kind_of(items, whole, path, used)
            kind["properties"][item["discriminator"]] = sorted(item["elements"])
            return kind
    return "any"


def read(clone: Path) -> dict[str, Any]:
    """Return the table, read from a clone of Azure/bicep-types-az."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(clone), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    files = git("ls-tree", "-r", "--name-only", "HEAD", "generated").splitlines()
    table: dict[str, Any] = {"source": f"Azure/bicep-types-az@{git('rev-parse', 'HEAD').strip()}"}
    for type_, version in sorted(used_types()):
        folder = f"/{type_.partition('/')[0].lower()}/{version}/types.json"
        name = f"{type_}@{version}"
        for file in files:
            if not file.endswith(folder):
                continue
            items = json.loads(git("show", f"HEAD:{file}"))
            for item in items:
                if item["$type"] == "ResourceType" and item["name"].lower() == name.lower():
                    body = items[int(item["body"]["$ref"].rpartition("/")[2])]
                    table[name] = kind_of(items, body, (), used_paths(type_))
        if name not in table:
            sys.exit(f"{name} is not in the clone.")
    return table


if __name__ == "__main__":
    text = json.dumps(read(Path(sys.argv[1])), indent=1, sort_keys=True)
    TABLE.write_text(f"{text}\n", encoding="utf-8")
