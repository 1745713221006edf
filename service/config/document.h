/*
 * The file as text: what is wrong with its shape, and what is left of it for libcyaml.
 *
 * libcyaml stops at its first mistake. So the document is first gone over with libyaml, on which
 * libcyaml stands: keys that no record knows, keys given twice, aliases, values where a list
 * belongs... each is named with its line and taken out, and the lines of the others are noted.
 * What is left fits the schema.
 */
#ifndef HOLDFAST_CONFIG_DOCUMENT_H
#define HOLDFAST_CONFIG_DOCUMENT_H

#include "config/complaints.h"
#include "config/settings.h"

/*
 * Reads `n` bytes of YAML and returns what fits `root`, as YAML, `*clean_n` bytes, to be freed.
 * NULL if it is no YAML mapping at all, which was complained of.
 */
char *document_clean(const char *text, size_t n, const section_t *root, complaints_t *complaints,
                     size_t *clean_n);

#endif
