/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A stub for Zephyr: its MQTT library carries the packets over its TLS sockets. What a product adds is marked TODO: where its key, its serial and
 * its token come from, and a store in flash (mind the write alignment of the part: a file system takes any length).
 */
#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/mqtt.h>
#include <zephyr/net/socket.h>
#include <zephyr/net/tls_credentials.h>
#include <zephyr/random/random.h>

#include <mbedtls/md.h>

#include "cvm_client.h"
#include "cvm_mbedtls.h"

LOG_MODULE_REGISTER(cvm);

#define MAX_PACKET 256U
#define SILENCE_SECONDS 10U
#define SEC_TAG 1

static const char serial[] = "SN-1"; /* TODO */
static const char token[] = "…";     /* TODO */

static struct mqtt_client mqtt;
static uint8_t rx[MAX_PACKET];
static uint8_t tx[MAX_PACKET];
static uint8_t message[MAX_PACKET];
static mbedtls_pk_context key;
static cvm_client_t client;
static cvm_request_t request;
static uint8_t csr[CVM_CSR_BYTES];
static uint8_t payload[CVM_REQUEST_BYTES + CVM_CSR_BYTES];
static uint16_t packet_id;
static uint32_t patience = SILENCE_SECONDS;
static bool is_over;

/* ---- the store: TODO in flash, so that a restart costs no part ---- */

static uint8_t kept[2048];

static bool store_begin(void *context, const uint8_t *head, uint32_t length)
{
  (void)context;
  (void)head;
  return length <= sizeof kept;
}

static bool store_write(void *context, uint32_t offset, const uint8_t *data, size_t length)
{
  (void)context;
  (void)memcpy(&kept[offset], data, length);
  return true;
}

static bool store_read(void *context, uint32_t offset, uint8_t *data, size_t length)
{
  (void)context;
  (void)memcpy(data, &kept[offset], length);
  return true;
}

static bool store_sha256(void *context, uint32_t length, uint8_t digest[32])
{
  (void)context;
  return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), kept, length, digest) == 0;
}

static const cvm_store_t store = { NULL, store_begin, store_write, store_read, store_sha256 };

/* ---- the cycle ---- */

static void publish(cvm_topic_t topic, uint8_t *bytes, size_t length)
{
  static char name[CVM_TOPIC_BYTES];
  if (cvm_write_topic(topic, serial, name, sizeof name) != CVM_OK) {
    return;
  }
  packet_id = (packet_id == UINT16_MAX) ? 1U : (uint16_t)(packet_id + 1U);
  const struct mqtt_publish_param param = {
    .message.topic = { .topic = { .utf8 = (uint8_t *)name, .size = strlen(name) }, .qos = MQTT_QOS_1_AT_LEAST_ONCE },
    .message.payload = { .data = bytes, .len = length },
    .message_id = packet_id,
  };
  (void)mqtt_publish(&mqtt, &param);
}

static void ask(uint16_t part)
{
  size_t length = 0U;
  const cvm_fault_t fault = cvm_write_request(&request, part, payload, CVM_REQUEST_BYTES, &length);
  if (fault != CVM_OK) {
    LOG_ERR("%s", cvm_fault_text(fault));
    return;
  }
  (void)memcpy(&payload[length], csr, request.csr_length);
  publish(CVM_TOPIC_REQUEST, payload, length + request.csr_length);
}

static void acknowledge(const cvm_reply_t *reply)
{
  uint8_t id[CVM_CERTIFICATE_ID_BYTES];
  uint8_t ack[CVM_ACK_BYTES];
  size_t length = 0U;
  if ((cvm_read_certificate_id(&store, reply, id) == CVM_OK) && (cvm_write_ack(id, ack, sizeof ack, &length) == CVM_OK)) {
    publish(CVM_TOPIC_ACK, ack, length);
    is_over = true;
  }
}

static void on_reply(const uint8_t *bytes, size_t length)
{
  cvm_reply_t reply;
  const cvm_event_t event = cvm_on_reply(&client, bytes, length, &reply);
  patience = SILENCE_SECONDS;
  if (reply.fault != CVM_OK) {
    LOG_WRN("%s", cvm_fault_text(reply.fault));
  }
  switch (event) {
    case CVM_ASK:
      ask(reply.part);
      break;
    case CVM_PENDING: /* TODO: a device that must sleep leaves here for retry_after */
      patience = (reply.eta_seconds != 0U) ? ((2U * reply.eta_seconds) + 10U) : reply.retry_after;
      break;
    case CVM_REJECTED:
      LOG_ERR("%.*s: %.*s", (int)reply.error_code_length, reply.error_code, (int)reply.error_message_length, reply.error_message);
      is_over = (reply.retry_after == 0U);
      patience = reply.retry_after;
      break;
    case CVM_ACCEPTED:
      acknowledge(&reply);
      break;
    default:
      break;
  }
}

