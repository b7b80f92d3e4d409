/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Gets a device its AWS IoT certificate from a cvm-gateway: own P-256 key, CSR, request, reply in parts, acknowledgement. No packet to the
 * device has more than MAX_PACKET bytes.
 *
 *   provision HOST PORT psk SERIAL FOLDER < TOKEN_FILE
 *   provision HOST PORT SITE_CA SERIAL FOLDER [TIME_KEY] < TOKEN_FILE
 *
 * psk: the token as TLS pre-shared key, no certificate of the gateway. SITE_CA: the file that `cvm tls ca` prints. TIME_KEY: the line that
 * `cvm tls time-key --hex` prints, for a device without a clock. The token comes by stdin, since others can read a command line.
 * FOLDER gets device.key, device.crt (both DER) and endpoint. Run it again after a failure: it keeps its key, and what has come of the reply.
 * Ends with 0 when all is stored and acknowledged, with 1 when the gateway refuses for good, with 2 on wrong use.
 */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <mbedtls/error.h>

#include "cvm_client.h"
#include "cvm_mbedtls.h"
#include "cvm_mqtt.h"
#include "file_store.h"
#include "tls_link.h"

#ifndef MAX_PACKET
#define MAX_PACKET 256U
#endif
/* Epoch seconds of the build: no earlier time is taken. */
#ifndef BUILD_TIME
#define BUILD_TIME 1790000000U
#endif
/* The device can stay awake for so long; with a longer wait ahead it leaves and comes back. */
#define AWAKE_SECONDS 600U
/* Without any word of the gateway for so long, it asks again. */
#define SILENCE_SECONDS 10U
#define LONGEST_PAUSE 600U
#define KEEP_ALIVE 300U

/* What a step of the cycle comes to: done, or the seconds after which to connect again. */
#define DONE 0
#define REFUSED (-1)

/* All memory of the program: no heap, and little on the stack. mbedTLS has a heap of its own. */
static struct {
  tls_settings_t settings;
  tls_link_t link;
  mbedtls_pk_context key;
  cvm_client_t client;
  cvm_request_t request;
  cvm_mqtt_input_t input;
  uint8_t packet_in[MAX_PACKET];
  uint8_t packet_out[MAX_PACKET];
  uint8_t csr[CVM_CSR_BYTES];
  uint8_t key_bytes[CVM_KEY_BYTES];
  uint8_t time_key[CVM_POINT_BYTES];
  char token[513];
  char topic[CVM_TOPIC_BYTES];
  uint8_t certificate_id[CVM_CERTIFICATE_ID_BYTES];
  bool is_psk;
  bool has_time_key;
  bool is_stored;
  bool is_connected;
  uint16_t packet_id;
} device;

static void say(const char *what, const char *why)
{
  (void)fprintf(stderr, "%s: %s\n", what, why);
}

static bool is_tls_well(const char *what, int failed)
{
  char why[100];
  if (failed != 0) {
    mbedtls_strerror(failed, why, sizeof why);
    say(what, why);
  }
  return failed == 0;
}

static bool is_well(const char *what, cvm_fault_t fault)
{
  if (fault != CVM_OK) {
    say(what, cvm_fault_text(fault));
  }
  return fault == CVM_OK;
}

/* ---- MQTT ---- */

static bool send_bytes(const uint8_t *bytes, size_t length)
{
  return (length > 0U) && is_tls_well("sending", tls_write(&device.link, bytes, length));
}

/* Waits for a packet, about a second. Returns false when the connection is over; a type of 0: none came. */
static bool next_packet(cvm_mqtt_packet_t *packet)
{
  packet->type = 0U;
  for (;;) {
    uint8_t *at = NULL;
    const size_t wanted = cvm_mqtt_wanted(&device.input, &at);
    const int got = tls_read(&device.link, at, wanted);
    if (got <= 0) {
      return is_tls_well("the connection is over", got);
    }
    switch (cvm_mqtt_read(&device.input, (size_t)got, packet)) {
      case CVM_MQTT_PACKET:
        return true;
      case CVM_MQTT_TOO_LONG:
        say("passed over a packet", "it is longer than the buffer");
        break;
      case CVM_MQTT_MALFORMED:
        say("closing the connection", "a packet is malformed");
        return false;
      default:
        break;
    }
  }
}

/* Waits for a packet of this type for ten seconds, and passes over others. */
static bool await(uint8_t type, cvm_mqtt_packet_t *packet)
{
  for (uint32_t seconds = 0U; seconds < SILENCE_SECONDS;) {
    if (!next_packet(packet)) {
      return false;
    }
    if (packet->type == type) {
      return true;
    }
    seconds += (packet->type == 0U) ? 1U : 0U;
  }
  say("no answer", (type == (uint8_t)CVM_MQTT_CONNACK) ? "to CONNECT" : "to PUBLISH");
  return false;
}

