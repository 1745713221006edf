/*
 * The rules between settings: what no single value can be wrong about.
 *
 * A rule is left out where one of its settings was reported of already.
 */
#ifndef HOLDFAST_CONFIG_CHECK_H
#define HOLDFAST_CONFIG_CHECK_H

#include "config/place.h"

/* All rules; `root` was read, and all its defaults are set. */
void check_config(place_t *root);
/* Slots, primaries and names; a part of check_config(). */
void check_shards(place_t *shards);

#endif
