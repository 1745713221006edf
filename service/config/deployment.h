/*
 * The name of the deployment that this process works for: one set of shards and their Redis.
 *
 * The configuration may give it (node.deployment). Otherwise the process learns it from the stamp
 * of the first shard that it reaches, and every other shard and Redis must then carry the same.
 * Part of the configuration, and the one part of it that changes. Any thread may call; nothing
 * here blocks for longer than a copy of the name.
 */
#ifndef HOLDFAST_CONFIG_DEPLOYMENT_H
#define HOLDFAST_CONFIG_DEPLOYMENT_H

#include <stdbool.h>

#include "base/str.h"

/* Bytes of a name; more is none. */
#define DEPLOYMENT_BYTES_MAX 64

typedef struct deployment deployment_t;

/* `given` NULL: to be learned. */
deployment_t *deployment_new(const char *given);
void deployment_free(deployment_t *deployment);
/* NULL while nobody knows it. Once known it never changes, and lives as long as `deployment`. */
const char *deployment_name(const deployment_t *deployment);
/* What a shard or Redis carries. True: it is this deployment's, which is known from now on.
   False: it is another one's, or no name at all. */
bool deployment_matches(deployment_t *deployment, str_t name);

/*
 * A shard was found unfit for this process while connections to it were open (its schema was
 * changed, say). Each connection then drops itself where no transaction is open, and is checked
 * again when it is made anew: see db_refresh() in store/db.h.
 */
void deployment_distrust(deployment_t *deployment);
/* How often that was said. */
unsigned deployment_distrusted(const deployment_t *deployment);

#endif