/* Publishes a payload of two pieces with QoS 1. */
static bool publish(const char *topic, const uint8_t *payload, size_t length, const uint8_t *rest, size_t rest_length)
{
  uint8_t head[CVM_TOPIC_BYTES + 9U];
  device.packet_id = (device.packet_id == UINT16_MAX) ? 1U : (uint16_t)(device.packet_id + 1U);
  const size_t head_length = cvm_mqtt_publish(head, sizeof head, topic, device.packet_id, length + rest_length);
  return send_bytes(head, head_length) && send_bytes(payload, length) && ((rest_length == 0U) || send_bytes(rest, rest_length));
}

/* Connects; by certificate, the token is the password unless `is_nameless`. */
static bool connect_to_gateway(bool is_nameless)
{
  cvm_mqtt_packet_t packet;
  const bool has_password = !device.is_psk && !is_nameless;
  cvm_mqtt_start(&device.input, device.packet_in, sizeof device.packet_in);
  const int failed = tls_open(&device.link, &device.settings);
  device.is_connected = is_tls_well("connecting by TLS", failed);
  if (!device.is_connected) {
    if (device.is_psk && (failed == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)) {
      say("this may be", "the gateway does not know this serial with this token (it knows a new one some seconds after it was enrolled)");
    }
    return false;
  }
  const size_t length = cvm_mqtt_connect(device.packet_out, sizeof device.packet_out, is_nameless ? "" : device.request.serial,
                                         has_password ? device.request.serial : NULL, has_password ? device.token : NULL, KEEP_ALIVE);
  if (!send_bytes(device.packet_out, length) || !await((uint8_t)CVM_MQTT_CONNACK, &packet)) {
    return false;
  }
  if (packet.code != 0U) {
    say("CONNECT was refused", (packet.code == 4U) ? "user name or password" : "see \"What closes a connection\" in docs/protocol.md");
  }
  return packet.code == 0U;
}

/* ---- the cycle ---- */

/* Publishes the request, for the reply from this part on. */
static bool ask(uint16_t part)
{
  size_t length = 0U;
  const cvm_request_t *const request = &device.request;
  return is_well("the request", cvm_write_topic(CVM_TOPIC_REQUEST, request->serial, device.topic, sizeof device.topic)) &&
         is_well("the request", cvm_write_request(request, part, device.packet_out, sizeof device.packet_out, &length)) &&
         publish(device.topic, device.packet_out, length, request->csr, request->csr_length);
}

/* Takes a reply. Returns what the device does; CVM_NOTHING for a packet that is none. */
static cvm_event_t take_reply(const cvm_mqtt_packet_t *packet, cvm_reply_t *reply)
{
  uint8_t puback[CVM_MQTT_PUBACK_BYTES];
  if (packet->type != (uint8_t)CVM_MQTT_PUBLISH) {
    return CVM_NOTHING;
  }
  const cvm_event_t event = cvm_on_reply(&device.client, packet->payload, packet->payload_length, reply);
  (void)is_well((event == CVM_FAILED) ? "the reply" : "passed over a message", reply->fault);
  cvm_mqtt_puback(puback, packet->id);
  /* the part is stored: the next one may come */
  if ((packet->qos == 1U) && !send_bytes(puback, sizeof puback)) {
    return CVM_FAILED;
  }
  return event;
}

static int after_rejection(const cvm_reply_t *reply)
{
  (void)fprintf(stderr, "%.*s: %.*s\n", (int)reply->error_code_length, reply->error_code, (int)reply->error_message_length,
                reply->error_message);
  return (reply->retry_after == 0U) ? REFUSED : (int)reply->retry_after;
}

/* Stores what a device uses later. The certificate comes last: where it is, all is. */
static bool keep(const cvm_reply_t *reply)
{
  device.is_stored = is_well("the reply", cvm_read_certificate_id(&file_store, reply, device.certificate_id)) &&
                     export_slice("endpoint", &reply->endpoint) &&
                     write_file("certificate-id", device.certificate_id, sizeof device.certificate_id) &&
                     export_slice("device.crt", &reply->certificate);
  return device.is_stored;
}

