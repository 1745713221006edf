/* Parses the text of one setting into its field in config_t, and frees the field. For the thread
   that loads the configuration; blocks where the value is a file. */
#ifndef HOLDFAST_CONFIG_VALUES_H
#define HOLDFAST_CONFIG_VALUES_H

#include <stdbool.h>

#include "config/file.h"
#include "config/settings.h"

/*
 * Fills `field`, which has the C type of the setting's type. False: nothing was filled, and
 * `reason` has the mistake as a phrase that follows the value ("is too large"), without the value
 * itself.
 */
bool value_read(const setting_t *setting, const char *text, void *field, char reason[REASON_SIZE]);
void value_free(const setting_t *setting, void *field);

#endif
