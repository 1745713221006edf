/* Sockets and certificates of listeners. What opens a socket reports on stderr about what it
   cannot have. */
#ifndef HOLDFAST_HTTP_LISTEN_H
#define HOLDFAST_HTTP_LISTEN_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "config/config.h"

/* SO_REUSEPORT would let a second process take the address and half of the buyers: is it free? */
bool listen_check_free(const config_address_t *address);
/* A listening socket with SO_REUSEPORT, or -1. */
int listen_open(const config_address_t *address);
/* From the files of the configuration's certificate and key, as they are now; TLS 1.2 and later.
   NULL: `reason` says why not. A key under a passphrase is refused: nobody is asked for it. */
#define LISTEN_REASON_SIZE 512
SSL_CTX *listen_tls(const config_t *config, char reason[LISTEN_REASON_SIZE]);

#endif
