/* The signatures of PubSubClient 2.8. */
#pragma once
#include "WiFiClientSecure.h"

class PubSubClient {
public:
  explicit PubSubClient(Client &client);
  PubSubClient &setServer(const char *host, uint16_t port);
  PubSubClient &setCallback(void (*callback)(char *, uint8_t *, unsigned int));
  bool connect(const char *id);
  void disconnect();
  bool connected();
  bool loop();
  bool publish(const char *topic, const uint8_t *payload, unsigned int length, bool retained);
  bool beginPublish(const char *topic, unsigned int length, bool retained);
  size_t write(const uint8_t *bytes, size_t length);
  int endPublish();
};
