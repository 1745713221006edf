/*
 * Answers requests that h2o refuses by itself (a body over the limit, a broken length) like all
 * other refusals: as a problem with a code. Loop thread only.
 */
#ifndef HOLDFAST_HTTP_ERRORS_H
#define HOLDFAST_HTTP_ERRORS_H

#include <h2o.h>

/* Registers the answers on a listener's host, before requests arrive. */
void errors_register(h2o_hostconf_t *host);

#endif
