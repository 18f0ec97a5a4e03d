"""A page of the web → its bytes: asked for only when the user says so, and only from public addresses."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes

MOST_BYTES = 100_000_000
MOST_SECONDS = 60.0
MOST_REDIRECTS = 5
_WAIT_SECONDS = 15.0  # for one answer of the network
_PIECE = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}
_KEPT = "/%:@!$&'()*+,;=~-._"  # what an address may hold unquoted
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/epub+zip": ".epub",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What an address gave: the address it was found at in the end, its bytes, and the suffix its kind has."""

    address: str
    data: bytes
    suffix: str


def is_address(path: str) -> bool:
    """Whether an argument is an address of the web, not the name of a file."""
    return path.lower().startswith(("http://", "https://"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not of this machine, this network, or a special range."""
    found = ipaddress.ip_address(address.partition("%")[0])
    carried: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    if isinstance(found, ipaddress.IPv6Address):
        carried += filter(None, (found.ipv4_mapped, found.sixtofour, *(found.teredo or ())))
        if found in _NAT64:
            carried.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    return all(one.is_global and not one.is_multicast for one in (carried or [found]))


def fetch(address: str, allowed: Callable[[str], bool] = is_public) -> Page:
    """Get one page. What is too large, too slow, not public, or no answer is a `Fixable` that names the address.

    A name is looked up once, all its IP addresses have to be `allowed`, and the connection goes to the one that was
    checked; a redirect is a new address, checked in the same way. No cookies, no proxies, no passwords.
    """
    deadline = time.monotonic() + MOST_SECONDS
    at = address
    for _ in range(MOST_REDIRECTS + 1):
        try:
            answer, connection = _asked(at, allowed)
            with connection:
                if answer.status in (301, 302, 303, 307, 308) and (to := answer.getheader("Location")):
                    at = urljoin(at, to)
                    continue
                if answer.status != http.client.OK:
                    raise Fixable(f"the server answers {answer.status} {answer.reason}", "check the address", address)
                kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
                return Page(at, _body(answer, deadline, address), _suffix(kind, at))
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", "") or str(error) or type(error).__name__
            raise Fixable(
                f"this page cannot be fetched: {said}", "check the address and the network", address
            ) from None
    raise Fixable(f"it redirects more than {MOST_REDIRECTS} times", "give the address it ends at", address)


class _Pinned(http.client.HTTPConnection):
    """A connection to the IP address that was checked, under the name that was asked for."""

    def __init__(self, host: str, port: int, ip: str, secure: bool) -> None:
        super().__init__(host, port, timeout=_WAIT_SECONDS)
        self._ip, self._secure = ip, secure

    def connect(self) -> None:
        """Open the connection; the certificate has to be of the name, not of the IP address."""
        self.sock = socket.create_connection((self._ip, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def __enter__(self) -> _Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked(address: str, allowed: Callable[[str], bool]) -> tuple[http.client.HTTPResponse, _Pinned]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Fixable(f"this is no address: {error}", "write https://…", address) from None
    if parts.scheme not in _PORTS or not host or parts.username or parts.password:
        raise Fixable("only plain http and https addresses are fetched", "write https://…", address)
    name = host.encode("idna").decode() if not host.isascii() else host
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    refused = sorted(ip for ip in found if not allowed(ip))
    if refused or not found:
        raise Fixable(
            f"refused: {host} is {', '.join(refused) or 'nowhere'}, which is not a public address",
            "save the page as a file and add that",
            address,
        )
    connection = _Pinned(name, port, min(found), parts.scheme == "https")
    path = urlunsplit(("", "", quote(parts.path or "/", safe=_KEPT), quote(parts.query, safe=f"?{_KEPT}"), ""))
    headers = {
        "User-Agent": "shuyuan",
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.5",
        "Accept-Encoding": "identity",
    }
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse(), connection
    except BaseException:
        connection.close()
        raise


def _body(answer: http.client.HTTPResponse, deadline: float, address: str) -> bytes:
    data = bytearray()
    while piece := answer.read1(_PIECE):
        data += piece
        if len(data) > MOST_BYTES:
            raise Fixable(f"the page is too large: more than {human_bytes(MOST_BYTES)}", "fetch it by hand", address)
        if time.monotonic() > deadline:
            raise Fixable(f"the page takes longer than {MOST_SECONDS:.0f} seconds", "fetch it by hand", address)
    return bytes(data)


def _suffix(kind: str, address: str) -> str:
    """The suffix of the kind a server names; of the address where it names none that is known."""
    named = urlsplit(address).path.rpartition("/")[2]
    return _SUFFIXES.get(kind) or (f".{named.rpartition('.')[2].lower()[:10]}" if "." in named else ".html")
