#!/usr/bin/env python3
"""Gets a device its AWS IoT certificate from a cvm-gateway: own P-256 key, CSR, request, reply, acknowledgement.

    provision.py HOST PORT SITE_CA SERIAL FOLDER < TOKEN_FILE

SITE_CA: what `cvm tls ca` prints. The token comes by stdin, since others can read a command line. FOLDER gets device.key, device.crt,
root-ca.pem and endpoint. Run it again after a failure: it keeps its key. Ends with 0 when all is stored and acknowledged, with 1 when the
gateway refuses for good, with 2 on wrong use.

Needs paho-mqtt (1.6 or 2) and cryptography.
"""
import json
import os
import queue
import random
import sys
import time

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Seconds that this device can stay awake for its answer; with a longer wait ahead it leaves and comes back.
AWAKE_SECONDS = 600
# Seconds without any word from the gateway after which it asks again.
SILENCE_SECONDS = 30
PUBACK_SECONDS = 10


def store(folder, name, content):
    """Writes a file: after a power cut it has its whole content, or is not there."""
    path = os.path.join(folder, name)
    with open(path + ".new", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def own_key(folder):
    """The key of this device, made before its first request: all further ones must come with the same."""
    path = os.path.join(folder, "device.key")
    if not os.path.exists(path):
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store(folder, "device.key", pem)
    with open(path, "rb") as file:
        return serialization.load_pem_private_key(file.read(), password=None)


def csr_for(key, serial):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def stored_certificate_id(folder):
    """AWS names a certificate by the SHA-256 of its DER. None before there is one."""
    try:
        with open(os.path.join(folder, "device.crt"), "rb") as file:
            return x509.load_pem_x509_certificate(file.read()).fingerprint(hashes.SHA256()).hex()
    except FileNotFoundError:
        return None


def new_client():
    if hasattr(mqtt, "CallbackAPIVersion"):  # paho 2
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    return mqtt.Client(protocol=mqtt.MQTTv311)


class Gateway:
    """One connection. The reply comes to it without a subscription."""

    def __init__(self, host, port, ca, serial, token):
        self.serial = serial
        self.replies = queue.Queue()
        self.client = new_client()
        self.client.username_pw_set(serial, token)
        self.client.tls_set(ca_certs=ca)
        self.client.on_message = lambda _client, _userdata, message: self.replies.put(json.loads(message.payload))
        # paho connects again by itself, and the answer to what was asked before does not come to that connection
        self.client.on_disconnect = lambda *_: self.replies.put(None)
        self.client.connect(host, port, keepalive=60)
        self.client.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, kind, message):
        """@returns whether the gateway has it: after a PUBACK it is stored, and a request will be answered"""
        sent = self.client.publish("cvm/%s/%s" % (kind, self.serial), json.dumps(message), qos=1)
        sent.wait_for_publish(PUBACK_SECONDS)
        return sent.is_published()

    def ask(self, csr):
        """@returns the last word of the gateway: accepted, rejected, or pending for longer than we stay; None without any, or after a cut"""
        if not self.publish("request", {"csr": csr}):
            return None
        patience = SILENCE_SECONDS
        while True:
            try:
                reply = self.replies.get(timeout=patience)
            except queue.Empty:
                return None
            if reply is None or reply["status"] in ("accepted", "rejected"):
                return reply
            if reply["status"] != "pending":
                continue  # of a newer gateway
            eta = reply.get("etaSeconds")
            print("position %s in the line, %s" % (reply["position"], "unknown" if eta is None else "%s s" % eta), file=sys.stderr)
            if eta is None or eta > AWAKE_SECONDS:
                return reply
            patience = 2 * eta + 10


def provision(host, port, ca, serial, folder, token):
    """@returns the exit status"""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    csr = csr_for(own_key(folder), serial)
    pause = 5
    while True:
        reply = None
        try:
            with Gateway(host, port, ca, serial, token) as gateway:
                if stored_certificate_id(folder) is None:
                    reply = gateway.ask(csr)
                    if reply is not None and reply["status"] == "accepted":
                        for name, field in (("root-ca.pem", "rootCa"), ("endpoint", "endpoint"), ("device.crt", "certificatePem")):
                            store(folder, name, reply[field].encode())
                        reply = None
                held = stored_certificate_id(folder)
                # stored in flash: the token is spent from now on. Once more after a restart does no harm
                if held is not None and gateway.publish("ack", {"certificateId": held}):
                    return 0
        except (OSError, RuntimeError, ValueError) as error:
            print("the gateway cannot be reached: %s" % error, file=sys.stderr)
        if reply is None:
            wait, pause = pause * random.uniform(1, 1.5), min(2 * pause, 600)
        elif "retryAfter" in reply:
            wait = reply["retryAfter"]
        else:
            print("%(errorCode)s: %(errorMessage)s" % reply, file=sys.stderr)
            return 1
        print("asking again in %d s" % wait, file=sys.stderr)
        time.sleep(wait)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    os.umask(0o077)
    _, to_host, to_port, site_ca, own_serial, to_folder = sys.argv
    sys.exit(provision(to_host, int(to_port), site_ca, own_serial, to_folder, sys.stdin.read().strip()))
