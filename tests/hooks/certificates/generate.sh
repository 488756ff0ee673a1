#!/bin/sh
# Makes the certificates of these tests again: an authority of its own and a server on 127.0.0.1, good from 2020 to 2126.
set -eu
cd "$(dirname "$0")"
here=$PWD
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
cat >config <<'END'
[ca]
default_ca = authority
[authority]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
END
: >index
request() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$2.key" -out "$2.csr"
}
sign() {
    openssl ca -config config -batch -notext -startdate 20200101000000Z -enddate 21260101000000Z -keyfile authority.key "$@"
}
request "test authority" authority
sign -selfsign -extensions root -in authority.csr -out authority.pem
request "test backend" backend
sign -cert authority.pem -extensions server -in backend.csr -out backend.pem
cp authority.pem backend.pem backend.key "$here"
