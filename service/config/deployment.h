/*
 * The name of the deployment that this process works for: one set of shards and their Redis.
 *
 * The configuration may give it (node.deployment). Otherwise the process takes it from the stamp of
 * the first shard that it reaches, and every other shard and Redis must then carry the same. It is
 * part of the configuration, and the only part that changes. Any thread may call. A call blocks
 * only for the time of a copy of the name.
 */
#ifndef HOLDFAST_CONFIG_DEPLOYMENT_H
#define HOLDFAST_CONFIG_DEPLOYMENT_H

#include <stdbool.h>

#include "base/str.h"

/* Most bytes of a name; a longer text is not a name. */
#define DEPLOYMENT_BYTES_MAX 64

typedef struct deployment deployment_t;

/* `given` NULL: the name comes from the first shard. The caller owns the result. */
deployment_t *deployment_new(const char *given);
void deployment_free(deployment_t *deployment);
/* NULL while the name is not known. Once known it never changes, and lives as long as
   `deployment`. */
const char *deployment_name(const deployment_t *deployment);
/* Compares `name`, which a shard or Redis carries. True: it is this deployment's name, and known
   from now on. False: it is another name, or not a name. */
bool deployment_matches(deployment_t *deployment, str_t name);

/*
 * Records that a shard was found unfit for this process while connections to it were open (its
 * schema was changed, for example). Each connection then drops itself at the next point outside a
 * transaction, and the new one is checked: see db_refresh() in store/db.h.
 */
void deployment_distrust(deployment_t *deployment);
/* The number of calls of deployment_distrust(). */
unsigned deployment_distrusted(const deployment_t *deployment);

#endif
