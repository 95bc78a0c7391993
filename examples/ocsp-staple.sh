#!/bin/sh
# Fetches the OCSP answer about the certificate of a file target, checks it, and hands it to the
# server. Run it every hour by a timer or cron, and after each new certificate by `staple` of the
# target's driver.
#
#   ocsp-staple.sh DIRECTORY ROOTS ANSWER [SOCKET]
#
# DIRECTORY  the directory of the target, such as /etc/meshca/web
# ROOTS      the roots of names in PEM, from /names/roots.pem of the CA
# ANSWER     the file for the answer, which nginx reads with ssl_stapling_file
# SOCKET     the socket of HAProxy with level admin, which gets the answer too
set -eu
current=$1/current
roots=$2
answer=$3
socket=${4-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat "$roots" "$current/fullchain.pem" >"$work/authorities.pem"
awk '/BEGIN CERTIFICATE/ { n++ } n == 2' "$current/fullchain.pem" >"$work/issuer.pem"
# the answer about a certificate is there within seconds of its issuance
tries=4
while
  openssl ocsp -no_nonce -issuer "$work/issuer.pem" -cert "$current/fullchain.pem" \
    -url "$(openssl x509 -in "$current/fullchain.pem" -noout -ocsp_uri)" \
    -CAfile "$work/authorities.pem" -respout "$work/answer.der" >"$work/log" 2>&1 || true
  # an answer that does not verify must not take the place of a good one
  ! grep -q '^Response verify OK' "$work/log"
do
  tries=$((tries - 1))
  if [ "$tries" -eq 0 ]; then
    cat "$work/log" >&2
    exit 1
  fi
  sleep 1
done
cp "$work/answer.der" "$answer.new"
mv "$answer.new" "$answer"
[ -n "$socket" ] || exit 0

base64 -w0 "$answer" >"$work/answer.b64"
say() { printf '%s\n' "$1" | socat -t5 "UNIX-CONNECT:$socket" -; }
said=$(say "set ssl ocsp-response $(cat "$work/answer.b64")")
case $said in
  *'OCSP Response updated'*) ;;
  *) # the first one of this certificate
    said=$(say "set ssl cert $current/combined.pem.ocsp <<
$(cat "$work/answer.b64")
")
    said="$said $(say "commit ssl cert $current/combined.pem")"
    case $said in
      *Success*) ;;
      *) echo "HAProxy refused the answer: $said" >&2; exit 1 ;;
    esac ;;
esac
