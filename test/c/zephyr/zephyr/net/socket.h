#pragma once
#include <stdint.h>

#define AF_INET 1
#define TLS_PEER_VERIFY_REQUIRED 2
#define ZSOCK_POLLIN 1

typedef unsigned short int sa_family_t;

struct in_addr {
  uint8_t s4_addr[4];
};
struct sockaddr_in {
  sa_family_t sin_family;
  uint16_t sin_port;
  struct in_addr sin_addr;
};
struct zsock_pollfd {
  int fd;
  short events;
  short revents;
};

uint16_t htons(uint16_t value);
int zsock_inet_pton(sa_family_t family, const char *src, void *dst);
int zsock_poll(struct zsock_pollfd *fds, int nfds, int timeout);
