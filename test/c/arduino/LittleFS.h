#pragma once
#include "Arduino.h"

class File {
public:
  operator bool() const;
  bool seek(uint32_t offset);
  size_t read(uint8_t *bytes, size_t length);
  size_t write(const uint8_t *bytes, size_t length);
  size_t size() const;
  void close();
};
class LittleFSFS {
public:
  bool begin(bool formatOnFail);
  File open(const char *path, const char *mode);
  bool remove(const char *path);
};
extern LittleFSFS LittleFS;
