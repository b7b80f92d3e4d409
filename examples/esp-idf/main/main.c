/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A stub for ESP-IDF: esp-mqtt carries the packets, a partition of flash keeps the reply. What a product adds is marked TODO: the network, and
 * where its key, its serial and its token come from.
 */
#include <string.h>

#include "cvm_client.h"
#include "cvm_mbedtls.h"
#include "esp_log.h"
#include "esp_partition.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "esp_tls.h"
#include "mbedtls/md.h"
#include "mqtt_client.h"

#define SECTOR 4096U
/* esp-mqtt gives a longer message in pieces, which this program does not put together. */
#define MAX_PACKET 1024U
#define SILENCE_US 10000000

static const char tag[] = "cvm";
static const char serial[] = "SN-1"; /* TODO */
static const char token[] = "…";     /* TODO */

static const esp_partition_t *partition;
static esp_mqtt_client_handle_t mqtt;
static esp_timer_handle_t silence;
static mbedtls_pk_context key;
static cvm_client_t client;
static cvm_request_t request;
static uint8_t csr[CVM_CSR_BYTES];
/* A request is built here, with its CSR. */
static uint8_t payload[CVM_REQUEST_BYTES + CVM_CSR_BYTES];

/* ---- flash: sector 0 has part 0, the reply begins in sector 1 ---- */

static bool store_begin(void *context, const uint8_t *head, uint32_t length)
{
  (void)context;
  if ((length > (partition->size - SECTOR)) || (esp_partition_erase_range(partition, 0U, partition->size) != ESP_OK)) {
    return false;
  }
  return (head == NULL) || (esp_partition_write(partition, 0U, head, CVM_HEAD_BYTES) == ESP_OK);
}

static bool store_write(void *context, uint32_t offset, const uint8_t *data, size_t length)
{
  (void)context;
  return esp_partition_write(partition, SECTOR + offset, data, length) == ESP_OK;
}

static bool store_read(void *context, uint32_t offset, uint8_t *data, size_t length)
{
  (void)context;
  return esp_partition_read(partition, SECTOR + offset, data, length) == ESP_OK;
}

static bool store_sha256(void *context, uint32_t length, uint8_t digest[32])
{
  uint8_t piece[64];
  mbedtls_md_context_t hash;
  mbedtls_md_init(&hash);
  bool is_well = (mbedtls_md_setup(&hash, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) == 0) && (mbedtls_md_starts(&hash) == 0);
  for (uint32_t at = 0U; is_well && (at < length); at += sizeof piece) {
    const size_t bytes = ((length - at) < sizeof piece) ? (length - at) : sizeof piece;
    is_well = store_read(context, at, piece, bytes) && (mbedtls_md_update(&hash, piece, bytes) == 0);
  }
  is_well = is_well && (mbedtls_md_finish(&hash, digest) == 0);
  mbedtls_md_free(&hash);
  return is_well;
}

static const cvm_store_t store = { NULL, store_begin, store_write, store_read, store_sha256 };

/* ---- the cycle ---- */

static void ask(uint16_t part)
{
  char topic[CVM_TOPIC_BYTES];
  size_t length = 0U;
  cvm_fault_t fault = cvm_write_topic(CVM_TOPIC_REQUEST, serial, topic, sizeof topic);
  if (fault == CVM_OK) {
    fault = cvm_write_request(&request, part, payload, CVM_REQUEST_BYTES, &length);
  }
  if (fault != CVM_OK) {
    ESP_LOGE(tag, "%s", cvm_fault_text(fault));
    return;
  }
  (void)memcpy(&payload[length], csr, request.csr_length);
  (void)esp_mqtt_client_publish(mqtt, topic, (const char *)payload, (int)(length + request.csr_length), 1, 0);
  (void)esp_timer_stop(silence);
  (void)esp_timer_start_once(silence, SILENCE_US);
}

static void on_silence(void *context)
{
  (void)context;
  ask(cvm_ask_again(&client));
}

