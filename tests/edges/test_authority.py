"""When certificates of our own are renewed, and that old and new overlap."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from extender.controllers.authority import (
    AUTHORITY_LIFE_S,
    CERTIFICATE_LIFE_S,
    SETTLE_S,
    Material,
    expiry_of,
    renewed,
)
from extender.errors import MalformedError

NOW = 1_800_000_000.0
DAY = 24 * 3600.0
HOSTS = ("hook.runai.svc", "localhost", "127.0.0.1")


def certificate(material: Material) -> x509.Certificate:
    return x509.load_pem_x509_certificate(material.certificate)


def authorities(material: Material) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(material.bundle)


def is_trusted(material: Material, bundle: Material) -> bool:
    """Whether a client that knows `bundle` accepts what `material` serves."""
    issuers = {one.subject for one in authorities(bundle)}
    return certificate(material).issuer in issuers


@pytest.fixture(scope="module")
def first() -> Material:
    return renewed(None, HOSTS, NOW)


def test_the_first_is_for_its_hosts_and_signed_by_its_authority(first: Material) -> None:
    (authority,) = authorities(first)
    served = certificate(first)
    served.verify_directly_issued_by(authority)
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == set(HOSTS)
    assert served.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    key = serialization.load_pem_private_key(first.key, None)
    assert key.public_key() == served.public_key()  # type: ignore[union-attr]
    assert expiry_of(first.certificate) == NOW + CERTIFICATE_LIFE_S
    assert expiry_of(first.bundle) == NOW + AUTHORITY_LIFE_S


def test_nothing_is_due_for_the_first_months(first: Material) -> None:
    for days in (0, 1, 100, 240):
        assert renewed(first, HOSTS, NOW + days * DAY) is first


def test_a_certificate_is_renewed_a_third_of_its_life_before_it_ends(first: Material) -> None:
    later = renewed(first, HOSTS, NOW + 245 * DAY)
    assert later.bundle == first.bundle
    assert later.certificate != first.certificate
    assert later.key != first.key
    assert expiry_of(later.certificate) == NOW + 245 * DAY + CERTIFICATE_LIFE_S
    assert renewed(later, HOSTS, NOW + 245 * DAY) is later


def test_other_hosts_are_a_reason_too_once_the_authority_is_known_everywhere(first: Material) -> None:
    hosts = ("other.svc",)
    assert renewed(first, hosts, NOW + SETTLE_S - 60) is first
    other = renewed(first, hosts, NOW + SETTLE_S + 60)
    assert other.bundle == first.bundle
    assert renewed(other, hosts, NOW + SETTLE_S + 60) is other


def test_a_new_authority_is_trusted_an_hour_before_it_signs(first: Material) -> None:
    material, now = first, NOW
    while now < NOW + 2400 * DAY:  # yearly certificates of the first authority
        now += 100 * DAY
        material = renewed(material, HOSTS, now)
    assert len(authorities(material)) == 1
    due = NOW + 2440 * DAY
    before = renewed(material, HOSTS, due - 10 * DAY)
    announced = renewed(before, HOSTS, due)
    assert len(authorities(announced)) == 2
    assert authorities(announced)[1] == authorities(first)[0]
    assert announced.certificate == before.certificate
    assert renewed(announced, HOSTS, due + SETTLE_S - 1) is announced
    switched = renewed(announced, HOSTS, due + SETTLE_S)
    assert switched.bundle == announced.bundle
    certificate(switched).verify_directly_issued_by(authorities(switched)[0])
    # At no step does a client of the step before refuse a replica of the step after, or the other way round.
    steps = [before, announced, switched]
    for older, newer in itertools.pairwise(steps):
        assert is_trusted(older, newer)
        assert is_trusted(newer, older)
    # The old authority leaves when it has ended, with the next that is made.
    material, now = switched, due
    while now < due + 2500 * DAY:
        now += 50 * DAY
        material = renewed(material, HOSTS, now)
    assert authorities(first)[0] not in authorities(material)
    assert len(authorities(material)) == 2


def test_what_ended_while_nobody_looked_is_replaced_at_once(first: Material) -> None:
    after_a_year = renewed(first, HOSTS, NOW + 400 * DAY)
    assert after_a_year.bundle == first.bundle
    assert expiry_of(after_a_year.certificate) > NOW + 400 * DAY
    long_after = renewed(first, HOSTS, NOW + 4000 * DAY)
    assert len(authorities(long_after)) == 1
    certificate(long_after).verify_directly_issued_by(authorities(long_after)[0])


@pytest.mark.parametrize("field", ["bundle", "authority_key", "certificate", "key"])
@pytest.mark.parametrize("value", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_is_made_anew(first: Material, field: str, value: bytes) -> None:
    made = renewed(replace(first, **{field: value}), HOSTS, NOW)
    certificate(made).verify_directly_issued_by(authorities(made)[0])
    assert renewed(made, HOSTS, NOW) is made


def test_somebody_elses_certificate_is_replaced_by_one_that_the_bundle_vouches_for(first: Material) -> None:
    other = renewed(None, HOSTS, NOW)
    mixed = replace(first, certificate=other.certificate, key=other.key)
    mended = renewed(mixed, HOSTS, NOW)
    assert mended.bundle == first.bundle
    certificate(mended).verify_directly_issued_by(authorities(first)[0])


def test_an_authority_whose_key_is_lost_is_followed_by_another(first: Material) -> None:
    other = renewed(None, HOSTS, NOW)
    mended = renewed(replace(first, authority_key=other.authority_key), HOSTS, NOW)
    assert len(authorities(mended)) == 2
    assert mended.certificate == first.certificate


def test_no_certificate() -> None:
    with pytest.raises(MalformedError):
        expiry_of(b"nonsense")
