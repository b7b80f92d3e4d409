#pragma once
#include "Arduino.h"

class Client {};
class WiFiClientSecure : public Client {
public:
  void setPreSharedKey(const char *identity, const char *key);
};
