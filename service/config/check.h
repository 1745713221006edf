/*
 * Checks the rules between settings, which no check of a single value covers.
 *
 * A rule is skipped if a mistake in one of its settings was already reported. For the thread that
 * loads the configuration. Mistakes go to the diagnostics of the places.
 */
#ifndef HOLDFAST_CONFIG_CHECK_H
#define HOLDFAST_CONFIG_CHECK_H

#include "config/place.h"

/* Checks all rules. `root` was read, and all its defaults are set. */
void check_config(place_t *root);
/* Checks slots, primaries and names; a part of check_config(). */
void check_shards(place_t *shards);

#endif
