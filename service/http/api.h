/* The public listener's table of routes. Constant; its functions run on loop threads. */
#ifndef HOLDFAST_HTTP_API_H
#define HOLDFAST_HTTP_API_H

#include "http/route.h"

extern const routes_t api_routes;

#endif
