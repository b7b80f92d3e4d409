/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Gets an ESP32 its AWS IoT certificate from a cvm-gateway, with the Arduino core for ESP32 and PubSubClient as they are: its buffer of 256 bytes,
 * its PUBLISH with QoS 0, the token as TLS pre-shared key. The reply comes in parts, and each goes to flash before the next one comes.
 *
 * Copy cvm_client.[ch] and cvm_mbedtls.[ch] of examples/c beside this file, and set the six lines below.
 */
#include <LittleFS.h>
#include <PubSubClient.h>
#include <WiFi.h>
#include <WiFiClientSecure.h>
#include <esp_random.h>
#include <mbedtls/md.h>

#include "cvm_client.h"
#include "cvm_mbedtls.h"

static const char *const WIFI_NAME = "plant";
static const char *const WIFI_PASSWORD = "…";
static const char *const GATEWAY = "gateway";
static const uint16_t GATEWAY_PORT = 8883;
static const char *const SERIAL_NUMBER = "SN-1";
static const char *const TOKEN = "…";

/* What PubSubClient has unless setBufferSize() was called; a longer packet it drops without a word. */
static const uint32_t MAX_PACKET = 256;
static const uint32_t SILENCE_MS = 10000;
static const uint32_t AWAKE_SECONDS = 600;

static WiFiClientSecure tls;
static PubSubClient mqtt(tls);
static mbedtls_pk_context key;
static cvm_client_t client;
static cvm_request_t request;
static uint8_t csr[CVM_CSR_BYTES];

/* What the callback leaves for loop(): PubSubClient has one buffer for both ways, so nothing may be published in the callback. */
static bool mustAsk = true;
static uint16_t partToAsk = 0;
static bool isStored = false;
static bool isOver = false;
static cvm_reply_t accepted;
/* Nothing is sent before this time of millis(). */
static uint32_t restUntil = 0;
static uint32_t lastHeard = 0;
static uint32_t patience = SILENCE_MS;

/* ---- flash ---- */

static bool storeBegin(void *, const uint8_t *head, uint32_t length)
{
  LittleFS.remove("/reply.head");
  File data = LittleFS.open("/reply.data", "w");
  const bool isWell = data && (length <= 8192);
  data.close();
  if (!isWell || (head == NULL)) {
    return isWell;
  }
  File file = LittleFS.open("/reply.head", "w");
  const bool isWritten = file && (file.write(head, CVM_HEAD_BYTES) == CVM_HEAD_BYTES);
  file.close();
  return isWritten;
}

static bool storeWrite(void *, uint32_t offset, const uint8_t *data, size_t length)
{
  File file = LittleFS.open("/reply.data", "r+");
  const bool isWritten = file && file.seek(offset) && (file.write(data, length) == length);
  file.close();
  return isWritten;
}

static bool storeRead(void *, uint32_t offset, uint8_t *data, size_t length)
{
  File file = LittleFS.open("/reply.data", "r");
  const bool isRead = file && file.seek(offset) && (file.read(data, length) == length);
  file.close();
  return isRead;
}

static bool storeSha256(void *context, uint32_t length, uint8_t digest[32])
{
  uint8_t piece[64];
  mbedtls_md_context_t hash;
  mbedtls_md_init(&hash);
  bool isWell = (mbedtls_md_setup(&hash, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) == 0) && (mbedtls_md_starts(&hash) == 0);
  for (uint32_t at = 0; isWell && (at < length); at += sizeof piece) {
    const size_t bytes = ((length - at) < sizeof piece) ? (length - at) : sizeof piece;
    isWell = storeRead(context, at, piece, bytes) && (mbedtls_md_update(&hash, piece, bytes) == 0);
  }
  isWell = isWell && (mbedtls_md_finish(&hash, digest) == 0);
  mbedtls_md_free(&hash);
  return isWell;
}

static const cvm_store_t store = { NULL, storeBegin, storeWrite, storeRead, storeSha256 };

/* ---- key and CSR ---- */

static int randomBytes(void *, unsigned char *bytes, size_t length)
{
  esp_fill_random(bytes, length);
  return 0;
}

/* The key of this device, made before its first request: all further ones must come with the same. */
static bool loadKey()
{
  static const cvm_random_t random = { randomBytes, NULL };
  uint8_t bytes[CVM_KEY_BYTES];
  size_t length = 0;
  mbedtls_pk_init(&key);
  File file = LittleFS.open("/device.key", "r");
  if (file) {
    length = file.read(bytes, sizeof bytes);
    file.close();
    if (cvm_read_key(&key, bytes, length, &random) != 0) {
      return false;
    }
  } else {
    if ((cvm_make_key(&key, &random) != 0) || (cvm_write_key(&key, bytes, &length) != 0)) {
      return false;
    }
    file = LittleFS.open("/device.key", "w");
    const bool isWritten = file && (file.write(bytes, length) == length);
    file.close();
    if (!isWritten) {
      return false;
    }
  }
  return cvm_write_csr(&key, SERIAL_NUMBER, &random, csr, &request.csr_length) == 0;
}

/* ---- the cycle ---- */

