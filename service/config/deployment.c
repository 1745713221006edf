#include "config/deployment.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct deployment {
    pthread_mutex_t mutex; /* held while the name is set */
    atomic_bool known;     /* set after `name`, which then never changes */
    char name[DEPLOYMENT_BYTES_MAX + 1];
    atomic_uint distrusted;
};

static void set_name(deployment_t *deployment, str_t name)
{
    assert(!atomic_load(&deployment->known)); /* readers hold the name without the mutex */
    assert(name.n >= 1 && name.n <= DEPLOYMENT_BYTES_MAX);
    memcpy(deployment->name, name.p, name.n);
    deployment->name[name.n] = '\0';
    atomic_store(&deployment->known, true);
}

deployment_t *deployment_new(const char *given)
{
    deployment_t *deployment = alloc_zero(1, sizeof(*deployment));
    pthread_mutex_init(&deployment->mutex, NULL);
    if (given != NULL)
        set_name(deployment, str_of(given));
    return deployment;
}

void deployment_free(deployment_t *deployment)
{
    if (deployment == NULL)
        return;
    pthread_mutex_destroy(&deployment->mutex);
    free(deployment);
}

const char *deployment_name(const deployment_t *deployment)
{
    return atomic_load(&deployment->known) ? deployment->name : NULL;
}

bool deployment_matches(deployment_t *deployment, str_t name)
{
    if (name.n == 0 || name.n > DEPLOYMENT_BYTES_MAX)
        return false;
    pthread_mutex_lock(&deployment->mutex);
    if (!atomic_load(&deployment->known))
        set_name(deployment, name);
    pthread_mutex_unlock(&deployment->mutex);
    return str_eq(str_of(deployment->name), name);
}

void deployment_distrust(deployment_t *deployment)
{
    atomic_fetch_add(&deployment->distrusted, 1);
}

unsigned deployment_distrusted(const deployment_t *deployment)
{
    return atomic_load(&deployment->distrusted);
}
