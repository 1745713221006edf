/*
 * Comparing what somebody sent with a secret.
 *
 * Pure; any thread.
 */
#ifndef HOLDFAST_BASE_SECRET_H
#define HOLDFAST_BASE_SECRET_H

#include "base/str.h"

/* The time it takes depends on the length of the secret alone, not on how much of it is right; the
   length itself is not kept secret. */
bool secret_eq(str_t given, str_t secret);

#endif
