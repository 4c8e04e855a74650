"""The types of the API know every property and value of the templates.

No compiler of Bicep is available here. The table `bicep_types.json` comes from the type files that
the compiler reads. These tests report what the compiler would report: a property that does not
exist or is read-only, a missing property, a value of another kind, and a value that is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycep
import pytest

from tests.infra.bicep_types import SAMPLES, TABLE, TEMPLATES, parsed_templates, used_types

TYPES: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
# Properties that Bicep accepts in every resource.
OF_BICEP = {"parent", "scope", "dependsOn"}


def values_by_name(folder: Path) -> dict[str, list[Any] | None]:
    """Return each template's names with their possible values, if these are known."""
    names: dict[str, list[Any] | None] = {}
    for path, template in parsed_templates().items():
        if path.parent != folder:
            continue
        for kind in ("resources", "modules"):
            names |= dict.fromkeys(template.get(kind, {}))
        for name, variable in template.get("variables", {}).items():
            value = variable["value"]
            names[name] = [value] if isinstance(value, (bool, int)) else None
        for name, parameter in template.get("parameters", {}).items():
            for decorator in parameter["decorators"]:
                if decorator["type"] == "allowed":
                    names[name] = decorator["argument"]
            names.setdefault(name)
    return names


def problems(kind: Any, value: Any, path: str, names: dict[str, Any]) -> Iterator[str]:
    """Yield the mistakes in a value of a template. Expressions that are not literal pass."""
    if isinstance(value, str) and value in names:
        for possible in names[value] or []:
            yield from problems(kind, possible, f"{path} ({value})", {})
        return
    if isinstance(value, dict) and set(value) == {"operator"}:
        operands = value["operator"]["operands"]
        if value["operator"]["type"] == "conditional":
            for side in ("true_value", "false_value"):
                yield from problems(kind, operands[side], path, names)
        return
    if isinstance(value, dict) and set(value) == {"function"}:
        return
    if isinstance(value, dict) and "loop_type" in value:
        value = [value["config"]]
    yield from literal_problems(kind, value, path, names)


def literal_problems(kind: Any, value: Any, path: str, names: dict[str, Any]) -> Iterator[str]:
    """Yield the mistakes in a literal."""
    if kind == "any":
        return
    if isinstance(kind, list):
        if "*" in kind and isinstance(value, str) and "${" in value:
            return
        if value not in kind:
            yield f"{path}: {value!r} is none of {kind}"
    elif isinstance(kind, str):
        expected = {"string": str, "int": int, "bool": bool}[kind]
        if type(value) is not expected:
            yield f"{path}: {value!r} is no {kind}"
    elif "array" in kind:
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no array"
            return
        for number, item in enumerate(value):
            yield from problems(kind["array"], item, f"{path}[{number}]", names)
    elif not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
    else:
        yield from object_problems(kind, value, path, names)


def object_problems(
    kind: dict[str, Any], value: dict[str, Any], path: str, names: dict[str, Any]
) -> Iterator[str]:
    """Yield the mistakes in an object and in each of its properties."""
    for name, inner in value.items():
        if name in kind["properties"]:
            yield from problems(kind["properties"][name], inner, f"{path}.{name}", names)
        elif name in kind["read_only"]:
            yield f"{path}.{name}: is read-only"
        elif "more" not in kind:
            yield f"{path}.{name}: no such property"
    for name in kind["required"]:
        if name not in value:
            yield f"{path}.{name}: is missing"


def problems_of(resource: dict[str, Any], names: dict[str, Any]) -> list[str]:
    """Return the mistakes in a resource."""
    config = {name: inner for name, inner in resource["config"].items() if name not in OF_BICEP}
    kind = TYPES[f"{resource['type']}@{resource['api_version']}"]
    return list(problems(kind, config, resource["type"], names))


RESOURCES = {
    f"{path.relative_to(SAMPLES)}, {name}": (path, resource)
    for path, template in parsed_templates().items()
    for name, resource in template.get("resources", {}).items()
}


def test_every_template_is_read() -> None:
    """The tests read the templates of the sites and of the container."""
    folders = {str(path.parent.relative_to(SAMPLES)) for path in TEMPLATES}
    assert folders == {"infra", "container_app/infra"}
    assert len(RESOURCES) > 15


def test_table_is_of_these_resources() -> None:
    """The table has each type and version in the templates, and names its source."""
    used = {f"{type_}@{version}" for type_, version in used_types()}
    assert set(TYPES) == used | {"source"}
    assert TYPES["source"].startswith("Azure/bicep-types-az@")


@pytest.mark.parametrize("name", RESOURCES)
def test_resource(name: str) -> None:
    """Each property exists and can be written, and the API accepts each literal."""
    path, resource = RESOURCES[name]
    assert problems_of(resource, values_by_name(path.parent)) == []


@pytest.mark.parametrize("mode", ["clientCertMode", "clientCertificateMode"])
def test_allowed_values_are_followed(mode: str) -> None:
    """The values that a parameter allows are checked against the type at each use."""
    [folder] = {
        path.parent for path, template in parsed_templates().items() if mode in str(template)
    }
    names = values_by_name(folder)
    assert names[mode]
    found = [
        problem
        for path, resource in RESOURCES.values()
        if path.parent == folder
        for problem in problems_of(resource, names | {mode: ["Sometimes"]})
    ]
    assert len(found) == 1
    assert f".{mode} ({mode}): 'Sometimes' is none of" in found[0]


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("httpsOnly: true", "httpsonly: true", "properties.httpsonly: no such property"),
        ("httpsOnly: true", "httpsOnly: 'true'", "'true' is no bool"),
        ("httpsOnly: true", "httpsOnly: true\n    state: 'Running'", "state: is read-only"),
        ("ftpsState: 'Disabled'", "ftpsState: 'disabled'", "'disabled' is none of"),
        ("minTlsVersion: '1.2'", "minTlsVersion: '1.4'", "'1.4' is none of"),
        (
            "    autoGeneratedDomainNameLabelScope: 'TenantReuse'",
            "    autoGeneratedDomainNameLabelScope: 'Tenant'",
            "'Tenant' is none of",
        ),
        ("  name: name\n  location: location\n", "  name: name\n", ".location: is missing"),
        ("healthCheckPath: '/health'", "healthCheckPath: 8", "8 is no string"),
        ("    siteConfig: {", "    siteConfig: [\n      1\n    ]\n    cors: {", "is no object"),
        ("name: setting.key", "key: setting.key", "appSettings[0].key: no such property"),
        (
            "        category: 'AppServiceConsoleLogs'\n        enabled: true",
            "        category: 'AppServiceConsoleLogs'",
            "logs[0].enabled: is missing",
        ),
        ("allow: false", "allows: false", "properties.allows: no such property"),
        ("name: 'scm'", "name: 'kudu'", "'kudu' is none of ['ftp', 'scm']"),
    ],
)
def test_mistakes_are_found(right: str, wrong: str, problem: str) -> None:
    """These tests find each kind of mistake."""
    folder = SAMPLES / "infra"
    text = (folder / "site.bicep").read_text(encoding="utf-8")
    assert right in text
    template = pycep.BicepParser().parse(text=text.replace(right, wrong, 1))
    names = values_by_name(folder)
    found = [
        problem
        for resource in template["resources"].values()
        for problem in problems_of(resource, names)
    ]
    assert any(problem in one for one in found), found
