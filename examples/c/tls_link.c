/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE
#include "tls_link.h"

#include <sys/random.h>
#include <time.h>

#include <mbedtls/entropy.h>
#include <mbedtls/version.h>

#define READ_SECONDS 1U
#define HANDSHAKE_SECONDS 10U

/*
 * Suites by pre-shared key alone: with these no server can go on by certificate, so a finished handshake has shown that it knows the key.
 * The first has forward secrecy; the second is what small stacks have (RFC 7925).
 */
static const int psk_suites[] = { MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8, 0 };
static const int certificate_suites[] = { MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0 };

static int compare(const mbedtls_x509_time *a, const struct tm *b)
{
  const int differences[6] = { a->year - (b->tm_year + 1900), a->mon - (b->tm_mon + 1), a->day - b->tm_mday,
                               a->hour - b->tm_hour,          a->min - b->tm_min,       a->sec - b->tm_sec };
  for (size_t at = 0U; at < 6U; at++) {
    if (differences[at] != 0) {
      return differences[at];
    }
  }
  return 0;
}

/* Judges the dates of a certificate by the clock of the device in place of mbedTLS's, which may be unset. */
static int judge_dates(void *context, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
  const tls_settings_t *const settings = context;
  (void)depth; /* the same for all of the chain */
  *flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
  if (settings->now != 0U) {
    const time_t seconds = (time_t)settings->now;
    struct tm now;
    (void)gmtime_r(&seconds, &now);
    *flags |= (compare(&certificate->valid_from, &now) > 0) ? (uint32_t)MBEDTLS_X509_BADCERT_FUTURE : 0U;
    *flags |= (compare(&certificate->valid_to, &now) < 0) ? (uint32_t)MBEDTLS_X509_BADCERT_EXPIRED : 0U;
  }
  return 0;
}

int tls_random(void *context, unsigned char *bytes, size_t length)
{
  size_t got = 0U;
  (void)context;
  while (got < length) {
    const ssize_t more = getrandom(&bytes[got], length - got, 0U);
    if (more <= 0) {
      return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
    }
    got += (size_t)more;
  }
  return 0;
}

static int configure(tls_link_t *link, tls_settings_t *settings)
{
  int failed = mbedtls_ssl_config_defaults(&link->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
  if (failed != 0) {
    return failed;
  }
  mbedtls_ssl_conf_rng(&link->config, tls_random, NULL);
  mbedtls_ssl_conf_read_timeout(&link->config, HANDSHAKE_SECONDS * 1000U);
#if MBEDTLS_VERSION_MAJOR >= 3
  mbedtls_ssl_conf_min_tls_version(&link->config, MBEDTLS_SSL_VERSION_TLS1_2);
  mbedtls_ssl_conf_max_tls_version(&link->config, MBEDTLS_SSL_VERSION_TLS1_2);
#else
  mbedtls_ssl_conf_min_version(&link->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
  /* no record from the gateway is longer; less than 1024 would split handshake messages, which mbedTLS 2 cannot read */
  failed = mbedtls_ssl_conf_max_frag_len(&link->config, MBEDTLS_SSL_MAX_FRAG_LEN_1024);
  if ((failed == 0) && (settings->serial != NULL)) {
    size_t length = 0U;
    while (settings->serial[length] != '\0') {
      length++;
    }
    mbedtls_ssl_conf_ciphersuites(&link->config, psk_suites);
    return mbedtls_ssl_conf_psk(&link->config, settings->psk, sizeof settings->psk, (const unsigned char *)settings->serial, length);
  }
  mbedtls_ssl_conf_ciphersuites(&link->config, certificate_suites);
  mbedtls_ssl_conf_authmode(&link->config, MBEDTLS_SSL_VERIFY_REQUIRED);
  mbedtls_ssl_conf_ca_chain(&link->config, &settings->ca, NULL);
  mbedtls_ssl_conf_verify(&link->config, judge_dates, settings);
  return failed;
}

static int shake_hands(tls_link_t *link, tls_settings_t *settings)
{
  int failed = mbedtls_net_connect(&link->socket, settings->host, settings->port, MBEDTLS_NET_PROTO_TCP);
  if (failed == 0) {
    failed = configure(link, settings);
  }
  if (failed == 0) {
    failed = mbedtls_ssl_setup(&link->ssl, &link->config);
  }
  if (failed == 0) {
    failed = mbedtls_ssl_set_hostname(&link->ssl, settings->host);
  }
  if (failed == 0) {
    mbedtls_ssl_set_bio(&link->ssl, &link->socket, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
    failed = mbedtls_ssl_handshake(&link->ssl);
  }
  return failed;
}

int tls_open(tls_link_t *link, tls_settings_t *settings)
{
  mbedtls_net_init(&link->socket);
  mbedtls_ssl_config_init(&link->config);
  mbedtls_ssl_init(&link->ssl);
  const int failed = shake_hands(link, settings);
  mbedtls_ssl_conf_read_timeout(&link->config, READ_SECONDS * 1000U);
  return failed;
}

int tls_write(tls_link_t *link, const uint8_t *bytes, size_t length)
{
  size_t sent = 0U;
  while (sent < length) {
    const int written = mbedtls_ssl_write(&link->ssl, &bytes[sent], length - sent);
    if (written < 0) {
      return written;
    }
    sent += (size_t)written;
  }
  return 0;
}

int tls_read(tls_link_t *link, uint8_t *bytes, size_t length)
{
  const int got = mbedtls_ssl_read(&link->ssl, bytes, length);
  if ((got == MBEDTLS_ERR_SSL_TIMEOUT) || (got == MBEDTLS_ERR_SSL_WANT_READ)) {
    return 0;
  }
  return (got == 0) ? MBEDTLS_ERR_SSL_CONN_EOF : got;
}

void tls_close(tls_link_t *link)
{
  (void)mbedtls_ssl_close_notify(&link->ssl);
  mbedtls_ssl_free(&link->ssl);
  mbedtls_ssl_config_free(&link->config);
  mbedtls_net_free(&link->socket);
}
