"""TLS: who may speak to a scheduler. Without it, whoever reaches its port can run code."""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distres.engine.profiles import Profile
from distres.errors import ClusterError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

TLS_FILES = ("tls_ca_file", "tls_cert", "tls_key")
ROLES = ("scheduler", "worker", "client")


def security_of(profile: Profile) -> Any:  # noqa: ANN401
    """Return Dask's `Security` for the TLS files that a profile names, or None.

    One certificate serves scheduler, workers and client, which all run as one user.

    Raises
    ------
    UsageError
        Only some of the files are named, or one does not exist.
    """
    files = {name: profile.text(name) for name in TLS_FILES}
    if not any(files.values()):
        return None
    for name, file in files.items():
        if not file:
            raise UsageError(
                f"the cluster profile's TLS needs {', '.join(TLS_FILES)}, but {name} is missing; "
                "'distres cluster certs DIR' makes all of them"
            )
        if not Path(file).expanduser().is_file():
            raise UsageError(
                f"the cluster profile's {name} = '{file}' does not exist; 'distres cluster certs "
                "DIR' makes such files"
            )
    ca, cert, key = (str(Path(file).expanduser()) for file in files.values() if file)
    return _security(ca, cert, key)


def _security(ca: str, cert: str, key: str) -> Any:  # noqa: ANN401
    from distributed.security import Security

    pairs = {
        f"tls_{role}_{part}": file
        for role in ROLES
        for part, file in (("cert", cert), ("key", key))
    }
    return Security(require_encryption=True, tls_ca_file=ca, **pairs)


def temporary_security(directory: Path) -> Any:  # noqa: ANN401
    """Make keys for one cluster in `directory`, which all its machines must see."""
    write_certificates(directory, days=30)
    return _security(
        *(str(directory / name) for name in ("ca.pem", "worker.pem", "worker-key.pem"))
    )


def write_certificates(
    directory: Path, *, hosts: tuple[str, ...] = (), days: int = 365
) -> list[Path]:
    """Make an authority and, signed by it, a key and certificate for each role.

    Parameters
    ----------
    directory
        Made if need be, readable by its owner only.
    hosts
        Names or addresses written into the certificates. Dask does not look at them: whoever has
        a key that the authority signed belongs to the cluster.
    days
        How long they are valid.

    Returns
    -------
    list of Path
        ``ca.pem``, ``ca-key.pem``, and ``ROLE.pem``, ``ROLE-key.pem`` of scheduler, worker, client.

    Raises
    ------
    ClusterError
        The package `cryptography` is not installed.
    OutputExistsError
        The directory already holds certificates.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ClusterError(
            "making TLS keys needs the package 'cryptography'; install it with "
            "pip install 'distres[tls]'"
        ) from error
    files = [directory / name for name in _names()]
    if any(file.exists() for file in files):
        raise OutputExistsError(f"{directory} holds certificates already; name another directory")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for file, content in zip(files, _sign_all(hosts, days), strict=True):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    return files


def _names() -> list[str]:
    return [f"{name}{part}.pem" for name in ("ca", *ROLES) for part in ("", "-key")]


def _sign_all(hosts: tuple[str, ...], days: int) -> list[bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def texts(certificate: "Certificate", key: "EllipticCurvePrivateKey") -> list[bytes]:
        return [
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        ]

    authority = ec.generate_private_key(ec.SECP256R1())
    root = _sign("distres authority", authority, None, authority, hosts=(), days=days)
    found = texts(root, authority)
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _sign(f"distres {role}", key, root.subject, authority, hosts=hosts, days=days)
        found += texts(signed, key)
    return found


def _sign(
    name: str,
    key: "EllipticCurvePrivateKey",
    issuer: "Name | None",
    authority: "EllipticCurvePrivateKey",
    *,
    hosts: tuple[str, ...],
    days: int,
) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of a cluster differ.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )
    if issuer is None:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if hosts:
        alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(authority, hashes.SHA256())


def _general_name(host: str) -> Any:  # noqa: ANN401
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
