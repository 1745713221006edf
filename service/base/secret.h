/*
 * Compares a value from a client with a secret.
 *
 * Pure; any thread may call.
 */
#ifndef HOLDFAST_BASE_SECRET_H
#define HOLDFAST_BASE_SECRET_H

#include "base/str.h"

/* Its running time depends on the length of the secret alone, not on how much of `given` is right.
   The length itself is not secret. */
bool secret_eq(str_t given, str_t secret);

#endif
