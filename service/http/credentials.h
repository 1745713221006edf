/*
 * The tokens and keys that the listeners accept, as they stand in the configuration's files.
 *
 * A set is immutable and counts its references: each loop holds one (http/access.h), and at SIGHUP
 * replaces it by one of a new set. The old one is freed when the last loop has done so. Loading
 * blocks (it reads files); all else may be called on any thread and does not block.
 */
#ifndef HOLDFAST_HTTP_CREDENTIALS_H
#define HOLDFAST_HTTP_CREDENTIALS_H

#include <stdatomic.h>

#include "config/config.h"
#include "http/buyer_keys.h"
#include "http/tokens.h"

typedef struct {
    atomic_uint references;
    tokens_t *tokens;
    buyer_keys_t *buyer_keys; /* NULL: the configuration names no file of them */
} credentials_t;

/* Reads the files as they are now. Returns a set of one reference, the caller's; or NULL, and
   `reason` has the file and the mistake, without anything of its content. */
#define CREDENTIALS_REASON_SIZE 512
credentials_t *credentials_load(const config_t *config, char reason[CREDENTIALS_REASON_SIZE]);

credentials_t *credentials_hold(credentials_t *credentials);
void credentials_release(credentials_t *credentials); /* NULL is ignored */

#endif
