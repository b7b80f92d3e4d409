#pragma once
#include <stddef.h>

typedef int sec_tag_t;

enum tls_credential_type { TLS_CREDENTIAL_CA_CERTIFICATE = 1, TLS_CREDENTIAL_PSK = 4, TLS_CREDENTIAL_PSK_ID = 5 };

int tls_credential_add(sec_tag_t tag, enum tls_credential_type type, const void *cred, size_t credlen);
