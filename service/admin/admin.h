/*
 * The admin listener: items, the toggle, status, audit, metrics. Every call wants
 * `Authorization: Bearer TOKEN`, compared in constant time.
 */
#ifndef HOLDFAST_ADMIN_ADMIN_H
#define HOLDFAST_ADMIN_ADMIN_H

#include "http/route.h"

/* For server_open(). It also refuses a head without the token. */
extern const routes_t admin_routes;

#endif
