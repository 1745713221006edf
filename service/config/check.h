/*
 * The rules between settings: what no single value can be wrong about.
 *
 * A rule is left out where one of its settings was complained of already.
 */
#ifndef HOLDFAST_CONFIG_CHECK_H
#define HOLDFAST_CONFIG_CHECK_H

#include "config/complaints.h"
#include "config/config.h"

/* What is missing from one section of the file, and which of its settings go ill together. */
void check_section(const section_t *section, const char *path, complaints_t *complaints);
/* Rules across sections; `config` has its defaults. */
void check_config(const config_t *config, complaints_t *complaints);
/* Slots, primaries and names; a part of check_config(). */
void check_shards(const config_t *config, complaints_t *complaints);

#endif
