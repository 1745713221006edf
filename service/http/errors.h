/*
 * What h2o refuses by itself (a body over the limit, a broken length) is answered like all other
 * refusals: as a problem with a code.
 */
#ifndef HOLDFAST_HTTP_ERRORS_H
#define HOLDFAST_HTTP_ERRORS_H

#include <h2o.h>

void errors_register(h2o_hostconf_t *host);

#endif
