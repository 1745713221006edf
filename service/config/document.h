/* The YAML text of a configuration, from its bytes into the places and so into config_t. */
#ifndef HOLDFAST_CONFIG_DOCUMENT_H
#define HOLDFAST_CONFIG_DOCUMENT_H

#include "config/place.h"

/*
 * Fills what is below `root`, which is the whole file and was opened. Every mistake of the text, of
 * its shape and of single values is reported of, and what is right beside it is read: a key that
 * the table does not know or that was given before, an alias, a list where a value belongs...
 * False: the text is no YAML mapping at all, which was reported of, and nothing is known of any
 * setting.
 */
bool document_read(str_t text, place_t *root);

#endif
