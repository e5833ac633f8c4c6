"""Certificate authorities of the tests, and what they issue."""

from __future__ import annotations

import subprocess
from pathlib import Path

_AUTHORITIES = """
set -e
umask 077
for ca in ca other; do
  openssl req -x509 -newkey rsa:2048 -nodes -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 400
done
"""

#: Arguments: the authority, the names, and its first and last day as seconds from now.
_ISSUE = """
set -e
umask 077
name=$1 ca=$2 names=$3
[ -e $name.key ] || openssl genrsa -out $name.key 2048
openssl req -new -key $name.key -out $name.csr -subj /CN=$name
printf 'basicConstraints=CA:false\nsubjectAltName=%s\n' "$names" >$name.ext
: >index.txt
cat >ca.cnf <<END
[ca]
default_ca=d
[d]
database=index.txt
serial=serial
new_certs_dir=.
default_md=sha256
policy=p
unique_subject=no
[p]
commonName=supplied
END
openssl ca -batch -config ca.cnf -rand_serial -in $name.csr -cert $ca.pem -keyfile $ca.key \
  -out $name.tmp -notext -extfile $name.ext \
  -startdate $(date -u -d "$4 seconds" +%Y%m%d%H%M%SZ) \
  -enddate $(date -u -d "$5 seconds" +%Y%m%d%H%M%SZ)
mv $name.tmp $name.pem
"""
_DAY_S = 86400


class Authority:
    """A folder of certificates: ``ca.pem``, ``other.pem``, and what is issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["sh", "-c", _AUTHORITIES], cwd=folder, check=True, capture_output=True)
        self.issue("broker", names="DNS:broker.example,IP:127.0.0.1")

    def issue(
        self,
        name: str,
        *,
        ca: str = "ca",
        names: str = "DNS:client.example",
        first_s: int = -2 * _DAY_S,
        last_s: int = 200 * _DAY_S,
    ) -> None:
        """Make or renew a certificate under its name."""
        command = ["sh", "-c", _ISSUE, "sh", name, ca, names, str(first_s), str(last_s)]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def path(self, name: str) -> str:
        """A file of it."""
        return str(self.folder / name)
