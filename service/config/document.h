/* Parses the YAML text of a configuration into the places and config_t. For the thread that
   loads the configuration; does not block. */
#ifndef HOLDFAST_CONFIG_DOCUMENT_H
#define HOLDFAST_CONFIG_DOCUMENT_H

#include "config/place.h"

/*
 * Fills the places below `root`, which is the whole file and was opened. Reports every mistake
 * of the text, of its shape and of single values, and reads the correct parts beside it. Mistakes
 * are: a key that is not in the table or occurs twice, an alias, a list in place of a value...
 * False: the text is not a YAML mapping at all. That was reported, and no setting has a value from
 * it.
 */
bool document_read(str_t text, place_t *root);

#endif
