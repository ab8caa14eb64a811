"""The cluster's TLS: a root that every node trusts, leaves that it signs, and whether what is shown holds.  RFC 5280.

The root can sign for the cluster's own names and addresses only (name constraints), since every node believes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from cluster.errors import InputError
from cluster.inventory import Inventory

LOOPBACK = IPv4Network("127.0.0.0/8")
# A node whose clock is behind (a Pi has none of its own) must not find a certificate that is not valid yet.
BACKDATED = timedelta(days=30)


@dataclass(frozen=True, repr=False)
class Pair:
    """A private key and the certificates that belong to it, its own first; its repr tells nothing."""

    key: bytes
    chain: bytes

    def __repr__(self) -> str:
        return "Pair()"


def new_root(inventory: Inventory) -> bytes:
    """A new root: its private key and its certificate, both PEM, in one piece."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _named(f"{inventory.cluster.name} root")
    permitted = [
        x509.DNSName(inventory.cluster.domain),
        x509.DNSName("localhost"),
        x509.IPAddress(inventory.network.cidr),
        x509.IPAddress(LOOPBACK),
    ]
    builder = _builder(name, name, key.public_key(), inventory.authority.root)
    for extension, critical in (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(signs=True), True),
        (x509.NameConstraints(permitted, None), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical)
    return _private(key) + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def root_certificate(pem: bytes, where: object) -> bytes:
    """The certificate of a root, PEM; raises InputError where it cannot be used, or is over."""
    certificate = _root(pem, where)[1]
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise InputError(
            f"{where}: the TLS root was valid until {certificate.not_valid_after_utc:%Y-%m-%d}; move it away to have a "
            "new one made, then provision all nodes"
        )
    return certificate.public_bytes(Encoding.PEM)


def new_leaf(pem: bytes, where: object, inventory: Inventory, host: str, service: str) -> Pair:
    """A key and a certificate for a service of a node, signed by this root; raises InputError where it cannot be."""
    signer, root = _root(pem, where)
    root_certificate(pem, where)
    key = ec.generate_private_key(ec.SECP256R1())
    lasts = min(inventory.authority.leaf, (root.not_valid_after_utc - datetime.now(UTC)).total_seconds())
    builder = _builder(_named(f"{service} of {host}"), root.subject, key.public_key(), lasts)
    domain, subdomain = inventory.cluster.domain, inventory.cluster.subdomain
    names = [inventory.fqdn(host), f"*.{domain}", f"*.{subdomain}", "localhost"]
    addresses = [inventory.nodes[host].address, inventory.network.floating, IPv4Address("127.0.0.1")]
    subject = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(subject), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical)
    chain = [builder.sign(signer, hashes.SHA256()), root]
    return Pair(_private(key), b"".join(one.public_bytes(Encoding.PEM) for one in chain))


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a certificate, in hex."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def until(chain: bytes) -> datetime:
    """When the first certificate of a chain ends; raises ValueError for what is none."""
    return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc


def why_not(chain: bytes, root: bytes, host: str, at: datetime | None = None) -> str | None:
    """Why a client that trusts `root` would not believe that a server with this chain is `host`; None if it would."""
    try:
        leaf, *others = x509.load_pem_x509_certificates(chain)
        store = Store(x509.load_pem_x509_certificates(root))
    except ValueError as error:
        return f"no certificate: {error}"
    try:
        subject: x509.IPAddress | x509.DNSName = x509.IPAddress(IPv4Address(host))
    except ValueError:
        subject = x509.DNSName(host)
    try:
        builder = PolicyBuilder().store(store).time(at or datetime.now(UTC))
        builder.build_server_verifier(subject).verify(leaf, others)
    except VerificationError as error:
        return str(error)
    return None


def _root(pem: bytes, where: object) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{where}: not a TLS root (key and certificate, PEM); put back a copy of yours") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise InputError(f"{where}: its key and its certificate do not belong together; put back a copy of yours")
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, seconds: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(seconds=seconds))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # RFC 5280, ub-common-name


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def names(chain: bytes) -> Sequence[str]:
    """The names and addresses in the first certificate of a chain; raises ValueError."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    value = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in value]
