"""Certificates that we sign ourselves: when they are renewed, and how old and new overlap.

The API server trusts a bundle of authorities, newest first, and the newest signs. Renewing an authority therefore has
two steps with an hour between them: first the new one joins the bundle, and only when every API server had time to
learn the bundle does it sign the next serving certificate. An old authority stays in the bundle until it ends, years
after the last replica has let go of what it signed; its key is forgotten at once.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extender.errors import MalformedError

_DAY_S = 24 * 3600.0
AUTHORITY_LIFE_S = 3650 * _DAY_S
CERTIFICATE_LIFE_S = 365 * _DAY_S
_RENEW_WITH_LEFT = 1 / 3  # of the life: four months in which a failing renewal can be noticed
_SKEW_S = 3600.0  # certificates begin this much before they are made: clocks differ
SETTLE_S = 3600.0  # from a new authority in the bundle to the first certificate that it signs


@dataclass(frozen=True, slots=True)
class Material:
    """What the replicas share, as PEM. `bundle`: the authorities, newest first; `authority_key`: of the newest."""

    bundle: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes


def renewed(material: Material | None, hosts: Sequence[str], now: float) -> Material:
    """What should be served at `now` (Unix time): `material` itself when nothing is due.

    hosts: names and IP addresses that the certificate is for. What is missing, unreadable or has ended is made anew
    at once; what is merely old, a third of its life before it ends. Cost: a few ms when a key is made.
    """
    if material is None:
        return _made(hosts, now)
    try:
        authorities = [one for one in x509.load_pem_x509_certificates(material.bundle) if expiry(one) > now]
        certificate = x509.load_pem_x509_certificate(material.certificate)
        authority_key = _private(material.authority_key)
        _private(material.key)
    except (ValueError, TypeError):
        return _made(hosts, now)
    if not authorities:
        return _made(hosts, now)
    bundle, pem, key = material.bundle, material.certificate, material.key
    if _is_due(authorities[0], now) or authority_key.public_key() != authorities[0].public_key():
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authorities.insert(0, _authority(authority_key, now))
        bundle = _joined(authorities)
    newest = authorities[0]
    is_useless = expiry(certificate) <= now or not any(_signed(certificate, by) for by in authorities)
    is_old = _is_due(certificate, now) or not _signed(certificate, newest) or not set(hosts) <= _hosts(certificate)
    if is_useless or (is_old and now - _made_at(newest) >= SETTLE_S):
        pem, key = _issued(newest, authority_key, hosts, now)
    if bundle is material.bundle and pem is material.certificate:
        return material
    return Material(bundle, _pem(authority_key), pem, key)


def expiry(certificate: x509.Certificate) -> float:
    """When it ends, in Unix time."""
    return certificate.not_valid_after_utc.timestamp()


def expiry_of(pem: bytes) -> float:
    """As `expiry`, of the first certificate in a PEM text. Raises MalformedError."""
    try:
        return expiry(x509.load_pem_x509_certificate(pem))
    except ValueError as error:
        raise MalformedError(f"not a certificate: {str(error)[:80]}") from error


def _made(hosts: Sequence[str], now: float) -> Material:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, now)
    certificate, key = _issued(authority, authority_key, hosts, now)
    return Material(_joined([authority]), _pem(authority_key), certificate, key)


def _made_at(certificate: x509.Certificate) -> float:
    return certificate.not_valid_before_utc.timestamp() + _SKEW_S


def _is_due(certificate: x509.Certificate, now: float) -> bool:
    life = expiry(certificate) - certificate.not_valid_before_utc.timestamp()
    return expiry(certificate) - now <= _RENEW_WITH_LEFT * life


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _hosts(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _authority(key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    # The date keeps two authorities of one bundle apart where people read them.
    name = _name(f"runai-scheduler admission {_utc(now):%Y-%m-%d %H:%M:%S}")
    return (
        _builder(name, name, key, now, AUTHORITY_LIFE_S)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issued(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, hosts: Sequence[str], now: float
) -> tuple[bytes, bytes]:
    """Certificate and key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    # An authority of somebody else's making may end before an ordinary life would.
    life_s = min(CERTIFICATE_LIFE_S, expiry(authority) - now)
    certificate = (
        _builder(_name(hosts[0][:64]), authority.subject, key, now, life_s)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, life_s: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_utc(now - _SKEW_S))
        .not_valid_after(_utc(now + life_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _joined(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key of ours")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