/* Asks, and waits until there is a reply. */
static int provision(int pause)
{
  cvm_mqtt_packet_t packet;
  cvm_reply_t reply;
  uint32_t patience = SILENCE_SECONDS;
  uint32_t quiet = 0U;
  bool is_connected = ask(cvm_ask_again(&device.client));
  while (is_connected && next_packet(&packet)) {
    quiet = (packet.type == 0U) ? (quiet + 1U) : 0U;
    if ((quiet % 60U) == 59U) {
      is_connected = send_bytes((const uint8_t *)CVM_MQTT_PINGREQ, 2U);
    }
    if (quiet >= patience) {
      is_connected = ask(cvm_ask_again(&device.client));
      patience = (patience < LONGEST_PAUSE) ? (2U * patience) : patience;
      quiet = 0U;
    }
    switch (take_reply(&packet, &reply)) {
      case CVM_STORED:
        patience = SILENCE_SECONDS;
        break;
      case CVM_ASK:
        is_connected = ask(reply.part);
        break;
      case CVM_PENDING:
        (void)fprintf(stderr, "position %lu in the line, %lu s\n", (unsigned long)reply.position, (unsigned long)reply.eta_seconds);
        if ((reply.eta_seconds == 0U) || (reply.eta_seconds > AWAKE_SECONDS)) {
          return (int)reply.retry_after;
        }
        patience = (2U * reply.eta_seconds) + SILENCE_SECONDS;
        break;
      case CVM_REJECTED:
        return after_rejection(&reply);
      case CVM_ACCEPTED:
        return keep(&reply) ? DONE : pause;
      case CVM_FAILED:
        return pause;
      default:
        break;
    }
  }
  return pause;
}

/* The certificate is safe in flash: the token is spent from now on. Once more after a restart does no harm. */
static bool acknowledge(void)
{
  cvm_mqtt_packet_t packet;
  size_t length = 0U;
  return is_well("the acknowledgement", cvm_write_topic(CVM_TOPIC_ACK, device.request.serial, device.topic, sizeof device.topic)) &&
         is_well("the acknowledgement", cvm_write_ack(device.certificate_id, device.packet_out, sizeof device.packet_out, &length)) &&
         publish(device.topic, device.packet_out, length, NULL, 0U) && await((uint8_t)CVM_MQTT_PUBACK, &packet);
}

/* One question for the time, on a connection that names nobody. */
static bool ask_time(void)
{
  static const char hex[] = "0123456789abcdef";
  const uint8_t question = CVM_TIME_QUESTION;
  uint8_t random[16];
  char nonce[2U * sizeof random + 1U] = "";
  cvm_mqtt_packet_t packet;
  cvm_reply_t reply = { 0 };
  cvm_event_t event = CVM_NOTHING;
  if (!is_tls_well("the nonce", tls_random(NULL, random, sizeof random))) {
    return false;
  }
  for (size_t at = 0U; at < sizeof random; at++) {
    nonce[2U * at] = hex[random[at] >> 4U];
    nonce[(2U * at) + 1U] = hex[random[at] & 15U];
  }
  bool is_asked = is_well("the time", cvm_write_topic(CVM_TOPIC_TIME, nonce, device.topic, sizeof device.topic)) &&
                  publish(device.topic, &question, sizeof question, NULL, 0U);
  while (is_asked && (event == CVM_NOTHING)) {
    is_asked = await((uint8_t)CVM_MQTT_PUBLISH, &packet);
    if (is_asked) {
      event = cvm_on_time(nonce, packet.payload, packet.payload_length, cvm_verify_time, device.time_key, &reply);
      (void)is_well("the time", reply.fault);
    }
  }
  if ((event == CVM_ACCEPTED) && (reply.time >= BUILD_TIME)) {
    device.settings.now = reply.time;
  }
  return device.settings.now != 0U;
}

static void leave(void)
{
  /* a handshake that has failed must not be touched again */
  if (device.is_connected) {
    (void)tls_write(&device.link, (const uint8_t *)CVM_MQTT_DISCONNECT, 2U);
  }
  device.is_connected = false;
  tls_close(&device.link);
}

/* One connection: DONE, REFUSED, or the seconds after which to connect again. */
static int attempt(int pause)
{
  int outcome = pause;
  if (!device.is_psk && device.has_time_key && (device.settings.now == 0U)) {
    const bool has_time = connect_to_gateway(true) && ask_time();
    leave();
    if (!has_time) {
      return pause;
    }
  }
  if (connect_to_gateway(false)) {
    outcome = device.is_stored ? DONE : provision(pause);
    if ((outcome == DONE) && !acknowledge()) {
      outcome = pause;
    }
  }
  leave();
  return outcome;
}

/* ---- start ---- */