static void onMessage(char *topic, uint8_t *payload, unsigned int length)
{
  cvm_reply_t reply;
  (void)topic;
  const cvm_event_t event = cvm_on_reply(&client, payload, length, &reply);
  lastHeard = millis();
  patience = SILENCE_MS;
  if (reply.fault != CVM_OK) {
    Serial.println(cvm_fault_text(reply.fault));
  }
  switch (event) {
    case CVM_ASK:
      mustAsk = true;
      partToAsk = reply.part;
      break;
    case CVM_PENDING:
      if ((reply.eta_seconds != 0) && (reply.eta_seconds <= AWAKE_SECONDS)) {
        patience = (2 * reply.eta_seconds + 10) * 1000;
      } else {
        restUntil = millis() + reply.retry_after * 1000;
      }
      break;
    case CVM_REJECTED:
      Serial.write(reinterpret_cast<const uint8_t *>(reply.error_code), reply.error_code_length);
      Serial.println();
      Serial.write(reinterpret_cast<const uint8_t *>(reply.error_message), reply.error_message_length);
      Serial.println();
      isOver = (reply.retry_after == 0);
      restUntil = millis() + reply.retry_after * 1000;
      break;
    case CVM_ACCEPTED:
      accepted = reply;
      isStored = true;
      break;
    case CVM_FAILED:
      restUntil = millis() + 60000;
      break;
    default:
      break;
  }
  /* PubSubClient sends PUBACK when this returns: the next part comes after it */
}

/* In pieces, so the buffer of PubSubClient need not hold it. */
static bool ask(uint16_t part)
{
  char topic[CVM_TOPIC_BYTES];
  uint8_t head[CVM_REQUEST_BYTES];
  size_t length = 0;
  const cvm_fault_t fault = cvm_write_request(&request, part, head, sizeof head, &length);
  if (fault != CVM_OK) {
    Serial.println(cvm_fault_text(fault));
    return false;
  }
  lastHeard = millis();
  return (cvm_write_topic(CVM_TOPIC_REQUEST, SERIAL_NUMBER, topic, sizeof topic) == CVM_OK) &&
         mqtt.beginPublish(topic, length + request.csr_length, false) && (mqtt.write(head, length) == length) &&
         (mqtt.write(csr, request.csr_length) == request.csr_length) && mqtt.endPublish();
}

/* With QoS 0 there is no PUBACK. Acknowledge at each start as long as the device has the reply: once more does no harm. */
static bool acknowledge()
{
  char topic[CVM_TOPIC_BYTES];
  uint8_t id[CVM_CERTIFICATE_ID_BYTES];
  uint8_t payload[CVM_ACK_BYTES];
  size_t length = 0;
  return (cvm_read_certificate_id(&store, &accepted, id) == CVM_OK) && (cvm_write_ack(id, payload, sizeof payload, &length) == CVM_OK) &&
         (cvm_write_topic(CVM_TOPIC_ACK, SERIAL_NUMBER, topic, sizeof topic) == CVM_OK) && mqtt.publish(topic, payload, length, false);
}

/* Where a reply is stored from before a restart, goes on with it. */
static void resume()
{
  uint8_t head[CVM_HEAD_BYTES];
  cvm_start(&client, &store, NULL);
  File file = LittleFS.open("/reply.head", "r");
  const bool hasHead = file && (file.read(head, sizeof head) == sizeof head);
  file.close();
  file = LittleFS.open("/reply.data", "r");
  const uint32_t stored = file ? file.size() : 0;
  file.close();
  if (hasHead) {
    isStored = (cvm_resume(&client, head, stored, &accepted) == CVM_ACCEPTED);
  }
}

static void usePsk()
{
  static char hex[2 * CVM_PSK_BYTES + 1];
  uint8_t psk[CVM_PSK_BYTES];
  (void)cvm_derive_psk(SERIAL_NUMBER, TOKEN, psk);
  for (size_t at = 0; at < sizeof psk; at++) {
    snprintf(&hex[2 * at], 3, "%02x", psk[at]);
  }
  tls.setPreSharedKey(SERIAL_NUMBER, hex);
}

void setup()
{
  Serial.begin(115200);
  request.serial = SERIAL_NUMBER;
  request.csr = csr;
  request.format = CVM_FORMAT_COMPACT;
  request.pending = true;
  request.max_packet = MAX_PACKET;
  isOver = !LittleFS.begin(true) || !loadKey();
  usePsk();
  resume();
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  mqtt.setServer(GATEWAY, GATEWAY_PORT);
  mqtt.setCallback(onMessage);
}

void loop()
{
  if (isOver || (WiFi.status() != WL_CONNECTED)) {
    delay(100);
    return;
  }
  if (static_cast<int32_t>(millis() - restUntil) < 0) {
    mqtt.disconnect();
    delay(100);
    return;
  }
  if (!mqtt.connected()) {
    if (!mqtt.connect(SERIAL_NUMBER)) {
      Serial.println("no connection: is the gateway there, and does it know this serial with this token?");
      restUntil = millis() + 5000 + esp_random() % 5000;
      return;
    }
    mustAsk = true;
    partToAsk = cvm_ask_again(&client);
  }
  if (isStored) {
    isOver = acknowledge();
    Serial.println(isOver ? "stored and acknowledged" : "no acknowledgement");
    mqtt.disconnect();
    return;
  }
  if (mustAsk || ((millis() - lastHeard) > patience)) {
    const uint16_t part = mustAsk ? partToAsk : cvm_ask_again(&client);
    mustAsk = !ask(part);
    partToAsk = part;
  }
  mqtt.loop();
}
