/* SPDX-License-Identifier: Apache-2.0 */
#include "cvm_mbedtls.h"

#include <string.h>

#include <mbedtls/ecp.h>
#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_csr.h>

#define COMMON_NAME_BYTES 64U

/* mbedTLS writes DER to the end of a buffer. `written` is what it returned: the length, or an error below 0. */
static int to_beginning(uint8_t *buffer, size_t room, int written, size_t *length)
{
  if (written < 0) {
    return written;
  }
  *length = (size_t)written;
  (void)memmove(buffer, &buffer[room - *length], *length);
  return 0;
}

int cvm_make_key(mbedtls_pk_context *key, const cvm_random_t *random)
{
  const int failed = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
  return (failed != 0) ? failed : mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), random->random, random->context);
}

int cvm_write_key(mbedtls_pk_context *key, uint8_t buffer[CVM_KEY_BYTES], size_t *length)
{
  return to_beginning(buffer, CVM_KEY_BYTES, mbedtls_pk_write_key_der(key, buffer, CVM_KEY_BYTES), length);
}

int cvm_read_key(mbedtls_pk_context *key, const uint8_t *bytes, size_t length, const cvm_random_t *random)
{
#if MBEDTLS_VERSION_MAJOR >= 3
  return mbedtls_pk_parse_key(key, bytes, length, NULL, 0U, random->random, random->context);
#else
  (void)random;
  return mbedtls_pk_parse_key(key, bytes, length, NULL, 0U);
#endif
}

int cvm_write_csr(mbedtls_pk_context *key, const char *serial, const cvm_random_t *random, uint8_t buffer[CVM_CSR_BYTES], size_t *length)
{
  char name[3U + COMMON_NAME_BYTES + 1U] = "CN=";
  mbedtls_x509write_csr csr;
  (void)strncat(name, serial, COMMON_NAME_BYTES);
  mbedtls_x509write_csr_init(&csr);
  mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
  mbedtls_x509write_csr_set_key(&csr, key);
  int result = mbedtls_x509write_csr_set_subject_name(&csr, name);
  if (result == 0) {
    result = mbedtls_x509write_csr_der(&csr, buffer, CVM_CSR_BYTES, random->random, random->context);
  }
  mbedtls_x509write_csr_free(&csr);
  return to_beginning(buffer, CVM_CSR_BYTES, result, length);
}

int cvm_derive_psk(const char *serial, const char *token, uint8_t psk[CVM_PSK_BYTES])
{
  return mbedtls_hkdf(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), (const uint8_t *)serial, strlen(serial), (const uint8_t *)token,
                      strlen(token), (const uint8_t *)CVM_PSK_INFO, sizeof CVM_PSK_INFO - 1U, psk, CVM_PSK_BYTES);
}

bool cvm_verify_time(void *point, const uint8_t *message, size_t message_length, const uint8_t *signature, size_t signature_length)
{
  /* SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480), up to the point */
  static const uint8_t prefix[26] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01,
                                      0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };
  uint8_t info[sizeof prefix + CVM_POINT_BYTES];
  uint8_t hash[32];
  mbedtls_pk_context key;
  (void)memcpy(info, prefix, sizeof prefix);
  (void)memcpy(&info[sizeof prefix], point, CVM_POINT_BYTES);
  mbedtls_pk_init(&key);
  int failed = mbedtls_pk_parse_public_key(&key, info, sizeof info);
  if (failed == 0) {
    failed = mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), message, message_length, hash);
  }
  if (failed == 0) {
    failed = mbedtls_pk_verify(&key, MBEDTLS_MD_SHA256, hash, sizeof hash, signature, signature_length);
  }
  mbedtls_pk_free(&key);
  return failed == 0;
}
