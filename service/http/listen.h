/* Sockets and certificates of listeners. Main thread; no function waits for a peer. A function that
   cannot open a socket reports it on stderr; the caller owns what is returned. */
#ifndef HOLDFAST_HTTP_LISTEN_H
#define HOLDFAST_HTTP_LISTEN_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "config/config.h"

/* Checks that no other process listens on the address: SO_REUSEPORT would let a second process take
   it too, and with it half of the buyers. False: it is taken. */
bool listen_check_free(const config_address_t *address);
/* A listening socket with SO_REUSEPORT, or -1. */
int listen_open(const config_address_t *address);
/* Loads a certificate and its key from their files as they are now; TLS 1.2 and later. `http2`:
   clients are offered it. NULL: it failed, `reason` has the cause. A key under a passphrase is
   refused, because there is no terminal to ask for it. */
#define LISTEN_REASON_SIZE 512
SSL_CTX *listen_tls(const config_tls_t *files, bool http2, char reason[LISTEN_REASON_SIZE]);

#endif
