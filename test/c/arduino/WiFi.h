#pragma once
#include "Arduino.h"

enum { WL_CONNECTED = 3 };
class WiFiClass {
public:
  int begin(const char *name, const char *password);
  int status();
};
extern WiFiClass WiFi;