/* The key of this device, made before its first request: all further ones must come with the same. */
static bool load_key(void)
{
  const cvm_random_t random = { tls_random, NULL };
  size_t length = read_file("device.key", device.key_bytes, sizeof device.key_bytes);
  mbedtls_pk_init(&device.key);
  if (length > 0U) {
    return is_tls_well("device.key", cvm_read_key(&device.key, device.key_bytes, length, &random));
  }
  return is_tls_well("making a key", cvm_make_key(&device.key, &random)) &&
         is_tls_well("making a key", cvm_write_key(&device.key, device.key_bytes, &length)) &&
         write_file("device.key", device.key_bytes, length);
}

static bool write_request(const char *serial)
{
  const cvm_random_t random = { tls_random, NULL };
  cvm_request_t *const request = &device.request;
  request->serial = serial;
  request->csr = device.csr;
  request->format = CVM_FORMAT_COMPACT;
  /* such firmware has the CA of its cloud already */
  request->root_ca = false;
  request->pending = true;
  request->max_packet = MAX_PACKET;
  return is_tls_well("the CSR", cvm_write_csr(&device.key, serial, &random, device.csr, &request->csr_length));
}

/* What is stored of a reply, from before a restart. */
static bool resume(void)
{
  uint8_t head[CVM_HEAD_BYTES];
  cvm_reply_t reply;
  cvm_start(&device.client, &file_store, NULL);
  device.is_stored = read_file("certificate-id", device.certificate_id, sizeof device.certificate_id) == sizeof device.certificate_id &&
                     (access("device.crt", R_OK) == 0);
  if (device.is_stored || (read_file("reply.head", head, sizeof head) != sizeof head)) {
    return true;
  }
  if (cvm_resume(&device.client, head, stored_bytes(), &reply) == CVM_ACCEPTED) {
    return keep(&reply);
  }
  (void)fprintf(stderr, "going on with part %u\n", (unsigned int)reply.part);
  return true;
}

static bool read_hex(const char *hex, uint8_t *bytes, size_t length)
{
  for (size_t at = 0U; at < length; at++) {
    unsigned int byte = 0U;
    if (sscanf(&hex[2U * at], "%2x", &byte) != 1) {
      return false;
    }
    bytes[at] = (uint8_t)byte;
  }
  return true;
}

static bool read_token(void)
{
  const size_t length = fread(device.token, 1U, sizeof device.token - 1U, stdin);
  device.token[length] = '\0';
  device.token[strcspn(device.token, "\r\n")] = '\0';
  return device.token[0] != '\0';
}

/* How the gateway is authenticated. */
static bool prepare(int argc, char **argv)
{
  tls_settings_t *const settings = &device.settings;
  settings->host = argv[1];
  settings->port = argv[2];
  mbedtls_x509_crt_init(&settings->ca);
  device.is_psk = (strcmp(argv[3], "psk") == 0);
  device.has_time_key = (argc == 7);
  if (device.is_psk) {
    settings->serial = argv[4];
    return is_tls_well("the key", cvm_derive_psk(argv[4], device.token, settings->psk));
  }
  if (device.has_time_key && ((strlen(argv[6]) != (2U * CVM_POINT_BYTES)) || !read_hex(argv[6], device.time_key, CVM_POINT_BYTES))) {
    say("TIME_KEY", "it has 130 hex digits");
    return false;
  }
  settings->now = device.has_time_key ? 0U : (uint32_t)time(NULL);
  return is_tls_well("the site CA", mbedtls_x509_crt_parse_file(&settings->ca, argv[3]));
}

int main(int argc, char **argv)
{
  if ((argc < 6) || (argc > 7) || !read_token()) {
    say("usage", "provision HOST PORT psk|SITE_CA SERIAL FOLDER [TIME_KEY] < TOKEN_FILE");
    return 2;
  }
  (void)umask(077);
  if (!prepare(argc, argv)) {
    return 2;
  }
  if (((mkdir(argv[5], 0700) != 0) && (access(argv[5], W_OK) != 0)) || (chdir(argv[5]) != 0)) {
    say("cannot begin", argv[5]);
    return 2;
  }
  if (!load_key() || !write_request(argv[4]) || !resume()) {
    return 1;
  }
  int pause = 5;
  int outcome = attempt(pause);
  while (outcome > DONE) {
    (void)fprintf(stderr, "asking again in %d s\n", outcome);
    (void)sleep((unsigned int)outcome);
    pause = (pause < (int)LONGEST_PAUSE) ? (2 * pause) : pause;
    outcome = attempt(pause);
  }
  return (outcome == DONE) ? 0 : 1;
}