static void acknowledge(const cvm_reply_t *reply)
{
  char topic[CVM_TOPIC_BYTES];
  uint8_t id[CVM_CERTIFICATE_ID_BYTES];
  uint8_t ack[CVM_ACK_BYTES];
  size_t length = 0U;
  if ((cvm_read_certificate_id(&store, reply, id) == CVM_OK) && (cvm_write_ack(id, ack, sizeof ack, &length) == CVM_OK) &&
      (cvm_write_topic(CVM_TOPIC_ACK, serial, topic, sizeof topic) == CVM_OK)) {
    (void)esp_mqtt_client_publish(mqtt, topic, (const char *)ack, (int)length, 1, 0);
  }
}

static void on_reply(const esp_mqtt_event_handle_t message)
{
  cvm_reply_t reply;
  const cvm_event_t event = cvm_on_reply(&client, (const uint8_t *)message->data, (size_t)message->data_len, &reply);
  if (reply.fault != CVM_OK) {
    ESP_LOGW(tag, "%s", cvm_fault_text(reply.fault));
  }
  (void)esp_timer_stop(silence);
  uint64_t patience = SILENCE_US;
  switch (event) {
    case CVM_ASK:
      ask(reply.part);
      return;
    case CVM_ACCEPTED:
      acknowledge(&reply);
      return;
    case CVM_REJECTED:
      ESP_LOGE(tag, "%.*s: %.*s", (int)reply.error_code_length, reply.error_code, (int)reply.error_message_length, reply.error_message);
      if (reply.retry_after == 0U) {
        return;
      }
      patience = (uint64_t)reply.retry_after * 1000000U;
      break;
    case CVM_PENDING: /* TODO: a device that must sleep leaves here for retry_after */
      patience = (uint64_t)((reply.eta_seconds != 0U) ? ((2U * reply.eta_seconds) + 10U) : reply.retry_after) * 1000000U;
      break;
    default:
      break;
  }
  (void)esp_timer_start_once(silence, patience);
}

static void on_mqtt(void *context, esp_event_base_t base, int32_t id, void *data)
{
  const esp_mqtt_event_handle_t event = data;
  (void)context;
  (void)base;
  if (id == MQTT_EVENT_CONNECTED) {
    ask(cvm_ask_again(&client));
  } else if ((id == MQTT_EVENT_DATA) && (event->data_len == event->total_data_len)) {
    on_reply(event);
  } else {
    /* nothing to do */
  }
}

static int random_bytes(void *context, unsigned char *bytes, size_t length)
{
  (void)context;
  esp_fill_random(bytes, length);
  return 0;
}

void app_main(void)
{
  static const cvm_random_t random = { random_bytes, NULL };
  static uint8_t psk[CVM_PSK_BYTES];
  static const psk_hint_key_t hint = { .key = psk, .key_size = sizeof psk, .hint = serial };
  const esp_mqtt_client_config_t config = {
    .broker.address = { .hostname = "gateway", .port = 8883, .transport = MQTT_TRANSPORT_OVER_SSL },
    .broker.verification.psk_hint_key = &hint,
    .credentials.client_id = serial,
    .buffer = { .size = MAX_PACKET, .out_size = MAX_PACKET },
  };
  const esp_timer_create_args_t timer = { .callback = on_silence, .name = "silence" };
  /* TODO: connect to the network */
  partition = esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "reply");
  mbedtls_pk_init(&key);
  /* TODO: keep the key over a restart: cvm_write_key() and cvm_read_key(). All requests must come with the same */
  ESP_ERROR_CHECK((partition != NULL) ? ESP_OK : ESP_ERR_NOT_FOUND);
  ESP_ERROR_CHECK(cvm_make_key(&key, &random));
  ESP_ERROR_CHECK(cvm_write_csr(&key, serial, &random, csr, &request.csr_length));
  ESP_ERROR_CHECK(cvm_derive_psk(serial, token, psk));
  request.serial = serial;
  request.csr = csr;
  request.format = CVM_FORMAT_COMPACT;
  request.pending = true;
  request.max_packet = MAX_PACKET;
  cvm_start(&client, &store, NULL);
  ESP_ERROR_CHECK(esp_timer_create(&timer, &silence));
  mqtt = esp_mqtt_client_init(&config);
  ESP_ERROR_CHECK(esp_mqtt_client_register_event(mqtt, ESP_EVENT_ANY_ID, on_mqtt, NULL));
  ESP_ERROR_CHECK(esp_mqtt_client_start(mqtt));
}
