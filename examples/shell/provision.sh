#!/bin/sh
# Gets a device its AWS IoT certificate from a cvm-gateway: own P-256 key, CSR, request, reply, acknowledgement.
#
#   provision.sh HOST PORT SITE_CA SERIAL FOLDER < TOKEN_FILE
#
# SITE_CA: what `cvm tls ca` prints. The token comes by stdin, since others can read a command line.
# FOLDER gets device.key, device.crt, root-ca.pem and endpoint. Run it again after a failure: it keeps its key.
# Ends with 0 when all is stored and acknowledged, with 1 when the gateway refuses for good, with 2 on wrong use.
set -eu
umask 077

[ $# -eq 5 ] || { echo "usage: $0 HOST PORT SITE_CA SERIAL FOLDER < TOKEN_FILE" >&2; exit 2; }
for each in openssl jq mosquitto_rr mosquitto_pub; do
  command -v "$each" > /dev/null || { echo "$each is missing: apt install openssl jq mosquitto-clients" >&2; exit 2; }
done
host=$1 port=$2 ca=$3 serial=$4 folder=$5
token=$(cat)
mkdir -p "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# The clients of mosquitto read options from a file of their name, so the token is on no command line.
export XDG_CONFIG_HOME="$scratch"
{
  printf '%s\n' '-V mqttv311' "-h $host" "-p $port" "--cafile $ca" '-q 1' "-u $serial" "-P $token"
} > "$scratch/mosquitto_rr"
cp "$scratch/mosquitto_rr" "$scratch/mosquitto_pub"

# Writes stdin to a file of the folder: after a power cut it has its whole content, or is not there.
store() {
  cat > "$folder/$1.new"
  sync
  mv "$folder/$1.new" "$folder/$1"
  sync
}

# Before the first request: all further ones must come with the same key.
[ -s "$folder/device.key" ] || openssl ecparam -name prime256v1 -genkey -noout | store device.key

# "pending": false, since mosquitto_rr ends at the first message. After 30 seconds without an answer the request may be lost, and mosquitto_rr does
# not tell whether its PUBACK came: the same request is sent again, and one that was stored has kept its place in the line.
ask() {
  openssl req -new -key "$folder/device.key" -subj "/CN=$serial" > "$scratch/csr"
  request=$(jq -n --rawfile csr "$scratch/csr" '{$csr, pending: false}')
  mosquitto_rr -W 30 -t "cvm/request/$serial" -e "cvm/reply/$serial" -m "$request" > "$scratch/reply"
}

field() { jq -r "$1 // empty" "$scratch/reply"; }

pause=5
until [ -s "$folder/device.crt" ]; do
  # any other status is of a newer gateway, and no answer
  if ! ask || ! jq -se '.[0].status | IN("accepted", "rejected")' "$scratch/reply" > "$scratch/answered"; then
    echo "no answer; asking again in $pause s" >&2
    sleep "$pause"
    pause=$((pause < 300 ? pause * 2 : 600))
    continue
  fi
  if [ "$(field .status)" = accepted ]; then
    field .rootCa | store root-ca.pem
    field .endpoint | store endpoint
    field .certificateId | store certificate-id
    # last: where it is, all is
    field .certificatePem | store device.crt
    break
  fi
  echo "$(field .errorCode): $(field .errorMessage)" >&2
  after=$(field .retryAfter)
  [ -n "$after" ] || exit 1
  sleep "$after"
done

# Stored in flash: the token is spent from now on. Once more after a restart does no harm.
mosquitto_pub -t "cvm/ack/$serial" -m "$(jq -nc --arg id "$(cat "$folder/certificate-id")" '{certificateId: $id}')"
