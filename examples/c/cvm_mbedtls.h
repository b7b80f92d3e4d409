/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the protocol needs of cryptography, by mbedTLS 2.28 or 3: key pair, CSR, pre-shared key, SHA-256, signature of the time. Each
 * function returns 0, or the error of mbedTLS.
 */
#ifndef CVM_MBEDTLS_H
#define CVM_MBEDTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/pk.h>

#include "cvm_client.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a P-256 key in DER (RFC 5915), and of a CSR for a serial of 64 characters, each at most. */
#define CVM_KEY_BYTES 121U
#define CVM_CSR_BYTES 288U

/* Bytes of an uncompressed point on P-256: `cvm tls time-key --hex` prints them. */
#define CVM_POINT_BYTES 65U

/* A source of random bytes, as mbedTLS takes it: mbedtls_ctr_drbg_random, say. */
typedef struct {
  int (*random)(void *context, unsigned char *bytes, size_t length);
  void *context;
} cvm_random_t;

/* Makes the key pair of the device, on P-256. `key` is initialised with mbedtls_pk_init(), and empty. */
int cvm_make_key(mbedtls_pk_context *key, const cvm_random_t *random);

/* Writes the private key to the beginning of the buffer, in DER, and reads it back. */
int cvm_write_key(mbedtls_pk_context *key, uint8_t buffer[CVM_KEY_BYTES], size_t *length);
int cvm_read_key(mbedtls_pk_context *key, const uint8_t *bytes, size_t length, const cvm_random_t *random);

/* Writes a CSR in DER with the serial (its first 64 characters) as common name to the beginning of the buffer. */
int cvm_write_csr(mbedtls_pk_context *key, const char *serial, const cvm_random_t *random, uint8_t buffer[CVM_CSR_BYTES], size_t *length);

/* The TLS pre-shared key of a device; its identity is the serial. */
int cvm_derive_psk(const char *serial, const char *token, uint8_t psk[CVM_PSK_BYTES]);

/* A cvm_verify_t: `point` has the CVM_POINT_BYTES of the pinned key. */
bool cvm_verify_time(void *point, const uint8_t *message, size_t message_length, const uint8_t *signature, size_t signature_length);

#ifdef __cplusplus
}
#endif

#endif