static void on_event(struct mqtt_client *const from, const struct mqtt_evt *event)
{
  if ((event->type == MQTT_EVT_CONNACK) && (event->result == 0)) {
    ask(cvm_ask_again(&client));
  } else if (event->type == MQTT_EVT_PUBLISH) {
    const struct mqtt_publish_param *const published = &event->param.publish;
    const struct mqtt_puback_param puback = { .message_id = published->message_id };
    const size_t length = published->message.payload.len;
    if ((length <= sizeof message) && (mqtt_readall_publish_payload(from, message, length) == 0)) {
      on_reply(message, length);
      (void)mqtt_publish_qos1_ack(from, &puback);
    }
  } else {
    /* nothing to do */
  }
}

static int random_bytes(void *context, unsigned char *bytes, size_t length)
{
  (void)context;
  return sys_csrand_get(bytes, length);
}

static bool prepare(void)
{
  static const cvm_random_t random = { random_bytes, NULL };
  static uint8_t psk[CVM_PSK_BYTES];
  mbedtls_pk_init(&key);
  /* TODO: keep the key over a restart: cvm_write_key() and cvm_read_key(). All requests must come with the same */
  if ((cvm_make_key(&key, &random) != 0) || (cvm_write_csr(&key, serial, &random, csr, &request.csr_length) != 0) ||
      (cvm_derive_psk(serial, token, psk) != 0)) {
    return false;
  }
  request.serial = serial;
  request.csr = csr;
  request.format = CVM_FORMAT_COMPACT;
  request.pending = true;
  request.max_packet = MAX_PACKET;
  cvm_start(&client, &store, NULL);
  return (tls_credential_add(SEC_TAG, TLS_CREDENTIAL_PSK, psk, sizeof psk) == 0) &&
         (tls_credential_add(SEC_TAG, TLS_CREDENTIAL_PSK_ID, serial, strlen(serial)) == 0);
}

static int connect_to_gateway(void)
{
  static struct sockaddr_in gateway = { .sin_family = AF_INET };
  static const sec_tag_t tags[] = { SEC_TAG };
  gateway.sin_port = htons(8883);
  (void)zsock_inet_pton(AF_INET, "192.0.2.1", &gateway.sin_addr); /* TODO */
  mqtt_client_init(&mqtt);
  mqtt.broker = &gateway;
  mqtt.evt_cb = on_event;
  mqtt.client_id = (struct mqtt_utf8){ .utf8 = (uint8_t *)serial, .size = strlen(serial) };
  mqtt.protocol_version = MQTT_VERSION_3_1_1;
  mqtt.rx_buf = rx;
  mqtt.rx_buf_size = sizeof rx;
  mqtt.tx_buf = tx;
  mqtt.tx_buf_size = sizeof tx;
  mqtt.transport.type = MQTT_TRANSPORT_SECURE;
  mqtt.transport.tls.config.peer_verify = TLS_PEER_VERIFY_REQUIRED;
  mqtt.transport.tls.config.sec_tag_list = tags;
  mqtt.transport.tls.config.sec_tag_count = ARRAY_SIZE(tags);
  return mqtt_connect(&mqtt);
}

int main(void)
{
  if (!prepare()) {
    return 1;
  }
  while (!is_over) {
    int failed = connect_to_gateway();
    uint32_t quiet = 0U;
    while ((failed == 0) && !is_over) {
      struct zsock_pollfd socket = { .fd = mqtt.transport.tls.sock, .events = ZSOCK_POLLIN };
      const int ready = zsock_poll(&socket, 1, 1000);
      quiet = (ready > 0) ? 0U : (quiet + 1U);
      failed = (ready > 0) ? mqtt_input(&mqtt) : 0;
      (void)mqtt_live(&mqtt);
      if (quiet >= patience) {
        ask(cvm_ask_again(&client));
        quiet = 0U;
      }
    }
    if (!is_over) {
      k_sleep(K_SECONDS(5 + (sys_rand32_get() % 5U)));
    }
  }
  LOG_INF("over");
  return 0;
}
