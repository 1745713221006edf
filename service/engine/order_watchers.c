#include "engine/order_watchers.h"

#include <stdlib.h>

#include "base/alloc.h"

void order_watchers_add(order_watcher_t **list, struct engine_loop *engine)
{
    for (order_watcher_t *at = *list; at != NULL; at = at->next)
        if (at->engine == engine)
            return;
    order_watcher_t *watcher = alloc_bytes(sizeof(*watcher));
    *watcher = (order_watcher_t){*list, engine};
    *list = watcher;
}

void order_watchers_remove(order_watcher_t **list, struct engine_loop *engine)
{
    for (order_watcher_t **at = list; *at != NULL; at = &(*at)->next) {
        order_watcher_t *watcher = *at;
        if (watcher->engine != engine)
            continue;
        *at = watcher->next;
        free(watcher);
        return;
    }
}

struct engine_loop *order_watchers_pop(order_watcher_t **list)
{
    order_watcher_t *watcher = *list;
    if (watcher == NULL)
        return NULL;
    struct engine_loop *engine = watcher->engine;
    *list = watcher->next;
    free(watcher);
    return engine;
}
