/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TLS connection to the gateway, by mbedTLS on sockets. For a device with another network stack, replace the calls of mbedtls_net_*.
 */
#ifndef TLS_LINK_H
#define TLS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>

#include "cvm_client.h"

typedef struct {
  const char *host;
  const char *port;
  /* By pre-shared key: its identity is the serial. NULL: by certificate. */
  const char *serial;
  uint8_t psk[CVM_PSK_BYTES];
  /* By certificate: the site CA, pinned. */
  mbedtls_x509_crt ca;
  /* The clock that dates of certificates are judged by, in epoch seconds; 0: it is unset, and they are not judged. */
  uint32_t now;
} tls_settings_t;

typedef struct {
  mbedtls_net_context socket;
  mbedtls_ssl_config config;
  mbedtls_ssl_context ssl;
} tls_link_t;

/*
 * Random bytes, as mbedTLS takes them: from the kernel. On a device, from its hardware generator, or mbedtls_ctr_drbg_random() over it.
 */
int tls_random(void *context, unsigned char *bytes, size_t length);

/* Each returns 0, or the error of mbedTLS. After tls_open(), tls_close() is called in any case. */
int tls_open(tls_link_t *link, tls_settings_t *settings);
int tls_write(tls_link_t *link, const uint8_t *bytes, size_t length);

/* Waits for a second. Returns the bytes that were read, 0 where none came; below 0: the connection is over. */
int tls_read(tls_link_t *link, uint8_t *bytes, size_t length);

void tls_close(tls_link_t *link);

#endif
